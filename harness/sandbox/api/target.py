"""From a request's path to what it is about."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.sandbox.resources import RESOURCES, ApiError, Resource

_PATH = re.compile(
    r"/(api/(?P<core>v1)|apis/(?P<group>[^/]+/v1\w*))(/namespaces/(?P<namespace>[^/]+)(?=/.))?"
    r"/(?P<plural>[^/]+)(/(?P<name>[^/]+)(/(?P<subresource>[^/]+))?)?/?"
)
_BY_PLACE = {(resource.api_version, resource.plural): resource for resource in RESOURCES}


@dataclass(frozen=True, slots=True)
class Target:
    """A resource, one object of it, or a subresource of that. Empty strings: all namespaces, all names, the object."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_target(path: str) -> Target:
    """The target of a path like `/api/v1/namespaces/shop/pods/a/log`. Raises ApiError 404 for what is not served."""
    found = _PATH.fullmatch(path)
    resource = _BY_PLACE.get((found["core"] or found["group"], found["plural"])) if found else None
    if found and resource:
        target = Target(resource, found["namespace"] or "", found["name"] or "", found["subresource"] or "")
        if (resource.namespaced or not target.namespace) and target.subresource in ("", *resource.subresources):
            return target
    raise ApiError(404, "NotFound", f"the server could not find the requested resource: {path}")
