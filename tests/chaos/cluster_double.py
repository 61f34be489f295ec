"""A cluster in memory, as far as keeping and sweeping see it: objects by path, JSON Patches, and refusals."""

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from harness.drivers.kubernetes.client import ApiClient, ApiError

Obj = dict[str, Any]
LISTS = {"nodes", "pods", "deployments", "jobs", "leases", "networkpolicies", "networkchaos"}


class ClusterDouble(ApiClient):
    """`before` is called with method and path before every request, and may raise what the server would refuse."""

    def __init__(self, *objects: tuple[str, Obj]) -> None:
        self.url, self.dry = "memory", False
        self._versions = itertools.count(1)
        self.objects: dict[str, Obj] = {}
        self.before: Callable[[str, str], None] = lambda method, path: None
        for collection, obj in objects:
            self.create(collection, obj)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Obj:
        self.before("GET", path)
        if path in self.objects:
            return copy.deepcopy(self.objects[path])
        if path.rpartition("/")[2] not in LISTS:
            raise refusal(404)
        key, _, value = (query or {}).get("labelSelector", "").partition("=")
        inside = [one for at, one in self.objects.items() if at.rpartition("/")[0] == path or _everywhere(path, at)]
        labels = [(one, one["metadata"].get("labels") or {}) for one in inside]
        return {
            "items": [
                copy.deepcopy(one) for one, own in labels if not key or own.get(key, "") == (value or own.get(key))
            ]
        }

    def create(self, path: str, body: Obj) -> Obj:
        self.before("POST", path)
        at = f"{path}/{body['metadata']['name']}"
        if at in self.objects:
            raise refusal(409)
        return self._store(at, {**body, "metadata": {"uid": f"uid-{next(self._versions)}", **body["metadata"]}})

    def patch(self, path: str, body: Obj) -> Obj:
        self.before("PATCH", path)
        found = self.get(path)
        found["spec"] = {**found["spec"], **body["spec"]}
        return self._store(path, found)

    def edit(self, path: str, operations: list[Obj]) -> Obj:
        self.before("PATCH", path)
        found = self.get(path)
        for one in operations:
            *way, last = one["path"].removeprefix("/").split("/")
            at = found
            for key in way:
                at = at[key.replace("~1", "/")]
            last = last.replace("~1", "/")
            if one["op"] == "test" and at.get(last) != one["value"]:
                raise refusal(409)
            if one["op"] in ("add", "replace"):
                at[last] = one["value"]
            if one["op"] == "remove":
                del at[last]
        return self._store(path, found)

    def delete(self, path: str, grace_s: int | None = None, uid: str | None = None) -> bool:
        self.before("DELETE", path)
        if path in self.objects and uid not in (None, self.objects[path]["metadata"]["uid"]):
            raise refusal(409)
        return self.objects.pop(path, None) is not None

    def _store(self, path: str, obj: Obj) -> Obj:
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[path] = copy.deepcopy(obj)
        return copy.deepcopy(obj)


def refusal(status: int | None) -> ApiError:
    return ApiError(f"kubernetes memory: {status}", status)


def _everywhere(listed: str, path: str) -> bool:
    """Whether a list of all namespaces holds what is at the path."""
    group, _, plural = listed.rpartition("/")
    return "/namespaces/" not in listed and path.startswith(f"{group}/namespaces/") and path.split("/")[-2] == plural
