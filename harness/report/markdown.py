"""The verdict as GitHub-flavoured Markdown, for job summaries and merge-request comments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.history.run import Run
from harness.report import rows, words
from harness.report.audit import audit_rows, example_rows
from harness.verdict.model import Outcome, Verdict

BYTES_MAX = 60_000  # comments end at 64 kB; a job summary above 1 MiB is thrown away whole
CELL_MAX = 300


def summary(run: Run, verdict: Verdict, directory: str) -> str:
    """At most 60 kB: verdict, rules that were not kept, timings; everything else folded, and left out if too long."""
    sections = (
        _verdict(run, verdict),
        _breached(verdict),
        _timings(run, verdict),
        _impacts(verdict),
        _audit(verdict),
        _untested(run),
    )
    top = "\n\n".join(filter(None, sections))
    details = [
        _folded("All rules", _rules(verdict)),
        _folded("Load", _load(verdict)),
        _folded("Validity checks", _validity(verdict)),
    ]
    files = f"Full report: `{directory}/report.html`"
    text = _cut(top, BYTES_MAX - 2_000)
    for section in filter(None, details):
        if len(f"{text}\n\n{section}\n\n{files}".encode()) <= BYTES_MAX:
            text += f"\n\n{section}"
    return f"{text}\n\n{files}\n"


def _verdict(run: Run, verdict: Verdict) -> str:
    facts = [f"run `{verdict.run}`", f"service {run.plan.service.name}", f"execution {verdict.status.value}"]
    if run.plan.faults:
        facts.append("every fault proven gone" if verdict.restored else "**not every fault could be proven gone**")
    if rehearsal := words.rehearsal(run.plan):
        facts.append(f"**{rehearsal}**")
    return (
        f"## {words.symbol(verdict.verdict)} {words.word(verdict.verdict)}: {_cell(verdict.scenario)}\n\n"
        f"**{_cell(verdict.headline)}**\n\n"
        + "".join(f"{_cell(sentence)}\n" for sentence in verdict.summary)
        + ("\n" if verdict.summary else "")
        + " · ".join(facts)
    )


def _breached(verdict: Verdict) -> str:
    wrong = [row for row in rows.rule_rows(verdict) if row.outcome is not Outcome.PASS]
    checks = [check for check in rows.check_rows(verdict) if check.outcome is not Outcome.PASS]
    lines = [
        (_mark(row.outcome), row.phase, row.sli, row.value, row.decided_by, row.detail, f"`{row.source}`")
        for row in wrong
    ]
    lines += [(_mark(one.outcome), one.phase or "run", one.check, "", "validity", one.detail, "") for one in checks]
    if not lines:
        return ""
    return "### Not kept\n\n" + _table(("", "phase", "SLI", "value", "rule", "why", "where"), lines)


def _timings(run: Run, verdict: Verdict) -> str:
    lines = [
        (_mark(row.outcome), row.fault, row.timing, row.value, row.rule or "-", row.note or "-")
        for row in rows.timing_rows(run, verdict)
    ]
    return "### Timings\n\n" + _table(("", "fault", "timing", "value", "rule", "why"), lines) if lines else ""


def _impacts(verdict: Verdict) -> str:
    lines = [
        (row.start, row.end, row.length, row.severity, row.bad, row.downtime, row.fault)
        for row in rows.impact_rows(verdict)
    ]
    header = ("from", "to", "length", "severity", "bad arrivals", "downtime", "fault")
    return "### Impacts\n\n" + _table(header, lines) if lines else ""


def _untested(run: Run) -> str:
    lines = [f"- {_cell(name)}: {_cell(misses)}" for name, misses in rows.untested_rows(run)]
    return "### Not tested\n\n" + "\n".join(lines) if lines else ""


def _audit(verdict: Verdict) -> str:
    if verdict.audit is None:
        return ""
    lines = [(_mark(row.outcome), row.count, row.value, row.rule, row.detail) for row in audit_rows(verdict)]
    examples = [(row.count, f"`{row.id}`", row.acknowledged, row.near) for row in example_rows(verdict)]
    text = f"### Data-loss audit\n\n{_cell(verdict.audit.detail)}\n\n"
    text += _table(("", "count", "value", "rule", "why"), lines)
    return f"{text}\n\n{_table(('count', 'id', 'acknowledged at', 'fault'), examples)}" if examples else text


def _rules(verdict: Verdict) -> str:
    lines = [
        (_mark(row.outcome), row.phase, row.sli, row.value, row.interval or "-", _limits(row), row.evidence)
        for row in rows.rule_rows(verdict)
    ]
    return _table(("", "phase", "SLI", "value", "interval", "rules", "evidence"), lines) if lines else ""


def _limits(row: rows.RuleRow) -> str:
    return " · ".join(limit.text for limit in row.limits)


def _load(verdict: Verdict) -> str:
    header = ("phase", "level", "offered", "planned", "sent", "ok", "failed", "timed out", "dropped", "lost")
    lines = []
    for row in rows.load_rows(verdict):
        load = row.result.load
        counts = (load.planned, load.sent, load.ok, load.failed, load.timed_out, load.dropped, load.lost)
        lines.append((row.result.name, row.level, row.offered, *map(words.count, counts), *row.response, row.lag))
    return _table((*header, "p50", "p95", "p99", "max", "start lag p99"), lines)


def _validity(verdict: Verdict) -> str:
    lines = [(_mark(one.outcome), one.phase or "run", one.check, one.detail) for one in rows.check_rows(verdict)]
    return _table(("", "phase", "check", "detail"), lines) if lines else ""


def _mark(outcome: Outcome | None) -> str:
    return f"{words.symbol(outcome)} {words.word(outcome)}" if outcome else "-"


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>" if body else ""


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    ruled = [_line(header), _line(["---"] * len(header)), *(_line([_cell(cell) for cell in line]) for line in lines)]
    return "\n".join(ruled)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """One line, with what Markdown and HTML would read as markup made harmless, and of bounded length."""
    one_line = " ".join(text.split())
    if len(one_line) > CELL_MAX:
        one_line = one_line[: CELL_MAX - 1] + "…"
    return one_line.replace("&", "&amp;").replace("|", "\\|").replace("<", "&lt;")


def _cut(text: str, bytes_max: int) -> str:
    """Whole lines of the text, as many as fit."""
    if len(text.encode()) <= bytes_max:
        return text
    kept: list[str] = []
    size = 0
    for line in text.splitlines():
        size += len(line.encode()) + 1
        if size > bytes_max:
            break
        kept.append(line)
    return "\n".join([*kept, "", "… cut: see the full report"])
