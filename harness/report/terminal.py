"""The summary that ends a run on a terminal or in a CI log: the verdict first, each rule beside its value."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.history.run import Run
from harness.report import rows, words
from harness.report.audit import AuditRow, ExampleRow, audit_rows, example_rows
from harness.verdict.model import Outcome, Verdict

STYLE = {Outcome.PASS: "green", Outcome.WARN: "yellow", Outcome.FAIL: "red", Outcome.INCONCLUSIVE: "magenta"}
FILES = ("report.html", "verdict.json", "junit.xml", "summary.md")


def text(run: Run, verdict: Verdict, *, colour: bool, width: int, directory: str) -> str:
    """
    The summary as lines of at most `width` columns, without a final newline; with ANSI colours when `colour`.

    Nothing is said by colour alone, and the lines depend on nothing but the arguments.
    """
    console = Console(
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as captured:
        console.print(summary(run, verdict, directory))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def summary(run: Run, verdict: Verdict, directory: str) -> RenderableType:
    """The same as a rich renderable."""
    sections = (
        ("rules", _rules(verdict)),
        ("timings", _timings(run, verdict)),
        ("impacts", _impacts(verdict)),
        ("data-loss audit", _audit(verdict)),
        ("load", _load(run, verdict)),
        ("validity", _validity(verdict)),
        ("not tested", _untested(run)),
        ("files", Text(f"{directory}/{{{','.join(FILES)}}}", overflow="fold")),
    )
    parts: list[RenderableType] = [_banner(run, verdict)]
    for title, body in sections:
        if body is not None:
            parts += [Text(), Text(title, style="bold"), Padding(body, (0, 0, 0, 2))]
    return Group(*parts)


def _banner(run: Run, verdict: Verdict) -> RenderableType:
    style = STYLE[verdict.verdict]
    first = Text(f"{words.symbol(verdict.verdict)} {words.word(verdict.verdict)}", style=f"bold {style}")
    first.append(f"  {verdict.scenario}", style="bold")
    first.append(f"  {run.plan.title}")
    said = [Padding(Text(sentence), (0, 0, 0, 2)) for sentence in verdict.summary or (verdict.headline,)]
    return Group(first, *said, Padding(Text(_execution(run, verdict), style="dim"), (0, 0, 0, 2)))


def _execution(run: Run, verdict: Verdict) -> str:
    """How it was carried out, apart from what it showed."""
    undone = "no faults planned"
    if run.plan.faults:
        undone = "every fault proven gone" if verdict.restored else "NOT EVERY FAULT COULD BE PROVEN GONE"
    return "; ".join(filter(None, (f"run {verdict.run} {verdict.status.value}", undone, words.rehearsal(run.plan))))


def _table(lines: Iterable[tuple[Outcome | None, tuple[str, ...]]]) -> RenderableType | None:
    """Aligned columns behind the outcome's symbol and word; the last column takes what is left and wraps."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for outcome, cells in lines:
        if not table.columns:
            table.add_column(no_wrap=True)
            for _ in cells[:-1]:
                table.add_column(no_wrap=True)
            table.add_column(ratio=1, overflow="fold")
        style = STYLE[outcome] if outcome else "dim"
        table.add_row(Text(f"{words.symbol(outcome)} {_word(outcome)}", style=style), *(Text(cell) for cell in cells))
    return table if table.columns else None


def _word(outcome: Outcome | None) -> str:
    return outcome.value if outcome else "-"


def _rules(verdict: Verdict) -> RenderableType | None:
    """A rule that was kept needs its limits only; any other also says why, and where it is written."""
    return _table(
        (
            row.outcome,
            (
                row.phase,
                row.sli,
                row.value,
                row.decided_by if row.outcome is Outcome.PASS else _why_not(row),
            ),
        )
        for row in rows.rule_rows(verdict)
    )


def _why_not(row: rows.RuleRow) -> str:
    """The deciding rule, the reason, how grave it is and what to do, and where the rule is written."""
    rule = f"{row.severity} {row.decided_by}" if row.severity else row.decided_by
    worst = f"; worst {row.worst}" if row.worst else ""
    return " ".join(filter(None, (rule, f"({row.detail}{worst})", row.runbook, row.source)))


def _timings(run: Run, verdict: Verdict) -> RenderableType | None:
    return _table(
        (row.outcome, (row.fault, row.timing, row.value, _why(row))) for row in rows.timing_rows(run, verdict)
    )


def _why(row: rows.TimingRow) -> str:
    """The rules, the note and where the rules are written."""
    return " ".join(filter(None, (row.rule, f"({row.note})" if row.note else "", row.source)))


def _impacts(verdict: Verdict) -> RenderableType | None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for row in rows.impact_rows(verdict):
        length = " ".join(filter(None, (row.length, row.kind)))
        bad = f"{row.bad} bad arrivals ({row.severity})"
        table.add_row(f"{row.start} to {row.end}", f"{length}, {bad}, downtime {row.downtime}, fault {row.fault}")
    return table if table.rows else None


def _untested(run: Run) -> RenderableType | None:
    """What the faults that were played cannot show, in the words of their experiments."""
    lines = [Text(f"{name}: {misses}", overflow="fold") for name, misses in rows.untested_rows(run)]
    return Group(*lines) if lines else None


def _audit(verdict: Verdict) -> RenderableType | None:
    """The rules, the counts, and the first id of each kind of loss with the fault nearest to it."""
    table = _table(
        (row.outcome, (row.count, row.value, row.rule if row.outcome is Outcome.PASS else _why_not_kept(row)))
        for row in audit_rows(verdict)
    )
    if verdict.audit is None:
        return None
    first: dict[str, ExampleRow] = {}
    for row in example_rows(verdict):
        first.setdefault(row.count, row)
    told = (Text(one.told) for one in first.values())
    return Group(*([table] if table else []), Text(verdict.audit.detail), *told)


def _why_not_kept(row: AuditRow) -> str:
    return f"{row.rule} ({row.detail}) {row.source}"


def _load(run: Run, verdict: Verdict) -> RenderableType:
    """A line for each phase, and over all what the bad arrivals died of."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows.load_rows(verdict):
        load = row.result.load
        told = {"failed": load.failed, "timed out": load.timed_out, "dropped": load.dropped, "lost": load.lost}
        bad = ", ".join(f"{words.count(number)} {what}" for what, number in told.items() if number)
        p50, p95, p99, _ = row.response
        table.add_row(
            row.result.name,
            f"{row.level} {row.offered}",
            f"{words.count(load.planned)} planned, {words.count(load.ok)} ok" + (f", {bad}" if bad else ""),
            f"p50 {p50}  p95 {p95}  p99 {p99}" + (f"  health {row.health}" if row.health else ""),
        )
    errors = ", ".join(f"{kind} {words.count(number)}" for kind, number in rows.error_rows(run))
    return Group(table, Text(f"errors: {errors}")) if errors else table


def _validity(verdict: Verdict) -> RenderableType | None:
    """Checks that passed are counted; the others are told."""
    wrong = [check for check in rows.check_rows(verdict) if check.outcome is not Outcome.PASS]
    passed = len(verdict.validity) - len(wrong)
    told = _table((check.outcome, (check.phase or "run", check.check, check.detail)) for check in wrong)
    counted = Text(f"{words.symbol(Outcome.PASS)} {words.plural(passed, 'check')} passed", style="green")
    return Group(*([told] if told else []), *([counted] if passed else [])) if verdict.validity else None
