"""
Every shipped experiment on the sandbox, through plain `chaos run` and through `harness run`.

    python benchmarks/faults/every_experiment.py [EXPERIMENT...]

Prints a line for each: whether `chaos run` played all its activities and left nothing of ours in the cluster; and
whether `harness run` saw the fault take effect and saw it gone, with how well the instants are known. Exit code 1 when
one did not. Takes about a minute and a half for each experiment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.objects import RUN
from harness.history.views import FaultWindow, fault_windows
from harness.record import read
from harness.sandbox import down, up

ROOT = Path(__file__).parents[2]
WITH: Mapping[str, Mapping[str, Any]] = {
    "zone-outage-announced": {"zone": "zone-b"},
    "zone-outage-abrupt": {"zone": "zone-b"},
    "zone-outage-real": {"zone": "zone-b"},
    "zone-partition": {"zone": "zone-b"},
    "zone-partition-mesh": {"zone": "zone-b"},
    "network-delay": {"zone": "zone-b"},
    "network-loss": {"zone": "zone-b"},
    "leader-failover": {"selector": "app=store"},
    "scale-to-zero": {"selector": "app=store", "deployment": "store"},
}
ON_THE_STORE = {"leader-failover", "scale-to-zero"}  # of the demo store; all others are of the shop
CHAOS_RUN_S = 150
HARNESS_RUN_S = 240
KINDS = (
    "/api/v1/pods",
    "/api/v1/nodes",
    "/apis/apps/v1/deployments",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/chaos-mesh.org/v1alpha1/networkchaos",
    "/apis/batch/v1/jobs",
    "/apis/coordination.k8s.io/v1/leases",
)


def main() -> int:
    """Play the experiments that were named, or all; 0 when all did what they promise."""
    names = sys.argv[1:] or sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))
    bad = 0
    for name in names:
        plainly, through = by_chaos_run(name), by_harness_run(name)
        bad += any(not line.startswith("ok") for line in (plainly, through))
        print(f"{name:24} chaos run: {plainly:40} harness run: {through}", flush=True)
    print(f"{len(names) - bad} of {len(names)} experiments: {'PASS' if not bad else 'FAIL'}")
    return 1 if bad else 0


def by_chaos_run(name: str) -> str:
    """What plain Chaos Toolkit made of the experiment: "ok", or what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "sandbox"
        endpoints = up("store" if name in ON_THE_STORE else "good", state, owned=True)
        try:
            journal = Path(folder) / "journal.json"
            environment = {**os.environ, "KUBECONFIG": endpoints.kubeconfig, "LCH_RUN": f"plain-{name}"}
            command = [str(Path(sys.executable).with_name("chaos")), "run", "--journal-path", str(journal)]
            played = subprocess.run(
                [*command, str(_short(name, Path(folder)))],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=CHAOS_RUN_S,
                check=False,
            )
            if not journal.exists():
                return f"no journal: {played.stderr.strip().splitlines()[-1:]}"
            return _judged(json.loads(journal.read_text()), endpoints.kubeconfig)
        finally:
            down(state)


def _short(name: str, folder: Path) -> Path:
    """The experiment with a short hold, which is what configuration is for."""
    experiment = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text())
    experiment["configuration"] |= {**WITH.get(name, {})}
    if "hold_s" in experiment["configuration"]:
        experiment["configuration"]["hold_s"] = 3
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(experiment, sort_keys=False))
    return path


def _judged(journal: dict[str, Any], kubeconfig: str) -> str:
    runs = [*journal["run"], *journal["rollbacks"]]
    failed = [run["activity"]["name"] for run in runs if run.get("status") != "succeeded"]
    if failed or not journal["run"]:
        return f"not played: {', '.join(failed) or 'nothing'}"
    api = ApiClient(kubeconfig, None)
    try:
        query = {"labelSelector": RUN}
        left = [obj["metadata"]["name"] for path in KINDS for obj in api.items(path, query)]
    finally:
        api.close()
    # A dead-man Job that was made for this run goes by itself, when its time is up.
    left = [one for one in left if not one.startswith("lch-dead-man-")]
    return f"left behind: {', '.join(left)}" if left else "ok"


def by_harness_run(name: str) -> str:
    """What the harness saw of the experiment: "ok" with how well its beginning and end are known, or what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        scenario, results = Path(folder) / f"try-{name}.yaml", Path(folder) / "results"
        service = Path(folder) / "service.yaml"
        service.write_text(yaml.safe_dump(_service(name), sort_keys=False))
        scenario.write_text(yaml.safe_dump(_scenario(name, service), sort_keys=False))
        environment = {**os.environ, "LCH_SANDBOX_DIR": str(Path(folder) / "none")}
        command = [str(Path(sys.executable).with_name("harness")), "run", str(scenario), "--results", str(results)]
        ran = subprocess.run(
            [*command, "--plain"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HARNESS_RUN_S,
            check=False,
        )
        records = sorted(results.glob("*/*/history.jsonl"))
        if not records:
            return f"exit {ran.returncode}: {' '.join(ran.stderr.split())[-200:]}"
        run = read(records[0].parent)
        return _seen(fault_windows(run.plan, run.events)[0])


def _seen(window: FaultWindow) -> str:
    if window.confirmed is None or window.gone is None or window.rollback_failed:
        return f"not proven: {window.failed or window.rollback_failed or window.evidence}"
    on_ms, gone_ms = ((hi - lo) / 1e6 for lo, hi in (window.confirmed, window.gone))
    end = f"its end to {gone_ms:.0f} ms" if gone_ms else "seen gone"
    return f"ok (in force known to {on_ms:.0f} ms, {end})"


def _service(name: str) -> dict[str, Any]:
    """The shipped service; taking all pods of one away has to be allowed on purpose."""
    folder = ROOT / "scenarios/services"
    service: dict[str, Any] = yaml.safe_load(
        (folder / ("store.yaml" if name in ON_THE_STORE else "shop.yaml")).read_text()
    )
    service["load"]["locustfile"] = str(ROOT / "scenarios/locustfiles/shop.py")
    if name == "scale-to-zero":
        service["cluster"] |= {"max_pods": 3, "max_share": "100%"}
    return service


def _scenario(name: str, service: Path) -> dict[str, Any]:
    rule = [{"sli": "error_ratio", "fail": "> 60%"}]
    fault: dict[str, Any] = {"experiment": str(ROOT / f"experiments/{name}.yaml"), "at": "4s", "for": "14s"}
    if name in WITH:
        fault["with"] = dict(WITH[name])
    return {
        "service": str(service),
        "title": f"{name}, to see that it takes effect and goes",
        "phases": [
            {"name": "warm-up", "load": "50%", "ramp": "2s", "duration": "3s", "judge": False},
            {"name": "before", "load": "50%", "duration": "6s", "thresholds": rule},
            {"name": "fault", "load": "50%", "duration": "30s", "faults": [fault], "thresholds": rule},
            {"name": "after", "load": "50%", "duration": "5s", "thresholds": rule},
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
