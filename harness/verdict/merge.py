"""
From findings to verdicts: `fail > inconclusive > warn > pass`, and no evidence is inconclusive.

`worst` is a semilattice without an identity: merging nothing is not a pass.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.plan.model import Tier
from harness.verdict.model import Finding, Outcome, TimingFinding

_RANK = {Outcome.PASS: 0, Outcome.WARN: 1, Outcome.INCONCLUSIVE: 2, Outcome.FAIL: 3}


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of the outcomes; inconclusive when there are none."""
    return max(outcomes, key=_RANK.__getitem__, default=Outcome.INCONCLUSIVE)


def weight(tier: Tier | None, outcome: Outcome | None) -> Outcome | None:
    """
    What a finding contributes to a verdict: None where it is only informative.

    An undecided warning threshold is a warning; an undecided fail or abort threshold leaves the verdict open.
    """
    if tier is None or outcome is None or tier is Tier.TARGET:
        return None
    return Outcome.WARN if tier is Tier.WARN and outcome is not Outcome.PASS else outcome


def evidence(findings: Iterable[Finding | TimingFinding]) -> list[Outcome]:
    """What all findings contribute, in their order."""
    weights = (weight(finding.tier, finding.outcome) for finding in findings)
    return [outcome for outcome in weights if outcome is not None]


def decided(findings: Iterable[Finding]) -> bool:
    """Whether at least one threshold that counts was proven kept or breached."""
    counting = (finding for finding in findings if weight(finding.tier, finding.outcome) is not None)
    return any(finding.outcome is not Outcome.INCONCLUSIVE for finding in counting)
