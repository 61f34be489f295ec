"""
The reaper: a program that runs in the cluster and undoes what a dead run changed there. Standard library only.

Every PERIOD_S seconds it lists what carries the label `lch.dev/run` and a mark (see `marks`). A mark is undone when the
run's Lease has not been renewed for as long as the Lease itself says, or is gone; and in any case ttl_s seconds after
the reaper first saw it, or last saw a change added to it. All times are by its own monotonic clock, from what it sees,
so clocks need not agree. Two may run at once: a change is undone in one request that holds for one version of the
object only.

`reaper_manifest` makes one text of `marks` and this file, for `python3 -c`.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.drivers.faults.marks import RUN, UNDO, Mark, mark_of, undoing

PERIOD_S = 2.0
TIMEOUT_S = 5.0
LEASE = "lch-harness"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LISTS = ("/api/v1/nodes", "/apis/apps/v1/deployments", "/api/v1/pods")
LEASES = f"/apis/coordination.k8s.io/v1/leases?fieldSelector={quote(f'metadata.name={LEASE}', safe='')}"
FAILURES = (OSError, ValueError, KeyError, http.client.HTTPException)

Seen = dict[str, Any]


class Api:
    """The API server of the cluster that this pod is in; without a service account's token, over plain HTTP."""

    def __init__(self, host: str, port: str, account: Path = ACCOUNT) -> None:
        self._token = account / "token"
        secure = self._token.exists()
        self._base = f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if secure:
            context = ssl.create_default_context(cafile=str(account / "ca.crt"))
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def items(self, path: str) -> list[Seen]:
        """The items of the list at `path`."""
        return list(self._ask("GET", path, None).get("items") or [])

    def edit(self, path: str, operations: list[Seen]) -> None:
        """Apply a JSON Patch, all of it or nothing."""
        self._ask("PATCH", path, operations)

    def _ask(self, method: str, path: str, body: Any) -> Seen:
        headers = {"Accept": "application/json", "Content-Type": "application/json-patch+json"}
        if self._token.exists():  # read anew each time: it is replaced before it expires
            headers["Authorization"] = f"Bearer {self._token.read_text(encoding='utf-8').strip()}"
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, sent, headers, method=method)
        with self._opener.open(request, timeout=TIMEOUT_S) as answer:
            found: Seen = json.load(answer)
            return found


@dataclass(slots=True)
class Reaper:
    """What one reaper remembers of what it saw. Times in seconds on one monotonic clock."""

    marks: dict[str, float] = field(default_factory=dict)  # uid and mark of an object, as text -> when first seen
    leases: dict[str, tuple[str, float]] = field(
        default_factory=dict
    )  # run -> its Lease's last renewal, when first seen
    missing: dict[str, float] = field(default_factory=dict)  # run without a Lease -> since when

    def due(self, objects: list[Seen], leases: list[Seen], now_s: float) -> list[tuple[Seen, str]]:
        """The marked ones among `objects` that are to be undone now, each with the reason."""
        durations = self._renewed(leases, now_s)
        marked = [(obj, mark) for obj in objects if (mark := _mark(obj)) is not None]
        self.marks = {key: self.marks.get(key, now_s) for key in (_key(obj) for obj, _ in marked)}
        lost = {mark.run for _, mark in marked if mark.leased and mark.run not in durations}
        self.missing = {run: self.missing.get(run, now_s) for run in lost}
        found = []
        for obj, mark in marked:
            why = self._why(mark, now_s - self.marks[_key(obj)], durations, now_s)
            if why:
                found.append((obj, why))
        return found

    def _renewed(self, leases: list[Seen], now_s: float) -> dict[str, float]:
        """How long the Lease of each run may go without being renewed; takes note of renewals."""
        held = {_holder(lease): lease["spec"] for lease in leases}
        renewals = {run: str(spec.get("renewTime")) for run, spec in held.items()}
        known = self.leases
        self.leases = {
            run: known[run] if run in known and known[run][0] == renewal else (renewal, now_s)
            for run, renewal in renewals.items()
        }
        return {run: float(spec.get("leaseDurationSeconds") or 0) for run, spec in held.items()}

    def _why(self, mark: Mark, age_s: float, durations: dict[str, float], now_s: float) -> str:
        if mark.leased and mark.run in durations and now_s - self.leases[mark.run][1] > durations[mark.run]:
            return f"the run's Lease was not renewed for {durations[mark.run]:g} s"
        if mark.leased and mark.run in self.missing and now_s > self.missing[mark.run]:
            return "the run has no Lease"
        return f"{mark.ttl_s:g} s have passed" if age_s >= mark.ttl_s else ""


def reap(api: Api, reaper: Reaper, now_s: float) -> list[str]:
    """Look once, undo what is due; a line for each undo. What fails is looked at again the next time."""
    objects = [
        obj | {"path": _path(place, obj)} for place in LISTS for obj in api.items(f"{place}?labelSelector={RUN}")
    ]
    said = []
    # After the objects: a run has its Lease before it marks anything.
    for obj, why in reaper.due(objects, api.items(LEASES), now_s):
        try:
            api.edit(obj["path"], undoing(obj))
            said.append(f"undone: {obj['path']}: {why}")
        except FAILURES as error:  # changed or deleted meanwhile, or the server is away
            said.append(f"not undone yet: {obj['path']}: {error}")
    return said


def main() -> None:
    """Look until told to end; what goes wrong is told once and tried again."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # process 1 of a container has no default for it
    api = Api(os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
    reaper, trouble = Reaper(), ""
    _say("watching")
    while True:
        try:
            for line in reap(api, reaper, time.monotonic()):
                _say(line)
            trouble = ""
        except FAILURES as error:
            if str(error) != trouble:
                trouble = str(error)
                _say(f"no answer from the API server: {trouble}")
        time.sleep(PERIOD_S)


def _mark(obj: Seen) -> Mark | None:
    try:
        return mark_of(obj)
    except ValueError:  # somebody else's text; `harness heal` tells of it
        return None


def _key(obj: Seen) -> str:
    return f"{obj['metadata']['uid']} {obj['metadata']['annotations'][UNDO]}"


def _holder(lease: Seen) -> str:
    labels = lease["metadata"].get("labels") or {}
    return str(labels.get(RUN) or lease["spec"].get("holderIdentity") or "")


def _path(place: str, obj: Seen) -> str:
    root, plural = place.rsplit("/", 1)
    namespace = obj["metadata"].get("namespace")
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{root}{scope}/{plural}/{quote(obj['metadata']['name'], safe='')}"


def _say(line: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{stamp} {line}", flush=True)  # noqa: T201 - the pod's log is its only way out


if __name__ == "__main__":
    main()
