"""The Lease `store`: who leads in which term, and who the members are. It changes by compare-and-swap only."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.sandbox.caller import Caller

LEASE_S = 2
"""A lease that nobody has renewed for so long is free ..."""
MARGIN_S = 0.2
"""... and its holder stops trusting it a little earlier."""
RENEW_S = 0.5
CALL_S = 0.4

MEMBERS = "store.lch.dev/members"
"""Annotation: the members' names, as a JSON list."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What was read or written."""

    version: str  # resourceVersion; "" when there is no such object yet
    holder: str = ""  # a pod's name; "": released
    term: int = 0  # leaseTransitions
    renewed: str = ""
    members: frozenset[str] = frozenset()


class LeaseBox:
    """The Lease in the API server at `url`; `namespace` is the store's."""

    def __init__(self, caller: Caller, url: str, namespace: str, name: str) -> None:
        self._caller = caller
        self._all = f"{url}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._name = name
        self._seen = Lease("")
        self._seen_at_s = -1e9

    async def read(self) -> Lease | None:
        """The lease as it is; None when the API server does not say."""
        answer = await self._caller.call("GET", f"{self._all}/{self._name}", timeout_s=CALL_S)
        if answer is None or answer[0] not in (200, 404):
            return None
        lease = Lease("") if answer[0] == 404 else _lease(json.loads(answer[1]))
        if (lease.holder, lease.term, lease.renewed) != (self._seen.holder, self._seen.term, self._seen.renewed):
            self._seen_at_s = time.monotonic()
        self._seen = lease
        return lease

    def is_free(self, lease: Lease) -> bool:
        """Whether nobody holds it, or its holder was not seen to renew it for LEASE_S of our own clock."""
        return not lease.holder or time.monotonic() - self._seen_at_s > LEASE_S

    async def write(self, old: Lease, holder: str, term: int, members: Collection[str]) -> Lease | None:
        """The lease after it took the place of `old`; None when it has not, or nobody knows."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec: dict[str, Any] = {"holderIdentity": holder, "leaseTransitions": term, "renewTime": now}
        spec |= {"leaseDurationSeconds": LEASE_S}
        annotations = {MEMBERS: json.dumps(sorted(members))}
        meta: dict[str, Any] = {"name": self._name, "labels": {"app": self._name}, "annotations": annotations}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        if old.version:
            meta["resourceVersion"] = old.version
            written = await self._caller.ask("PUT", f"{self._all}/{self._name}", body, timeout_s=CALL_S)
        else:
            written = await self._caller.ask("POST", self._all, body, timeout_s=CALL_S)
        return None if written is None else _lease(written)


def _lease(obj: dict[str, Any]) -> Lease:
    spec, meta = obj.get("spec", {}), obj["metadata"]
    try:
        members = json.loads((meta.get("annotations") or {}).get(MEMBERS, "[]"))
    except ValueError:  # somebody edited it: nobody is a member that anybody knows of
        members = []
    return Lease(
        version=meta["resourceVersion"],
        holder=spec.get("holderIdentity") or "",
        term=int(spec.get("leaseTransitions") or 0),
        renewed=spec.get("renewTime") or "",
        members=frozenset(map(str, members)),
    )
