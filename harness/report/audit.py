"""The data-loss audit as rows to show, the same for every form of report."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report import words
from harness.verdict.model import AuditFinding, Outcome, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One rule of the audit, and how it came out."""

    outcome: Outcome
    count: str
    value: str
    rule: str  # with its tier
    detail: str
    source: str
    finding: AuditFinding


def audit_rows(verdict: Verdict) -> tuple[AuditRow, ...]:
    """One row per rule; breached first, then in the order of the plan. None without an audit."""
    found = verdict.audit.findings if verdict.audit else ()
    rows = [
        AuditRow(
            outcome=one.outcome,
            count=one.count.value,
            value="-" if one.value is None else words.count(one.value),
            rule=f"{one.tier.value} {one.rule}",
            detail=one.detail,
            source=str(one.source),
            finding=one,
        )
        for one in found
    ]
    return tuple(sorted(rows, key=lambda row: words.SEVERITY[row.outcome]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleRow:
    """One id that was lost, duplicated or stale."""

    count: str
    id: str
    acknowledged: str  # when
    near: str  # the fault nearest to that

    @property
    def told(self) -> str:
        """All of it in a line."""
        when = "" if self.acknowledged == "-" else f"acknowledged at {self.acknowledged}"
        return f"{self.count}: {', '.join(filter(None, (self.id, when, self.near)))}"


def example_rows(verdict: Verdict) -> tuple[ExampleRow, ...]:
    """Some ids of each kind, the earliest first; none without an audit."""
    return tuple(
        ExampleRow(
            count=one.count.value,
            id=one.id,
            acknowledged="-" if one.acknowledged_s is None else words.instant(one.acknowledged_s),
            near=one.near,
        )
        for one in (verdict.audit.examples if verdict.audit else ())
    )
