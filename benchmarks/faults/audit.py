"""
Does the data-loss audit find every loss, and does the good store lose nothing? Over N leader failovers each (20).

    .venv/bin/python benchmarks/faults/audit.py [good|lossy] [N]

A sandbox with the store, the audit's own child process writing to it, and the pod that holds the Lease deleted without
grace as soon as a new leader has taken writes for half a second. The truth: after the end every replica is asked for
its own log, past the store's own front; what was acknowledged and is in none of them is lost. Exit 1 unless the audit
finds exactly that, nothing in the good store, and something in the lossy one. About a minute for each store.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from harness import sandbox
from harness.drivers.audit.driver import AuditDriver
from harness.drivers.audit.ledger import NAME, read
from harness.history.audit import AuditCompleted, AuditFailed
from harness.history.events import Body
from harness.plan.model import Audit, Source
from harness.sandbox import Endpoints

RATE_PER_S = 40.0
SERVED_S = 0.5
FAILOVER_S = 20.0
RESULT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one store and its audit came to."""

    result: AuditCompleted | AuditFailed
    failovers_s: tuple[float, ...]  # from the deletion until another pod held the Lease
    lost: frozenset[str]  # the truth
    acknowledged: int


def asked(method: str, url: str, body: object = None) -> Any:
    """The JSON that the URL answers with."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(
        Request(url, data=data, method=method, headers={"Content-Type": "application/json"}), timeout=5
    ) as answer:
        return json.loads(answer.read())


def holder(api_url: str) -> str:
    """The pod that holds the Lease."""
    lease = asked("GET", f"{api_url}/apis/coordination.k8s.io/v1/namespaces/shop/leases/store")
    return str(lease["spec"]["holderIdentity"])


def replaced(api_url: str, leader: str) -> float:
    """Delete the leader without grace; seconds until another pod holds the Lease."""
    began_s = time.monotonic()
    asked("DELETE", f"{api_url}/api/v1/namespaces/shop/pods/{leader}", {"gracePeriodSeconds": 0})
    while holder(api_url) in ("", leader):
        if time.monotonic() - began_s > FAILOVER_S:
            raise SystemExit(f"no new leader within {FAILOVER_S:g} s")
        time.sleep(0.02)
    return time.monotonic() - began_s


def members(endpoints: Endpoints) -> list[Any]:
    """What every store pod says of itself, read from the pods directly."""
    targets = json.loads((Path(endpoints.state_dir) / "prometheus" / "targets.json").read_text(encoding="utf-8"))
    urls = [f"http://{one['targets'][0]}/log" for one in targets if one["labels"]["job"] == "store"]
    return [asked("GET", url) for url in urls]


def whole(endpoints: Endpoints) -> bool:
    """Whether three replicas are members, so that losing one more is losing one at a time."""
    try:
        return sum(bool(one["member"]) for one in members(endpoints)) == 3
    except (OSError, URLError):
        return False


def audited(version: sandbox.Version, failovers: int, directory: Path) -> Found:
    """Run the failovers under the audit."""
    endpoints = sandbox.up(version, directory / "sandbox", owned=True)
    try:
        source = Source(path="benchmark", line=1)
        audit = Audit(url=endpoints.store_url, rate_per_s=RATE_PER_S, writers=4, rules=(), source=source)
        driver = AuditDriver(audit, run=version, directory=directory)
        try:
            driver.preflight()
            driver.start(time.monotonic_ns())
            took_s = []
            for _ in range(failovers):
                time.sleep(SERVED_S)
                while not whole(endpoints):
                    time.sleep(0.05)
                took_s.append(replaced(endpoints.api_url, holder(endpoints.api_url)))
            time.sleep(SERVED_S)
            driver.read_back()
            result = outcome(driver)
        finally:
            driver.close()
        there = {name for one in members(endpoints) for name in one["ids"]}
        acknowledged = {write.id for write in read(directory / NAME)}
        return Found(
            result=result,
            failovers_s=tuple(took_s),
            lost=frozenset(acknowledged - there),
            acknowledged=len(acknowledged),
        )
    finally:
        sandbox.down(directory / "sandbox")


def outcome(driver: AuditDriver) -> AuditCompleted | AuditFailed:
    """What the audit says in the end."""
    until_s = time.monotonic() + RESULT_S
    while time.monotonic() < until_s:
        bodies: list[Body] = [stamped.body for stamped in driver.poll()]
        for body in bodies:
            if isinstance(body, AuditCompleted | AuditFailed):
                return body
        time.sleep(0.05)
    raise SystemExit("the audit said nothing")


def holds(version: str, found: Found) -> bool:
    """Print what was found; whether it is as it should be."""
    worst = max(found.failovers_s)
    mean = sum(found.failovers_s) / len(found.failovers_s)
    print(f"{version}: {len(found.failovers_s)} failovers, {mean:.2f} s each, {worst:.2f} s at worst")
    print(f"  audit: {found.result}"[:400])
    print(f"  truth: {len(found.lost)} of {found.acknowledged} acknowledged writes are in no replica's log")
    if isinstance(found.result, AuditFailed):
        return False
    exact = (found.result.acknowledged, found.result.lost) == (found.acknowledged, len(found.lost))
    return exact and bool(found.lost) == (version == "store-lossy")


def main() -> None:
    """Both stores, or the one that was named."""
    wanted = [word for word in sys.argv[1:] if not word.isdecimal()] or ["good", "lossy"]
    failovers = next((int(word) for word in sys.argv[1:] if word.isdecimal()), 20)
    kept = True
    for name in wanted:
        version: sandbox.Version = "store-lossy" if name == "lossy" else "store"
        directory = Path(tempfile.mkdtemp(prefix="lch-audit-"))
        try:
            kept = holds(version, audited(version, failovers, directory)) and kept
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    print("PASS" if kept else "FAIL")
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
