"""
Whether clients and servers tell the same story of a calm phase: what Prometheus counted against the load record.

A difference changes no verdict, because each side is right about what it saw. It is shown, because it means that they
did not see the same thing: requests that never arrived, servers nobody scrapes, retries, somebody else's requests.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.plan.model import PrometheusSli, Unit
from harness.units import show
from harness.verdict.case import Case
from harness.verdict.client import Tally, whole_seconds
from harness.verdict.interval import share_interval
from harness.verdict.model import Check, Outcome
from harness.verdict.ruling import Measured, NoEvidenceError
from harness.verdict.window import Window

COUNT_ERROR_MAX = 0.02  # of the requests sent
SLACK_SCRAPES = 2  # counters are read at scrapes: up to one is missing at either end of the window
SHARE_ERROR_MAX = 0.001  # of error shares; what is closer is the same for anybody's purposes


@dataclass(frozen=True, slots=True)
class _Clients:
    """What the clients sent in a window, and how much of it got no ok answer."""

    sent: int
    bad: int


def agreement_checks(case: Case) -> list[Check]:
    """One check for each judged phase without a fault of which both sides have a record; a warning at worst."""
    faulty = {fault.phase for fault in case.run.plan.faults}
    checks = []
    for window in case.windows:
        name = window.phase.name
        calm = case.disturbed.isdisjoint(whole_seconds(window.start_s, window.end_s))
        if window.phase.judge and window.finished and calm and name not in faulty and name not in case.limited:
            checks += _checked(case, window)
    return checks


def _checked(case: Case, window: Window) -> list[Check]:
    inside = case.tallies(None)
    clients = _clients([inside[t_s] for t_s in whole_seconds(window.start_s, window.end_s) if t_s in inside])
    found = _servers(case, window)
    if found is None or not clients.sent:
        return []
    sli, servers = found
    per_s = clients.sent / (window.end_s - window.start_s)
    wrong = _wrong(clients, servers, slack=SLACK_SCRAPES * case.scrape_s * per_s)
    shares = [show(share, Unit.RATIO) for share in (servers.value or 0.0, clients.bad / clients.sent)]
    detail = (
        f"servers ({sli.name}) counted {servers.samples} requests, {shares[0]} of them bad; "
        f"clients sent {clients.sent}, {shares[1]} of them bad"
    )
    return [
        Check(
            check="client_server_agree",
            phase=window.phase.name,
            outcome=Outcome.WARN if wrong else Outcome.PASS,
            detail=f"{detail}; {wrong}" if wrong else detail,
        )
    ]


def _clients(tallies: list[Tally]) -> _Clients:
    """An arrival that was dropped was never sent."""
    return _Clients(
        sent=sum(tally.sent for tally in tallies), bad=sum(tally.failed + tally.timed_out for tally in tallies)
    )


def _servers(case: Case, window: Window) -> tuple[PrometheusSli, Measured] | None:
    """The SLI on counters that counted most in the phase: others may be about some of the requests only."""
    found = []
    for sli in case.run.plan.service.slis:
        if isinstance(sli, PrometheusSli) and sli.query is None:
            try:
                found.append((sli, case.measured(window, sli)))
            except NoEvidenceError:
                continue  # its findings say why
    return max(found, key=lambda one: one[1].samples, default=None)


def _wrong(clients: _Clients, servers: Measured, *, slack: float) -> str:
    """What the two do not agree on; empty when they do."""
    allowed = max(COUNT_ERROR_MAX * clients.sent, slack)
    if servers.samples < clients.sent - allowed:
        return f"more than {allowed:.0f} fewer: requests lost on the way, or servers that are not scraped"
    if servers.samples > clients.sent + allowed:
        return f"more than {allowed:.0f} more: retries, arrivals of several requests, or other clients"
    assert servers.value is not None and servers.lo is not None and servers.hi is not None  # noqa: PT018 - a ratio
    lo, hi = share_interval((clients.bad, clients.bad), clients.sent)
    apart = abs(servers.value - clients.bad / clients.sent) > SHARE_ERROR_MAX
    if apart and servers.hi < lo:
        return "clients saw errors that no server made: look at what lies between them"
    if apart and servers.lo > hi:
        return "servers made errors that clients did not see: somebody retries"
    return ""
