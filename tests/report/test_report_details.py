"""What a finding says besides its value: its group, its worst moment, how grave it is, what to do."""

from __future__ import annotations

from dataclasses import replace

from example import ENVIRONMENT, SCENARIO_TEXT, failed

from harness.history.load import FailedRequest
from harness.history.run import Run
from harness.report import html, junit, markdown, terminal
from harness.report.rows import failure_rows, rule_rows, worker_rows
from harness.verdict.model import Outcome, Shape, Verdict

RUNBOOK = "https://runbooks.example.org/latency"
SUMMARY = (
    "25,900 arrivals were offered and sent.",
    "One pod was deleted; it was bad for 14 s.",
    "p95 broke its limit.",
)


def told() -> tuple[Run, Verdict]:
    """The failed example, with everything a finding can say, and two failed requests on record."""
    run, verdict = failed()
    findings = tuple(
        replace(one, group="checkout", worst=0.812, worst_s=65.5, margin=-0.24, severity="P2", runbook=RUNBOOK)
        if one.outcome is Outcome.FAIL
        else one
        for one in verdict.findings
    )
    impacts = tuple(replace(one, shape=Shape.BROWNOUT, stream="browse") for one in verdict.impacts)
    phases = tuple(replace(one, health=0.97) for one in verdict.phases)
    failures = tuple(
        FailedRequest(
            t_ns=t_ns, stream="browse", series="/", error="http_503", status=503, peer="127.0.0.1:80",
            response_s=0.004, detail="no ready endpoint",
        )
        for t_ns in range(7_000_000_000, 0, -1_000_000_000)
    )  # fmt: skip
    changed = replace(verdict, summary=SUMMARY, findings=findings, impacts=impacts, phases=phases)
    return replace(run, failures=failures), changed


def test_the_three_sentences_stand_where_the_headline_stood() -> None:
    run, verdict = told()
    lines = terminal.text(run, verdict, colour=False, width=200, directory="results/x").splitlines()
    assert lines[1:4] == [f"  {sentence}" for sentence in SUMMARY]
    assert all(sentence in markdown.summary(run, verdict, "results/x") for sentence in SUMMARY)


def test_a_breached_rule_says_which_group_how_bad_when_and_what_to_do() -> None:
    run, verdict = told()
    row = rule_rows(verdict)[0]
    assert row.sli.endswith(" [checkout]")
    assert (row.worst, row.margin, row.severity, row.runbook) == (
        "81.2% at 1:05.50",
        "24% beyond the limit",
        "P2",
        RUNBOOK,
    )
    line = next(
        line
        for line in terminal.text(run, verdict, colour=False, width=400, directory="x").splitlines()
        if "[checkout]" in line
    )
    assert "P2 " in line
    assert "worst 81.2% at 1:05.50" in line
    assert RUNBOOK in line
    assert f"P2] {RUNBOOK}" in junit.xml(verdict)


def test_a_run_that_was_not_played_as_written_says_so_everywhere() -> None:
    """Its rules are shown as they are written: `for 15s` was 3.75 s."""
    run, verdict = failed()
    run = replace(run, plan=replace(run.plan, time_scale=0.25))
    shown = terminal.text(run, verdict, colour=False, width=200, directory="results/x")
    assert "; every fault proven gone; played at time scale 0.25\n" in shown
    assert " · **played at time scale 0.25**\n" in markdown.summary(run, verdict, "results/x")
    assert "0.25 (a rehearsal)" in html.page(run, verdict, environment={}, scenario_text="")


def test_groups_of_one_sli_are_rows_of_their_own() -> None:
    _, verdict = failed()
    one = verdict.findings[0]
    zones = tuple(replace(one, group=zone) for zone in ("zone-a", "zone-b"))
    rows = rule_rows(replace(verdict, findings=zones))
    assert [row.sli for row in rows] == [f"{one.sli} [zone-a]", f"{one.sli} [zone-b]"]


def test_the_page_shows_the_sample_of_failed_requests_the_kind_of_an_impact_and_the_health() -> None:
    run, verdict = told()
    page = html.page(run, verdict, environment=ENVIRONMENT, scenario_text=SCENARIO_TEXT)
    assert "brown-out of browse" in page
    assert f'<a href="{RUNBOOK}">runbook</a>' in page
    assert "no ready endpoint" in page
    assert page.count('<td class="n">97%</td>') == len(verdict.phases)


def test_of_each_error_class_the_first_few_failures_are_shown_in_time_order() -> None:
    run, _ = told()
    assert [(row.at, row.request, row.error) for row in failure_rows(run)] == [
        (f"0:0{second}", "browse: /", "http_503") for second in (1, 2, 3, 4, 5)
    ]


def test_a_workers_most_arrivals_in_flight_and_its_clock_are_shown() -> None:
    run, _ = told()
    health = tuple(replace(one, in_flight=one.second, clock_s=0.002) for one in run.health)
    most = max(one.second for one in run.health)
    assert {(row.in_flight_max, row.clock) for row in worker_rows(replace(run, health=health))} == {(str(most), "2ms")}
