"""The report: one self-contained HTML page that reads without JavaScript or network, in light, dark and print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from harness.history.events import TargetsFrozen
from harness.history.run import Run
from harness.history.views import FaultWindow, fault_windows
from harness.plan.model import Fault
from harness.report import charts, rows, words
from harness.report.audit import audit_rows, example_rows
from harness.report.timeline import Timeline, timeline
from harness.report.waterfall import waterfall
from harness.verdict.model import Verdict


def page(run: Run, verdict: Verdict, *, environment: Mapping[str, str], scenario_text: str) -> str:
    """The page; a pure function of its arguments. `environment` and `scenario_text` are shown as they are."""
    line = timeline(run, verdict)
    timings = rows.timing_rows(run, verdict)
    falls = [(bar.name, Markup(waterfall(line, bar, timings))) for bar in line.faults]
    return _template().render(
        run=run,
        verdict=verdict,
        words=words,
        facts=_facts(run, verdict),
        rules=rows.rule_rows(verdict),
        tally=rows.tally(row.outcome for row in rows.rule_rows(verdict)),
        hero=Markup(charts.hero(line)),
        points=_points(line),
        timings=timings,
        falls=[fall for fall in falls if fall[1]],
        impacts=rows.impact_rows(verdict),
        load=rows.load_rows(verdict),
        audit=verdict.audit,
        audit_rules=audit_rows(verdict),
        audit_examples=example_rows(verdict),
        with_health=any(result.health is not None for result in verdict.phases),
        errors=rows.error_rows(run),
        failures=rows.failure_rows(run),
        workers=rows.worker_rows(run),
        faults=_faults(run, verdict),
        log=rows.log_rows(run),
        checks=rows.check_rows(verdict),
        checks_tally=rows.tally(check.outcome for check in verdict.validity),
        environment=environment,
        scenario_text=scenario_text,
    )


@cache
def _template() -> Template:
    loader = PackageLoader("harness.report", "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2")


def _facts(run: Run, verdict: Verdict) -> tuple[tuple[str, str, bool], ...]:
    """(name, value, whether it is alarming) of what one wants to know at a glance."""
    service = run.plan.service
    restored = "no faults planned"
    if run.plan.faults:
        restored = "every fault proven gone" if verdict.restored else "NOT EVERY FAULT PROVEN GONE"
    facts = [
        ("service", f"{service.title} ({service.name})", False),
        ("target", service.url, False),
        ("baseline", f"{words.rate(service.load.baseline_per_s)}, {service.load.arrivals} arrivals", False),
        ("length", words.duration(run.plan.end_s), False),
        ("execution", verdict.status.value, verdict.status.value != "completed"),
        ("restored", restored, not verdict.restored),
        ("run", verdict.run, False),
    ]
    if run.plan.time_scale != 1:
        facts.append(("time scale", f"{run.plan.time_scale:g} (a rehearsal)", True))
    return tuple(facts)


def _points(line: Timeline) -> dict[str, object]:
    """What the hover read-out says, per step of the axis; null where nothing was recorded."""

    def rounded(value: float | None, digits: int) -> float | None:
        return None if value is None else round(value, digits)

    return {
        "step": line.step_s,
        "offered": [[round(t_s, 3), round(per_s, 2)] for t_s, per_s in line.offered],
        "ok": [rounded(step.ok_per_s, 2) for step in line.steps],
        "p50": [rounded(step.p50_s, 6) for step in line.steps],
        "p95": [rounded(step.p95_s, 6) for step in line.steps],
        "p99": [rounded(step.p99_s, 6) for step in line.steps],
        "bad": [rounded(step.error_ratio, 6) for step in line.steps],
        "pods": [[round(t_s, 3), ready] for t_s, ready in line.pods],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCard:
    """One fault's plan, targets, and what happened when."""

    fault: Fault
    targets: tuple[str, ...]
    evidence: str
    milestones: tuple[tuple[str, str], ...]  # what the cluster did about it, with when
    steps: tuple[tuple[str, str], ...]


def _faults(run: Run, verdict: Verdict) -> tuple[FaultCard, ...]:
    frozen = {
        event.body.fault: (*event.body.nodes, *event.body.names)
        for event in run.events
        if isinstance(event.body, TargetsFrozen)
    }
    windows = {window.fault: window for window in fault_windows(run.plan, run.events)}
    return tuple(
        FaultCard(
            fault=fault,
            targets=frozen.get(fault.name, ()),
            evidence=windows[fault.name].evidence,
            milestones=tuple(
                (one.step.value, f"{words.duration(max(one.after_s, 0.0))} after ({one.detail})")
                for one in verdict.milestones
                if one.fault == fault.name
            ),
            steps=_steps(windows[fault.name]),
        )
        for fault in run.plan.faults
    )


def _steps(window: FaultWindow) -> tuple[tuple[str, str], ...]:
    """What is known of the fault, in the order of a fault's life; "-" for what did not happen."""
    return (
        ("armed", "yes" if window.armed else "-"),
        ("injection asked", _at(window.requested_ns)),
        ("method played", window.failed or _at(window.injected_ns)),
        ("came into force", _between(window.confirmed)),
        ("rollback asked", _at(window.rollback_requested_ns)),
        ("rollbacks played", window.rollback_failed or _at(window.rollback_ns)),
        ("effect gone", _between(window.gone)),
    )


def _at(t_ns: int | None) -> str:
    return "-" if t_ns is None else words.instant(t_ns / 1e9)


def _between(interval: tuple[int, int] | None) -> str:
    if interval is None:
        return "-"
    lo, hi = (words.instant(t_ns / 1e9) for t_ns in interval)
    return lo if lo == hi else f"{lo} to {hi}"
