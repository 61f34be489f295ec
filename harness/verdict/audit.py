"""The data-loss audit judged: its counts against its rules. Counts are exact; what was not read back is no evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.history.audit import AuditCompleted, AuditFailed
from harness.history.events import Event
from harness.history.views import FaultWindow
from harness.plan.model import Audit, AuditRule, Count, Plan, Tier, Unit
from harness.units import show
from harness.verdict.merge import weight
from harness.verdict.model import AuditExample, AuditFinding, AuditResult, Outcome, Reason
from harness.verdict.ruling import holds

NO_END = "the run ended before the audit was read back"

_SAID = {
    Count.LOST: "not there at the end",
    Count.DUPLICATED: "there more than once at the end",
    Count.STALE: "missed by a later read, but there at the end",
    Count.UNKNOWN: "never answered",
    Count.REFUSED: "answered without success",
}
_OF_ACKNOWLEDGED = (Count.LOST, Count.STALE)


def audited(plan: Plan, events: Iterable[Event], faults: Sequence[FaultWindow]) -> AuditResult | None:
    """
    What the audit found and what its rules make of it; None where the plan has none.

    Without a result, or when nothing was acknowledged (then nothing could be lost), every rule is inconclusive.
    """
    if plan.audit is None:
        return None
    done: AuditCompleted | None = None
    detail = NO_END
    for event in events:
        match event.body:
            case AuditCompleted():
                done = event.body
            case AuditFailed(detail=why):
                detail = why
    if done is None:
        return AuditResult(
            url=plan.audit.url, findings=_undecided(plan.audit, Reason.NOT_READ_BACK, detail), detail=detail
        )
    findings = tuple(_finding(rule, done) for rule in plan.audit.rules)
    if not done.acknowledged:
        findings = _undecided(plan.audit, Reason.NO_SAMPLES, "no write was acknowledged, so none could be lost")
    return AuditResult(
        url=plan.audit.url,
        acknowledged=done.acknowledged,
        unknown=done.unknown,
        refused=done.refused,
        lost=done.lost,
        duplicated=done.duplicated,
        stale=done.stale,
        examples=tuple(_example(Count(kind), name, at_ns, faults) for kind, name, at_ns in done.examples),
        findings=findings,
        detail=_told(done),
    )


def audit_evidence(result: AuditResult | None) -> list[Outcome]:
    """What the audit contributes to the run's verdict."""
    weights = (weight(finding.tier, finding.outcome) for finding in result.findings) if result else ()
    return [outcome for outcome in weights if outcome is not None]


def _finding(rule: AuditRule, done: AuditCompleted) -> AuditFinding:
    count = int(getattr(done, rule.count.value))
    limit = rule.rule.quantity
    says = holds((count, count), rule.rule, (limit, limit))
    kept = says == (rule.tier is Tier.TARGET)
    breach = Outcome.FAIL if rule.tier is Tier.FAIL else Outcome.WARN
    of = f"{count} of {done.acknowledged} acknowledged writes" if rule.count in _OF_ACKNOWLEDGED else f"{count} writes"
    return AuditFinding(
        count=rule.count,
        tier=rule.tier,
        rule=rule.rule.text,
        outcome=Outcome.PASS if kept else breach,
        reason=Reason.WITHIN if kept else Reason.EXCEEDED,
        value=count,
        detail=f"{of} {_SAID[rule.count]}",
        source=rule.source,
    )


def _undecided(audit: Audit, reason: Reason, detail: str) -> tuple[AuditFinding, ...]:
    return tuple(
        AuditFinding(
            count=rule.count,
            tier=rule.tier,
            rule=rule.rule.text,
            outcome=Outcome.INCONCLUSIVE,
            reason=reason,
            value=None,
            detail=detail,
            source=rule.source,
        )
        for rule in audit.rules
    )


def _example(count: Count, name: str, at_ns: int, faults: Sequence[FaultWindow]) -> AuditExample:
    """One id, and the fault nearest to its acknowledgement."""
    if not at_ns:
        return AuditExample(count=count, id=name, acknowledged_s=None, near="never acknowledged")
    at_s = at_ns / 1e9
    known = [(_distance_s(at_s, window), window) for window in faults if window.requested_ns is not None]
    if not known:
        return AuditExample(count=count, id=name, acknowledged_s=at_s, near="")
    nearest = min(known, key=lambda found: found[0])[1]
    assert nearest.requested_ns is not None
    since_s = at_s - nearest.requested_ns / 1e9
    length = show(abs(since_s), Unit.SECONDS)
    near = f"{length} after {nearest.fault}" if since_s >= 0 else f"{length} before {nearest.fault}"
    return AuditExample(count=count, id=name, acknowledged_s=at_s, near=near)


def _distance_s(at_s: float, window: FaultWindow) -> float:
    """How far an instant lies outside a fault, from the request for it until it was gone; 0 inside."""
    assert window.requested_ns is not None
    end_ns = window.gone[1] if window.gone else window.requested_ns
    return max(window.requested_ns / 1e9 - at_s, at_s - end_ns / 1e9, 0.0)


def _told(done: AuditCompleted) -> str:
    parts = [f"{done.acknowledged} writes acknowledged", f"{done.unknown} without an answer", f"{done.refused} refused"]
    parts += [f"{done.lost} lost", f"{done.duplicated} duplicated", f"{done.stale} stale"]
    return ", ".join(parts)
