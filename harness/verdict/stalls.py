"""
What a stall of the generator may have caused is taken back.

While a worker's loop stands still, arrivals start late and answers lie unread: latencies grow, and in the worst case
deadlines pass. Nothing can look better for it. So what is kept stays kept; what is breached is judged again without the
seconds that the stall touched, and is undecided unless it is breached without them, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

from harness.history.load import WorkerHealth
from harness.plan.model import ClientSli, Plan
from harness.verdict.generator import stall_text, stalled
from harness.verdict.model import Check, Finding, Outcome, Reason
from harness.verdict.window import Window

_BREACHED = (Outcome.FAIL, Outcome.WARN)

Judged = Callable[[frozenset[int]], Sequence[Finding]]
"""All findings of the run, from a load record without these seconds."""


def without_stalls(
    plan: Plan,
    windows: Sequence[Window],
    health: Sequence[WorkerHealth],
    findings: Sequence[Finding],
    judged_without: Judged,
) -> tuple[Finding, ...]:
    """The findings, those that rest on a stall alone made inconclusive."""
    stalls = stalled(health, plan.service.load.limits)
    own = {
        window.phase.name: [
            one for one in stalls if _touched(one).start < window.end_s and window.start_s < _touched(one).stop
        ]
        for window in windows
    }
    client = {sli.name for sli in plan.service.slis if isinstance(sli, ClientSli)}
    suspect = [one for one in findings if one.sli in client and one.outcome in _BREACHED and own.get(one.phase)]
    if not suspect:
        return tuple(findings)
    again = {_key(one): one for one in judged_without(frozenset(chain.from_iterable(map(_touched, stalls))))}
    return tuple(
        _taken_back(one, again.get(_key(one)), own[one.phase][0]) if one in suspect else one for one in findings
    )


def stall_checks(checks: Sequence[Check], findings: Sequence[Finding]) -> tuple[Check, ...]:
    """The checks, those of stalls inconclusive in whose phase a finding was taken back."""
    taken_back = {one.phase for one in findings if one.reason is Reason.GENERATOR_LIMITED}
    return tuple(
        replace(check, outcome=Outcome.INCONCLUSIVE)
        if check.check == "loop_stall" and check.outcome is Outcome.WARN and check.phase in taken_back
        else check
        for check in checks
    )


def _touched(stall: WorkerHealth) -> range:
    """The seconds of a stall, which may begin before the one it is told of or end after it, when what waited goes."""
    reach = math.ceil(stall.stall_s_max)
    return range(stall.second - reach, stall.second + reach + 1)


def _taken_back(finding: Finding, again: Finding | None, stall: WorkerHealth) -> Finding:
    if again is not None and again.outcome in _BREACHED:
        return finding
    without = f"; without the seconds it touched: {again.detail}" if again is not None else ""
    return replace(
        finding,
        outcome=Outcome.INCONCLUSIVE,
        reason=Reason.GENERATOR_LIMITED,
        detail=f"loop_stall: {stall_text(stall)}; {finding.detail}{without}",
    )


def _key(finding: Finding) -> tuple[object, ...]:
    return (finding.phase, finding.sli, finding.tier, finding.rule, finding.source, finding.group)
