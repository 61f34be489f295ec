"""
Who may do what: everybody everything, except what the ConfigMap `lch-sandbox-denied` in kube-system forbids.

So missing permissions can be rehearsed. Each line of its data, under whatever key, is `VERB GROUP/RESOURCE`, as in
`delete /pods`, `create /pods/eviction`, `patch apps/deployments`, `* networking.k8s.io/networkpolicies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.sandbox.api.target import Target
from harness.sandbox.resources import ACCESS_REVIEWS, CONFIGMAPS, Obj, bad_request, forbidden
from harness.sandbox.store import Store

DENIED = ("lch-sandbox-denied", "kube-system")
"""Name and namespace of that ConfigMap. About itself everything stays allowed, or nobody could take it back."""

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What somebody wants to do, in the words of RBAC: `pods/eviction` is a resource, too."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{self.verb} resource "{self.resource}" in API group "{self.group}" {where}'


def attempt_of(method: str, target: Target, *, watch: bool) -> Attempt:
    """What a request attempts."""
    reading = "get" if target.name else "watch" if watch else "list"
    return Attempt(
        verb=_VERBS.get(method, reading),
        group=target.resource.group,
        resource="/".join(filter(None, (target.resource.plural, target.subresource))),
        namespace=target.namespace,
        name=target.name,
    )


def permit(store: Store, target: Target, attempt: Attempt) -> None:
    """Nothing, when the attempt is allowed. Raises ApiError 403."""
    if _is_denied(store, attempt):
        raise forbidden(target.resource, target.name, f'User "sandbox" cannot {attempt}')


def review(store: Store, body: Any) -> Obj:
    """The answer to a SelfSubjectAccessReview: it with its status. Raises ApiError 400."""
    spec = body.get("spec") if isinstance(body, dict) else None
    if not isinstance(spec, dict) or not ("resourceAttributes" in spec or "nonResourceAttributes" in spec):
        raise bad_request("spec: Required value: exactly one of nonResourceAttributes or resourceAttributes")
    asked = spec.get("resourceAttributes") or {}
    attempt = Attempt(
        verb=asked.get("verb", ""),
        group=asked.get("group", ""),
        resource="/".join(filter(None, (asked.get("resource", ""), asked.get("subresource", "")))),
        namespace=asked.get("namespace", ""),
        name=asked.get("name", ""),
    )
    denied = "resourceAttributes" in spec and _is_denied(store, attempt)
    status = {"allowed": not denied, "reason": f"forbidden by the ConfigMap {DENIED[0]}" if denied else ""}
    head = {"kind": ACCESS_REVIEWS.kind, "apiVersion": ACCESS_REVIEWS.api_version}
    return head | {"metadata": {"creationTimestamp": None}, "spec": spec, "status": status}


def _is_denied(store: Store, attempt: Attempt) -> bool:
    found = store.find(CONFIGMAPS, *DENIED)
    itself = (CONFIGMAPS.plural, *DENIED)
    if found is None or (attempt.resource, attempt.name, attempt.namespace) == itself:
        return False
    lines = [line.split() for text in (found.get("data") or {}).values() for line in text.splitlines()]
    return any(_matches(attempt, *line) for line in lines if len(line) == 2)


def _matches(attempt: Attempt, verb: str, place: str) -> bool:
    group, _, resource = place.partition("/")
    return verb in ("*", attempt.verb) and (group, resource) in (
        (attempt.group, attempt.resource),
        (attempt.group, "*"),
        ("*", "*"),
    )
