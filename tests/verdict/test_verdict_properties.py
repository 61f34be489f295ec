"""What judging keeps whatever the run: the same bytes, no reward for getting worse, no matter which order or unit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_case import S, parse, rule_of

from harness.history.events import Event
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame
from harness.history.run import Run
from harness.history.series import Samples, Series
from harness.plan.model import Threshold, Tier, Unit
from harness.record import Record, read
from harness.verdict.document import text
from harness.verdict.judge import judge
from harness.verdict.model import Finding, Outcome, Reason, Verdict

CASES = sorted((Path(__file__).parent / "cases").glob("*.case"))
RANK = {Outcome.PASS: 0, Outcome.WARN: 1, Outcome.INCONCLUSIVE: 2, Outcome.FAIL: 3}  # of verdicts
BREACH = {
    Outcome.PASS: 0,
    Outcome.INCONCLUSIVE: 1,
    Outcome.WARN: 2,
    Outcome.FAIL: 2,
}  # of findings

quick = settings(max_examples=15)

TEN_SECONDS = """
service rate=40
phase baseline 0..12 load=100%
rule baseline error_ratio warn > 4%
rule baseline error_ratio fail > 8%
rule baseline error_ratio abort > 20% for 3s
rule baseline error_ratio abort > 30% in any 4s
rule baseline latency_p95 fail > 500ms
rule baseline success_ratio fail < 70%
rule baseline throughput fail < 50% of offered
"""

shares = st.lists(st.sampled_from([0.0, 0.0, 0.05, 0.1, 0.3, 1.0]), min_size=12, max_size=12)


def small(failed: list[float]) -> Run:
    case = parse(TEN_SECONDS)
    case.load["failed"] = list(failed)
    return case.run()


def recorded(path: Path) -> Run:
    return parse(path.read_text(encoding="utf-8")).run()


# -- the same bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_order_of_frames_and_series_is_of_no_consequence(path: Path) -> None:
    run = recorded(path)
    frames, series = list(run.frames), list(run.series)
    shuffled = random.Random(1)
    shuffled.shuffle(frames)
    shuffled.shuffle(series)
    assert text(judge(replace(run, frames=tuple(frames), series=tuple(series)))) == text(judge(run))


@pytest.mark.parametrize("path", CASES[::4], ids=lambda path: path.stem)
def test_a_record_read_back_gets_the_same_bytes(path: Path, tmp_path: Path) -> None:
    run = recorded(path)
    back = read(written(run, tmp_path))
    assert text(judge(back)) == text(judge(replace(run, name=back.name)))


def test_a_record_may_hold_a_second_in_several_frames(tmp_path: Path) -> None:
    run = small([0.1] * 12)
    parts = [part for frame in run.frames for part in halves(frame)]
    assert text(judge(replace(run, frames=tuple(parts)))) == text(judge(run))


@pytest.mark.real
def test_another_process_with_other_hashes_gives_the_same_bytes(tmp_path: Path) -> None:
    directories = []
    for path in (one for one in CASES if one.stem in ("pod-killed", "each-request", "one-zone-dead", "agree")):
        (tmp_path / path.stem).mkdir()
        directories.append(written(recorded(path), tmp_path / path.stem))
    script = (
        "import sys, pathlib\n"
        "from harness.record import read\n"
        "from harness.verdict.document import text\n"
        "from harness.verdict.judge import judge\n"
        "sys.stdout.write(''.join(text(judge(read(pathlib.Path(one)))) for one in sys.argv[1:]))\n"
    )
    here = "".join(text(judge(read(one))) for one in directories)
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", script, *map(str, directories)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert there.stdout.decode("utf-8") == here


# -- no reward for getting worse --------------------------------------------------------------------------------------


@quick
@given(shares, st.data())
def test_more_bad_arrivals_never_improve_a_finding(failed: list[float], data: st.DataObject) -> None:
    worse = [data.draw(st.sampled_from([share, min(share + 0.05, 1.0), 1.0])) for share in failed]
    assert_no_better(judge(small(failed)), judge(small(worse)))


@quick
@given(shares, st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=12, max_size=12))
def test_slower_answers_never_improve_a_finding(failed: list[float], slow: list[float]) -> None:
    run = small(failed)
    frames = tuple(slowed(frame, slow[frame.second]) for frame in run.frames)
    assert_no_better(judge(run), judge(replace(run, frames=frames)))


@quick
@given(st.lists(st.integers(0, 40), min_size=30, max_size=30), st.lists(st.integers(0, 40), min_size=30, max_size=30))
def test_more_errors_counted_by_servers_never_improve_a_finding(errors: list[int], more: list[int]) -> None:
    assert_no_better(judge(counted(errors)), judge(counted([a + b for a, b in zip(errors, more, strict=True)])))


def assert_no_better(before: Verdict, after: Verdict) -> None:
    for was, now in zip(before.findings, after.findings, strict=True):
        assert BREACH[now.outcome] >= BREACH[was.outcome], (was, now)
    assert RANK[after.verdict] >= RANK[before.verdict]


# -- time, order, units -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_s", [1, 3600])
@pytest.mark.parametrize(
    "stem", ["boundary", "pod-killed", "zero-baseline", "limit-between-buckets", "half-the-scrapes", "zone-cut"]
)
def test_shifting_all_times_changes_no_finding(stem: str, by_s: int) -> None:
    run = recorded(next(path for path in CASES if path.stem == stem))
    before, after = judge(run), judge(shifted(run, by_s))
    assert [timeless(one, by_s) for one in after.findings] == [timeless(one, 0) for one in before.findings]
    assert [(one.timing, one.outcome, one.reason) for one in after.timings] == [
        (one.timing, one.outcome, one.reason) for one in before.timings
    ]
    assert [(one.check, one.phase, one.outcome) for one in after.validity] == [
        (one.check, one.phase, one.outcome) for one in before.validity
    ]
    assert after.verdict is before.verdict


@pytest.mark.parametrize(
    ("sli", "one", "other"),
    [
        ("latency_p95", "> 500ms", "> 0.5s"),
        ("latency_p95", "> 500ms for 90s", "> 0.5s for 1.5m"),
        ("latency_p95", "> 120% of baseline floor 10ms cap 1s", "> 120.0% of baseline floor 0.01s cap 1000ms"),
        ("error_ratio", "> 1% in any 60s", "> 1.0% in any 1m"),
        ("throughput", "< 100/s", "< 6000/min"),
    ],
)
def test_a_rule_says_the_same_in_any_unit(sli: str, one: str, other: str) -> None:
    unit = {"latency_p95": Unit.SECONDS, "throughput": Unit.PER_SECOND}.get(sli, Unit.RATIO)
    first, second = rule_of(one, unit), rule_of(other, unit)
    assert replace(second, text=first.text) == first


@quick
@given(shares)
def test_success_is_judged_as_errors_are(failed: list[float]) -> None:
    """`success < 92 %` and `errors > 8 %` are the same proposition."""
    run = small(failed)
    phase = run.plan.phases[0]
    rules = (("error_ratio", "> 8%"), ("success_ratio", "< 92%"), ("success_ratio", "< 70%"), ("error_ratio", "> 30%"))
    asked = tuple(threshold(phase.thresholds[0], *rule) for rule in rules)
    found = judge(replace(run, plan=replace(run.plan, phases=(replace(phase, thresholds=asked),)))).findings
    assert (found[0].outcome, found[0].reason) == (found[1].outcome, found[1].reason)
    assert (found[3].outcome, found[3].reason) == (found[2].outcome, found[2].reason)


# -- any prefix -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_any_prefix_of_a_history_can_be_judged(path: Path) -> None:
    run = recorded(path)
    half, most = len(run.events) // 2, len(run.events) * 3 // 4
    for events, frames, series in ((half, len(run.frames) // 2, 0), (most, len(run.frames), 1)):
        cut = replace(
            run, events=run.events[:events], frames=run.frames[:frames], series=run.series[:series], health=()
        )
        assert_judged(cut)


@quick
@given(st.sampled_from(CASES), st.data())
def test_a_history_cut_in_the_middle_of_anything_can_be_judged(path: Path, data: st.DataObject) -> None:
    run = recorded(path)
    until_s = data.draw(st.floats(0, run.plan.end_s + 1))
    cut = replace(
        run,
        events=tuple(event for event in run.events if event.t_ns <= until_s * S),
        frames=tuple(frame for frame in run.frames if frame.second < until_s),
        series=tuple(
            replace(one, samples=Samples.of(pair for pair in one.samples if pair[0] <= until_s)) for one in run.series
        ),
    )
    assert_judged(cut)


def assert_judged(run: Run) -> None:
    """Nothing raised but where an SLI does not exist; and no part of a run passes."""
    verdict = judge(run)
    known = {sli.name for sli in run.plan.service.slis}
    assert not verdict.headline.startswith("judging raised"), verdict.headline
    assert [one for one in verdict.findings if one.reason is Reason.CHECK_RAISED and one.sli in known] == []
    assert verdict.verdict in (Outcome.INCONCLUSIVE, Outcome.FAIL)


# -- how runs are changed ---------------------------------------------------------------------------------------------


def written(run: Run, folder: Path) -> Path:
    record = Record.create(folder, run.plan, given={}, environment={})
    for event in run.events:
        record.event(event.t_ns, event.body)
    record.load(run.frames, run.health)
    record.series(run.series)
    record.close()
    return record.directory


def halves(frame: LoadFrame) -> list[LoadFrame]:
    """The frame as two that add up to it, in an order that is not that of time."""
    response = dict(frame.response.counts)
    if not frame.ok:
        return [frame]
    least = min(response)
    rest = Histogram({index: n - (index == least) for index, n in response.items() if n - (index == least)})
    first = replace(
        frame, planned=0, sent=1, ok=1, failed=0, timed_out=0, dropped=0, lost=0, response=Histogram({least: 1})
    )
    first = replace(first, service=Histogram(), lag=Histogram(), good_bins=(), bad_bins=())
    return [replace(frame, sent=frame.sent - 1, ok=frame.ok - 1, response=rest), first]


def slowed(frame: LoadFrame, share: float) -> LoadFrame:
    """This share of the ok answers took two seconds."""
    slow = round(frame.ok * share)
    response = Histogram()
    response.record(20_000, frame.ok - slow)
    response.record(2_000_000, slow)
    return replace(frame, response=response, service=response)


def counted(errors: list[int]) -> Run:
    case = parse(
        "phase stress 0..30 load=100%\nrule stress server_errors warn > 4%\nrule stress server_errors fail > 8%\n"
        "rule stress server_errors abort > 20% for 6s\nrule stress server_errors abort > 15% in any 10s\n"
    )

    def series(role: str, values: list[int]) -> Series:
        rows = [(float(second - 1), float(value)) for second, value in enumerate(values)]
        sli = "" if role == "up" else "server_errors"
        return Series(sli=sli, phase="stress", role=role, query=role, labels=(("instance", "a"),), samples=rows)  # type: ignore[arg-type]

    sums = [sum(errors[:second]) for second in range(31)]
    case.series = [series("total", [1000 + 200 * i for i in range(31)]), series("bad", sums), series("up", [1] * 31)]
    return case.run()


def threshold(like: Threshold, sli: str, text_: str) -> Threshold:
    return replace(like, sli=sli, tier=Tier.FAIL, rule=rule_of(text_, Unit.RATIO))


def timeless(finding: Finding, by_s: int) -> Finding:
    """The finding without rounding errors, as it was before everything moved."""
    rounded = {
        name: None if (value := getattr(finding, name)) is None else round(value, 9)
        for name in ("value", "lo", "hi", "worst", "margin", "coverage")
    }
    worst_s = None if finding.worst_s is None else round(finding.worst_s - by_s, 6)
    return replace(finding, **rounded, worst_s=worst_s, detail="")


def shifted(run: Run, by_s: int) -> Run:
    """Everything later by so many seconds; before the first phase there is nothing."""
    plan = run.plan
    phases = tuple(
        replace(
            phase,
            begin_s=phase.begin_s + by_s if i else 0.0,
            settle_s=phase.settle_s + (0 if i else by_s),
            start_s=phase.start_s + by_s,
            end_s=phase.end_s + by_s,
        )
        for i, phase in enumerate(plan.phases)
    )
    faults = tuple(replace(one, at_s=one.at_s + by_s, until_s=one.until_s + by_s) for one in plan.faults)
    return replace(
        run,
        plan=replace(plan, phases=phases, faults=faults, end_s=plan.end_s + by_s),
        events=tuple(shifted_event(event, by_s) for event in run.events),
        frames=tuple(replace(frame, second=frame.second + by_s) for frame in run.frames),
        series=tuple(
            replace(one, samples=Samples.of((t_s + by_s, value) for t_s, value in one.samples)) for one in run.series
        ),
    )


def shifted_event(event: Event, by_s: int) -> Event:
    inner = {
        name: getattr(event.body, name) + by_s * S
        for name in ("lo_ns", "hi_ns", "since_ns", "scheduled_until_ns")
        if hasattr(event.body, name)
    }
    return replace(event, t_ns=event.t_ns + by_s * S, body=replace(event.body, **inner))
