"""What the API says about itself: versions, groups, resources, and enough OpenAPI for `kubectl apply`."""

from __future__ import annotations

from functools import cache

from harness.sandbox.resources import RESOURCES, VERSION, Obj, Resource

VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


def document(path: str) -> Obj | None:
    """The discovery document at a path such as `/api` or `/apis/apps/v1`; None where there is none."""
    if path.startswith("/openapi/v3/"):
        return _openapi(path.removeprefix("/openapi/v3/"))
    return _documents().get(path)


@cache
def _documents() -> dict[str, Obj]:
    core = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    groups = [_group(*one) for one in dict.fromkeys((each.group, each.version) for each in RESOURCES) if one[0]]
    documents: dict[str, Obj] = {
        "/version": {"major": "1", "minor": "32", "gitVersion": VERSION}
        # Typed clients refuse a version without any of these.
        | dict.fromkeys(("gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform"), ""),
        "/api": core,
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        "/openapi/v3": {
            "paths": {_prefix(one): {"serverRelativeURL": f"/openapi/v3/{_prefix(one)}"} for one in RESOURCES}
        },
    }
    for resource in RESOURCES:
        members = [entry for one in RESOURCES if one.api_version == resource.api_version for entry in _entries(one)]
        listing = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": resource.api_version}
        documents[f"/{_prefix(resource)}"] = {**listing, "resources": members}
    return documents


def _prefix(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else "api/v1"


def _group(name: str, version: str) -> Obj:
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [served], "preferredVersion": served}


def _entries(resource: Resource) -> list[Obj]:
    main: Obj = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(VERBS) if resource.stored else ["create"],
    }
    if resource.short:
        main["shortNames"] = [resource.short]
    if resource.in_all:
        main["categories"] = ["all"]
    return [main, *(_subresource_entry(resource, name) for name in resource.subresources)]


def _subresource_entry(resource: Resource, name: str) -> Obj:
    entry: Obj = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
    if name == "scale":
        return entry | {"group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}
    if name == "eviction":
        return entry | {"group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
    return entry | {"kind": resource.kind, "verbs": ["get"]}


def _openapi(prefix: str) -> Obj | None:
    # kubectl applies only where the OpenAPI of PATCH lists the query parameter it wants to send.
    members = [resource for resource in RESOURCES if _prefix(resource) == prefix]
    if not members:
        return None
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")]
    paths = {}
    for resource in members:
        place = "/namespaces/{namespace}" if resource.namespaced else ""
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        operation = {"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": kind}
        paths[f"/{prefix}{place}/{resource.plural}/{{name}}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "sandbox", "version": "1"}, "paths": paths}
