"""How the reports say things: symbols, numbers with their uncertainty, and one sentence per event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness import units
from harness.history import events as ev
from harness.history.audit import AuditCompleted, AuditFailed, AuditReadRequested, AuditStarted
from harness.plan.model import Plan
from harness.verdict.model import Finding, Outcome, TimingFinding

SYMBOL = {Outcome.PASS: "✓", Outcome.WARN: "!", Outcome.FAIL: "✗", Outcome.INCONCLUSIVE: "?"}
WORD = {outcome: outcome.value.upper() for outcome in Outcome}
UNJUDGED = "·"
SEVERITY = {Outcome.FAIL: 0, Outcome.INCONCLUSIVE: 1, Outcome.WARN: 2, Outcome.PASS: 3}


def symbol(outcome: Outcome | None) -> str:
    """The sign of an outcome; a dot where nothing was judged."""
    return SYMBOL[outcome] if outcome else UNJUDGED


def word(outcome: Outcome | None) -> str:
    """The outcome in capitals; "-" where nothing was judged."""
    return WORD[outcome] if outcome else "-"


def instant(t_s: float) -> str:
    """A time since run start as minutes and seconds: "1:05.02", "12:00"."""
    minutes, rest = divmod(round(t_s * 100), 6000)
    whole, hundredths = divmod(rest, 100)
    return f"{minutes}:{whole:02d}" + (f".{hundredths:02d}" if hundredths else "")


def share(ratio: float) -> str:
    """A ratio as a percentage."""
    return units.show(ratio, "ratio")


def duration(length_s: float) -> str:
    """A length of time."""
    return units.show(length_s, "s")


def rate(per_s: float) -> str:
    """Arrivals per second."""
    return units.show(per_s, "/s")


def plural(number: int, noun: str) -> str:
    """A number of things: "1 arrival", "13 500 arrivals"."""
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def count(number: int) -> str:
    """A whole number in full, thousands apart by a narrow no-break space."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def value(finding: Finding) -> str:
    """A finding's value in its unit; "no value" where there is no number."""
    return "no value" if finding.value is None else units.show(finding.value, finding.unit.value)


def interval(finding: Finding) -> str:
    """A finding's interval, "598ms to 630ms"; empty where it has none or is a point."""
    if finding.lo is None or finding.hi is None or finding.lo == finding.hi:
        return ""
    return f"{units.show(finding.lo, finding.unit.value)} to {units.show(finding.hi, finding.unit.value)}"


def named(finding: Finding) -> str:
    """The SLI's name, with the group where each was judged apart: "latency_p95 [zone-a]"."""
    return finding.sli if finding.group is None else f"{finding.sli} [{finding.group}]"


def worst(finding: Finding) -> str:
    """The worst stretch and when it began, "812ms at 1:05"; empty where none is known."""
    if finding.worst is None or finding.worst_s is None:
        return ""
    return f"{units.show(finding.worst, finding.unit.value)} at {instant(finding.worst_s)}"


def margin(finding: Finding) -> str:
    """How far the value is from the limit, as a share of the limit; empty where there is no such share."""
    if finding.margin is None:
        return ""
    way = "beyond the limit" if finding.margin < 0 else "of the limit left"
    return f"{share(abs(finding.margin))} {way}"


def timing(finding: TimingFinding) -> str:
    """
    A timing with its uncertainty: "1.21s ±40ms"; "0s to 83ms" where that is wider than the value is large.

    "> 45s" when its end was not seen, "no value" without one.
    """
    bound = finding.value_s if finding.value_s is not None else finding.lo_s
    if bound is None:
        return "no value"
    if finding.censored:
        return f"> {duration(bound)}"
    return _with_bounds(bound, finding.lo_s, finding.hi_s)


def _with_bounds(value_s: float, lo_s: float | None, hi_s: float | None) -> str:
    if lo_s is None or hi_s is None or lo_s == hi_s:
        return duration(value_s)
    if hi_s - lo_s > value_s:
        return f"{duration(lo_s)} to {duration(hi_s)}"
    return f"{duration(value_s)} ±{duration(max(value_s - lo_s, hi_s - value_s))}"


def rehearsal(plan: Plan) -> str:
    """That the plan's times, `for` and `in any` of its rules included, are not those written; empty where they are."""
    return "" if plan.time_scale == 1 else f"played at time scale {plan.time_scale:g}"


def sentence(body: ev.Body) -> str | None:
    """One line of log for an event; None for those that come in masses or say nothing to a person."""
    say = _SENTENCES.get(type(body))
    return say(body) if say else None


_SENTENCES: dict[type, Callable[[Any], str]] = {
    ev.RunStarted: lambda e: f"run {e.run} started",
    ev.RunEnded: lambda e: f"run {e.status.value}: {e.detail}" if e.detail else f"run {e.status.value}",
    ev.PhaseStarted: lambda e: f"phase {e.phase} started",
    ev.PhaseEnded: lambda e: f"phase {e.phase} ended",
    ev.LoadStarted: lambda e: f"load started on {plural(e.workers, 'worker')}",
    ev.LoadStopRequested: lambda _: "load told to stop and drain",
    ev.LoadStopped: lambda _: "load drained",
    ev.LoadFailed: lambda e: f"load generator broke: {e.detail}",
    ev.WorkerLost: lambda e: f"load worker {e.worker} lost: {e.detail}",
    ev.WorkerJoined: lambda e: f"load worker {e.worker} takes part from here on",
    ev.PreflightChecked: lambda e: f"preflight: {e.check}: {e.detail}",
    ev.TargetsFrozen: lambda e: f"{e.fault}: may touch {', '.join((*e.nodes, *e.names))}",
    ev.HoldLost: lambda e: f"THE HOLD ON THE CLUSTER WAS LOST: {e.detail}",
    ev.FaultArmed: lambda e: f"{e.fault}: armed, its undo is on disk",
    ev.InjectRequested: lambda e: f"{e.fault}: injection asked for",
    ev.InjectCompleted: lambda e: f"{e.fault}: method played",
    ev.InjectFailed: lambda e: f"{e.fault}: injection failed: {e.detail}",
    ev.RollbackRequested: lambda e: f"{e.fault}: rolling back",
    ev.RollbackCompleted: lambda e: f"{e.fault}: rollbacks played",
    ev.RollbackFailed: lambda e: f"{e.fault}: ROLLBACK FAILED: {e.detail}",
    ev.CanarySeen: lambda e: f"canary {e.from_zone} to {e.to_zone} ({e.via}): {'answers' if e.ok else 'cut off'}",
    ev.PodGone: lambda e: f"pod {e.pod} gone",
    ev.EndpointsSeen: lambda e: f"service {e.service}: {plural(e.ready, 'endpoint')} ready{_by_zone(e)}",
    ev.NodeSeen: lambda e: f"node {e.node} in {e.zone or 'no zone'}: {_node(e)}",
    ev.NodeGone: lambda e: f"node {e.node} gone",
    ev.DeploymentSeen: lambda e: f"deployment {e.deployment}: {_rollout(e)}",
    ev.LeaseSeen: lambda e: f"lease {e.lease}: held by {e.holder or 'nobody'}",
    ev.ClusterWarned: lambda e: f"{e.about}: {e.reason}: {e.message}",
    ev.WatchGap: lambda e: f"Kubernetes watch was blind: {e.detail}",
    ev.QueryFailed: lambda e: f"no answer for {e.sli} in {e.phase}: {e.detail}",
    ev.QueryRefused: lambda e: f"no data for {e.sli} in {e.phase}: {e.detail}",
    ev.QueryWarned: lambda e: f"Prometheus on {e.sli} in {e.phase}: {'; '.join(e.warnings)}",
    ev.QueryProbed: lambda e: f"{e.sli}: {e.detail}",
    ev.AbortTripped: lambda e: f"ABORT: {e.sli} {e.rule} in {e.phase}",
    AuditStarted: lambda e: f"audit: {plural(e.writers, 'writer')} write {rate(e.rate_per_s)} to {e.url}",
    AuditReadRequested: lambda _: "audit: told to read everything back",
    AuditCompleted: lambda e: f"audit: {e.lost} of {e.acknowledged} acknowledged writes lost",
    AuditFailed: lambda e: f"audit: NOTHING FOUND OUT: {e.detail}",
    ev.Interrupted: lambda e: f"interrupted by {e.signal}",
    ev.DriverBroke: lambda e: f"driver {e.driver} broke: {e.detail}",
}


def _by_zone(seen: ev.EndpointsSeen) -> str:
    return f" ({', '.join(f'{zone} {ready}' for zone, ready in seen.zones)})" if seen.zones else ""


def _node(seen: ev.NodeSeen) -> str:
    facts = ["ready" if seen.ready else "not ready", "" if seen.schedulable else "cordoned"]
    return ", ".join(filter(None, (*facts, *(f"tainted {key}" for key in seen.taints))))


def _rollout(seen: ev.DeploymentSeen) -> str:
    stuck = "; its rollout is stuck" if seen.stuck else ""
    return f"{seen.updated} of {seen.wanted} up to date, {seen.replicas} there, {seen.ready} ready{stuck}"
