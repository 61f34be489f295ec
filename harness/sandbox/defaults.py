"""
What the API server fills in when a person leaves it out, by kind; only the fields that readers count on.

A source for each: the API reference of the kind at https://kubernetes.io/docs/reference/kubernetes-api/.
"""

from __future__ import annotations

from types import MappingProxyType

from harness.sandbox.resources import Obj, Resource

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_POD_SPEC = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "containers": []}
# Typed clients refuse a node without any of these.
_NODE_INFO = {"machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": ""} | {
    "containerRuntimeVersion": "",
    "kubeletVersion": "",
    "kubeProxyVersion": "",
    "operatingSystem": "linux",
    "architecture": "",
}

_DEFAULTS: MappingProxyType[str, Obj] = MappingProxyType(
    {
        "Namespace": {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}},
        "Node": {"spec": {}, "status": {"nodeInfo": _NODE_INFO}},
        # Real pods always have a volume, their token's; clients iterate over the list without asking.
        "Pod": {"spec": {**_POD_SPEC, "volumes": []}, "status": {"phase": "Pending"}},
        "Service": {"spec": {"type": "ClusterIP", "ports": []}, "status": {"loadBalancer": {}}},
        "Deployment": {
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate"},
                "template": {"metadata": {}, "spec": _POD_SPEC},
            },
            "status": {},
        },
        "ReplicaSet": {"spec": {"replicas": 1, "template": {"spec": _POD_SPEC}}, "status": {"replicas": 0}},
        "Job": {
            "spec": {
                "parallelism": 1,
                "backoffLimit": 6,
                "suspend": False,
                "template": {"metadata": {}, "spec": {**_POD_SPEC, "restartPolicy": "Never"}},
            },
            "status": {},
        },
        "EndpointSlice": {"addressType": "IPv4", "endpoints": [], "ports": []},
        "NetworkPolicy": {"spec": {"podSelector": {}}},
        "Event": {"involvedObject": {}, "type": "Normal", "count": 1, "firstTimestamp": None, "lastTimestamp": None},
    }
)


def with_defaults(resource: Resource, obj: Obj, *, serial: int = 0) -> Obj:
    """
    `obj` (changed in place) with the defaults of its kind; the same again when applied twice.

    `serial` is a number that no other new object has: a new service gets its cluster IP from it. 0: not new.
    """
    _fill(obj, _DEFAULTS.get(resource.kind, {}))
    meta, spec = obj["metadata"], obj.get("spec", {})
    match resource.kind:
        case "Namespace":
            _fill(meta, {"labels": {"kubernetes.io/metadata.name": meta["name"]}})
        case "Node":
            _fill(meta, {"labels": {"kubernetes.io/hostname": meta["name"]}})
        case "Service":
            _fill_service(spec, serial)
        case "Deployment" if spec["strategy"]["type"] == "RollingUpdate":
            _fill(spec["strategy"], {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        case "Job":
            _fill_job(meta, spec)
        case "NetworkPolicy":
            _fill(spec, {"policyTypes": ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]})
    if resource.kind in ("Deployment", "ReplicaSet") and "selector" not in spec:
        spec["selector"] = {"matchLabels": dict(spec["template"].get("metadata", {}).get("labels", {}))}
    _fill_containers(spec if resource.kind == "Pod" else spec.get("template", {}).get("spec", {}))
    for status in obj.get("status", {}).get("containerStatuses", ()):
        _fill(status, {"image": "", "imageID": "", "ready": False, "restartCount": 0})
    return obj


def _fill(target: Obj, defaults: Obj) -> None:
    for key, value in defaults.items():
        if isinstance(value, dict):
            _fill(target.setdefault(key, {}), value)
        else:
            target.setdefault(key, list(value) if isinstance(value, list) else value)


def _fill_service(spec: Obj, serial: int) -> None:
    if serial:
        spec.setdefault("clusterIP", f"10.43.{serial // 250 % 250}.{serial % 250 + 1}")
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    for port in spec["ports"]:
        _fill(port, {"protocol": "TCP", "targetPort": port["port"]})


def _fill_job(meta: Obj, spec: Obj) -> None:
    if spec["parallelism"] == 1:
        spec.setdefault("completions", 1)
    if "selector" not in spec and "uid" in meta:
        labels = {"batch.kubernetes.io/controller-uid": meta["uid"]}
        spec["selector"] = {"matchLabels": labels}
        _fill(spec["template"]["metadata"], {"labels": {**labels, "job-name": meta["name"]}})


def _fill_containers(spec: Obj) -> None:
    for container in spec.get("containers", ()):
        for port in container.get("ports", ()):
            port.setdefault("protocol", "TCP")
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if probe in container:
                _fill(container[probe], _PROBE)
                if "httpGet" in container[probe]:
                    _fill(container[probe]["httpGet"], {"path": "/", "scheme": "HTTP"})
