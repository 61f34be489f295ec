"""
The generator's own share in what it measures: a null server that takes 10 ms for everything, then a frozen generator.

    python benchmarks/load/null_server.py

Targets: at 2,000/s the p95 response time is at most 1 ms off; and when a load worker is stopped for 500 ms, the phase's
client findings are inconclusive, not failed, although half a second of arrivals answered late.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from stage import HERE, Targets, conducted, ms, phase, plan_of, play, stopped, stub, threshold

from harness.plan.model import Better, ClientMeasure, ClientSli, Rule, Tier, Unit
from harness.verdict.judge import judge
from harness.verdict.model import Outcome

DELAY_MS = 10.0
RATE = 2_000
SECONDS = 15
BIAS_MS = 1.0
FROZEN_S = 0.5
P95 = ClientSli(
    name="latency_p95",
    measure=ClientMeasure.LATENCY,
    quantile=0.95,
    series=None,
    unit=Unit.SECONDS,
    better=Better.LOWER,
    source=HERE,
)
ERRORS = ClientSli(
    name="error_ratio",
    measure=ClientMeasure.ERROR_RATIO,
    quantile=None,
    series=None,
    unit=Unit.RATIO,
    better=Better.LOWER,
    source=HERE,
)


def rule(text: str, quantity: float) -> Rule:
    """A rule that fails above a quantity."""
    return Rule(text=text, op=">", quantity=quantity, relative_to=None, for_s=None)


def main() -> int:
    """Measure, print, and say whether the targets are reached."""
    targets = Targets()
    with stub(DELAY_MS) as (url, _), tempfile.TemporaryDirectory() as results:
        played = play(plan_of(url, RATE, (phase("steady", 0, SECONDS),)))
        thresholds = (
            threshold("latency_p95", Tier.FAIL, rule("> 50ms", 0.05)),
            threshold("error_ratio", Tier.FAIL, rule("> 1%", 0.01)),
        )
        steady = phase("steady", 0, 8, thresholds=thresholds)
        plan = plan_of(url, 500, (steady,), slis=(P95, ERRORS))
        run = conducted(plan, Path(results), lambda driver: _freeze(driver.worker_pids), at_s=4.0)
    response = played.response()
    bias_ms = ms(response, 0.95) - DELAY_MS
    print(
        f"      {dict(played.totals())}; p50 {ms(response, 0.5):.2f} ms, start lag p99 {ms(played.lag(), 0.99):.2f} ms"
    )
    targets.check(f"p95 bias <= {BIAS_MS:g} ms at {RATE}/s", f"{bias_ms:+.2f} ms", kept=abs(bias_ms) <= BIAS_MS)
    verdict = judge(run)
    for check in verdict.validity:
        print(f"      {check.outcome:<13} {check.check}: {check.detail}")
    found = {finding.sli: finding.outcome for finding in verdict.findings}
    inconclusive = set(found.values()) == {Outcome.INCONCLUSIVE}
    text = ", ".join(f"{sli} {outcome}" for sli, outcome in found.items())
    targets.check(f"generator frozen for {FROZEN_S} s: inconclusive", text, kept=inconclusive)
    return targets.exit_code


def _freeze(pids: tuple[int, ...]) -> None:
    for pid in pids:
        stopped(pid, FROZEN_S)


if __name__ == "__main__":
    sys.exit(main())
