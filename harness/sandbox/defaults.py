"""
What the API server fills in when a person leaves it out, and leaves out when it is empty; only what readers count on.

A source for each: the API reference of the kind at https://kubernetes.io/docs/reference/kubernetes-api/.
"""

from __future__ import annotations

from types import MappingProxyType

from harness.sandbox.resources import Obj, Resource

_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}

TOLERATION_S = 5
"""How long pods stay bound to a node that is not ready or unreachable, unless they say; in real clusters 300 s."""

_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

_EMPTY_IS_NOTHING = ("labels", "annotations", "ownerReferences", "finalizers", "taints", "unschedulable")
"""Fields of metadata and of nodes that objects do not have any more when they hold nothing, or false."""

_DEFAULTS: MappingProxyType[str, Obj] = MappingProxyType(
    {
        "Namespace": {"status": {"phase": "Active"}},
        "Node": {"spec": {}, "status": {}},
        "Pod": {
            "spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30},
            "status": {"phase": "Pending"},
        },
        "Service": {"spec": {"type": "ClusterIP", "ports": []}, "status": {"loadBalancer": {}}},
        "Deployment": {
            "spec": {"replicas": 1, "strategy": _ROLLING, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10},
            "status": {},
        },
        "ReplicaSet": {"spec": {"replicas": 1}, "status": {"replicas": 0}},
        "Job": {"spec": {"parallelism": 1}, "status": {}},
        "EndpointSlice": {"addressType": "IPv4", "endpoints": [], "ports": []},
        "PodDisruptionBudget": {
            "spec": {},
            "status": dict.fromkeys(("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"), 0),
        },
        "NetworkPolicy": {"spec": {"podSelector": {}}},
        "NetworkChaos": {"status": {}},
    }
)


def with_defaults(resource: Resource, obj: Obj, *, serial: int = 0) -> Obj:
    """
    `obj` (changed in place) with the defaults of its kind; the same again when applied twice.

    `serial` is a number that no other new object has: a new service gets its cluster IP from it. 0: not new.
    """
    _fill(obj, _DEFAULTS.get(resource.kind, {}))
    meta, spec = obj["metadata"], obj.get("spec", {})
    for part in (meta, spec) if resource.kind == "Node" else (meta,):
        for key in [key for key in _EMPTY_IS_NOTHING if not part.get(key, True)]:
            del part[key]
    match resource.kind:
        case "Namespace":
            _fill(meta, {"labels": {"kubernetes.io/metadata.name": meta["name"]}})
        case "Service":
            if serial:
                spec.setdefault("clusterIP", f"10.43.{serial // 250 % 250}.{serial % 250 + 1}")
            for port in spec["ports"]:
                _fill(port, {"protocol": "TCP", "targetPort": port["port"]})
        case "NetworkPolicy":
            _fill(spec, {"policyTypes": ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]})
        case "Pod":
            for container in spec["containers"]:
                _fill_probes(container)
            _fill_tolerations(spec)
    return obj


def _fill(target: Obj, defaults: Obj) -> None:
    for key, value in defaults.items():
        if isinstance(value, dict):
            _fill(target.setdefault(key, {}), value)
        else:
            target.setdefault(key, list(value) if isinstance(value, list) else value)


def _fill_tolerations(pod_spec: Obj) -> None:
    # As the admission plugin DefaultTolerationSeconds does.
    given = pod_spec.get("tolerations") or []
    for key in _TOLERATED:
        if not any(one.get("key", "") in ("", key) and one.get("effect", "") in ("", "NoExecute") for one in given):
            given = [
                *given,
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_S},
            ]
    pod_spec["tolerations"] = given


def _fill_probes(container: Obj) -> None:
    for probe in (container[key] for key in ("readinessProbe", "livenessProbe") if key in container):
        _fill(probe, _PROBE)
        if "httpGet" in probe:
            _fill(probe["httpGet"], {"path": "/", "scheme": "HTTP"})
