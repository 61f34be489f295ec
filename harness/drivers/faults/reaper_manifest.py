"""
How the reaper comes into a cluster: one text for `python3 -c`, and the objects that run it.

`python -m harness.drivers.faults.reaper_manifest > deploy/reaper.yaml` writes the manifest for real clusters. The
sandbox gets the same Deployment, from `install`.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from harness.drivers.kubernetes.objects import ZONE, Obj
from harness.errors import DriverError

NAMESPACE = "lch-system"
NAME = "lch-reaper"
OUTAGE = "lch.dev/zone-outage"  # the taint of an announced zone outage; the reaper stays
INSTALL_S = 10.0

_LABELS = {"app.kubernetes.io/name": NAME}
_OWN_IMPORT = re.compile(r"^from (harness\.\S+|__future__) import .*\n", re.MULTILINE)
_HEAD = """\
# Undoes what a dead run changed in the cluster: cordons, taints, replicas, labels.
# Written by `python -m harness.drivers.faults.reaper_manifest`; a test keeps it the same as its sources.
"""


def program() -> str:
    """`marks` and `reaper` in one text that imports nothing but the standard library."""
    here = Path(__file__)
    texts = [here.with_name(name).read_text(encoding="utf-8") for name in ("marks.py", "reaper.py")]
    return "from __future__ import annotations\n\n" + "\n\n".join(_OWN_IMPORT.sub("", text) for text in texts)


def objects() -> list[Obj]:
    """Everything the reaper needs, in the order in which it can be created."""
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": NAMESPACE}},
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": NAME},
            "value": 1_000_000,
            "description": "Undoing faults goes before serving requests.",
        },
        *_permissions(),
        deployment(),
    ]


def deployment() -> Obj:
    """Two reapers in different zones, which an announced outage of a zone does not drive away."""
    spread = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "ScheduleAnyway"}
    pod = {
        "serviceAccountName": NAME,
        "priorityClassName": NAME,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"key": OUTAGE, "operator": "Exists"}],
        "topologySpreadConstraints": [spread | {"labelSelector": {"matchLabels": _LABELS}}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container()],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def manifest() -> str:
    """The text of deploy/reaper.yaml."""
    return _HEAD + yaml.dump_all(objects(), Dumper=_Blocks, sort_keys=False, width=120)


def install(api_url: str) -> None:
    """
    Start the reaper in the sandbox whose API server is at `api_url`; fine when it is there already.

    A sandbox asks nobody who they are and knows no priorities. Plain HTTP, so that the command line need not load a
    Kubernetes client for two requests. Raises DriverError.
    """
    namespace, *_, reaper = objects()
    _post(f"{api_url}/api/v1/namespaces", namespace)
    _post(f"{api_url}/apis/apps/v1/namespaces/{NAMESPACE}/deployments", reaper)


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and everything in full, for people to read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """PyYAML: never refer to an earlier part of the file."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text)


def _container() -> Obj:
    return {
        "name": "reaper",
        "image": "python:3.11-alpine",
        "command": ["python3", "-c", program()],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _permissions() -> list[Obj]:
    """What the reaper may do: find what is marked, change it back, and see which runs are alive."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list", "patch"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list", "patch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["list"]},
    ]
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        },
    ]


def _post(url: str, obj: Obj) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, json.dumps(obj).encode(), {"Content-Type": "application/json"})
    try:
        opener.open(request, timeout=INSTALL_S).close()
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 409:
                raise DriverError(f"sandbox: the reaper: {url}: {error.code} {error.read().decode()}") from error
    except OSError as error:
        raise DriverError(f"sandbox: the reaper: {url}: {error}") from error


if __name__ == "__main__":
    sys.stdout.write(manifest())
