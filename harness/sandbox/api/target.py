"""From a request's path to what it is about."""

from __future__ import annotations

from dataclasses import dataclass

from harness.sandbox.resources import NAMESPACES, RESOURCES, ApiError, Resource

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
    root, *parts = path.strip("/").split("/")
    if root == "api" and len(parts) >= 2:
        version, rest = parts[0], parts[1:]
    elif root == "apis" and len(parts) >= 3:
        version, rest = "/".join(parts[:2]), parts[2:]
    else:
        raise _nowhere(path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in NAMESPACES.subresources:
        namespace, rest = rest[1], rest[2:]
    resource = _BY_PLACE.get((version, rest[0]))
    subresource = rest[2] if len(rest) > 2 else ""
    if resource is None or len(rest) > 3 or (subresource and subresource not in resource.subresources):
        raise _nowhere(path)
    if namespace and not resource.namespaced:
        raise _nowhere(path)
    return Target(resource, namespace, rest[1] if len(rest) > 1 else "", subresource)


def _nowhere(path: str) -> ApiError:
    return ApiError(404, "NotFound", f"the server could not find the requested resource: {path}")
