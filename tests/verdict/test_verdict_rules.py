"""Rules on values with bounds, sustained rules on slices, and the merge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_case import HERE, parse, rule_of

from harness.plan.model import HealthPart, Tier, Unit
from harness.verdict.judge import judge
from harness.verdict.merge import weight, worst
from harness.verdict.model import Finding, Outcome, Reason
from harness.verdict.ruling import holds, sustained

LETTERS = {"B": True, "G": False, "?": None}

outcomes = st.lists(st.sampled_from(Outcome), min_size=1, max_size=5)
few = settings(max_examples=30)


@pytest.mark.parametrize(
    ("op", "value", "limit", "expected"),
    [
        (">", (0.02, 0.03), (0.01, 0.01), True),
        (">", (0.00, 0.01), (0.01, 0.01), False),
        (">", (0.005, 0.02), (0.01, 0.01), None),
        (">", (0.01, 0.01), (0.01, 0.01), False),
        (">=", (0.01, 0.01), (0.01, 0.01), True),
        ("<", (0.01, 0.01), (0.01, 0.01), False),
        ("<=", (0.01, 0.01), (0.01, 0.01), True),
        ("<", (80.0, 90.0), (100.0, 110.0), True),
        ("<", (80.0, 105.0), (100.0, 110.0), None),
        ("<", (110.0, 120.0), (100.0, 110.0), False),
    ],
)
def test_a_rule_holds_for_all_none_or_some_of_what_the_bounds_allow(
    op: str, value: tuple[float, float], limit: tuple[float, float], *, expected: bool | None
) -> None:
    assert holds(value, rule_of(f"{op} 1%", Unit.RATIO), limit) is expected


@pytest.mark.parametrize(
    ("slices", "needed", "expected"),
    [
        ("BB?B", 4, None),
        ("BBBB?", 4, True),
        ("B?G", 4, False),
        ("BBGBB", 3, False),
        ("GGBBB", 3, True),
        ("???", 3, None),
        ("", 1, False),
        ("?", 2, False),
    ],
)
def test_sustained_is_decided_only_if_unknown_slices_cannot_change_it(
    slices: str, needed: int, *, expected: bool | None
) -> None:
    assert sustained([LETTERS[letter] for letter in slices], needed) is expected


@few
@given(st.lists(st.sampled_from([True, False, None]), max_size=12), st.integers(1, 5))
def test_what_is_sustained_stays_so_whatever_the_unknown_slices_were(slices: list[bool | None], needed: int) -> None:
    decided = sustained(slices, needed)
    if decided is not None:
        for fill in (True, False):
            assert sustained([fill if one is None else one for one in slices], needed) is decided


@few
@given(outcomes)
def test_merging_is_idempotent(given_: list[Outcome]) -> None:
    assert worst([*given_, worst(given_)]) is worst(given_)


@few
@given(outcomes, outcomes)
def test_merging_is_commutative(left: list[Outcome], right: list[Outcome]) -> None:
    assert worst(left + right) is worst(right + left)


@few
@given(outcomes, outcomes, outcomes)
def test_merging_is_associative(a: list[Outcome], b: list[Outcome], c: list[Outcome]) -> None:
    assert worst([worst(a + b), *c]) is worst([*a, worst(b + c)])


def test_merging_nothing_is_inconclusive() -> None:
    assert worst([]) is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("tier", "outcome", "expected"),
    [
        (Tier.TARGET, Outcome.WARN, None),
        (Tier.WARN, Outcome.INCONCLUSIVE, Outcome.WARN),
        (Tier.WARN, Outcome.PASS, Outcome.PASS),
        (Tier.FAIL, Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE),
        (Tier.ABORT, Outcome.FAIL, Outcome.FAIL),
        (None, None, None),
    ],
)
def test_a_finding_weighs_as_its_tier_says(
    tier: Tier | None, outcome: Outcome | None, expected: Outcome | None
) -> None:
    assert weight(tier, outcome) is expected


# -- rules on a recorded phase ---------------------------------------------------------------------------------------


def findings(text: str, **changed: object) -> list[Finding]:
    case = parse(text)
    run = case.run()
    service = replace(run.plan.service, **changed)  # type: ignore[arg-type]
    return list(judge(replace(run, plan=replace(run.plan, service=service))).findings)


def outcomes(text: str) -> list[tuple[str, str]]:
    return [(one.outcome.value, one.reason.value) for one in findings(text)]


TWO = """
phase baseline 0..30 load=100%
phase stress 30..60 load=150%
rule stress {rule}
load
    failed {failed}
    latency {latency}
"""


def relative(rule: str, *, failed: str = "0x59", latency: str = "0.02x59") -> tuple[str, str]:
    text = TWO.format(rule=rule, failed=failed, latency=latency)
    (found,) = outcomes(text + "rule baseline error_ratio warn > 90%\n")[1:]
    return found


@pytest.mark.parametrize(
    ("rule", "latency", "expected"),
    [
        ("latency_p95 fail > 120% of baseline", "0.02x29 0.06x29", "fail"),
        ("latency_p95 fail > 120% of baseline", "0.02x29 0.022x29", "pass"),
        ("latency_p95 fail > 120% of baseline floor 50ms", "0.02x29 0.06x29", "pass"),  # 70 ms is still fine
        ("latency_p95 fail > 400% of baseline cap 50ms", "0.02x29 0.06x29", "fail"),  # 80 ms is not
        ("latency_p95 target < 120% of baseline floor 50ms", "0.02x29 0.06x29", "pass"),
    ],
)
def test_of_baseline_has_a_floor_and_a_cap(rule: str, latency: str, expected: str) -> None:
    assert relative(rule, latency=latency)[0] == expected


def test_a_baseline_of_zero_can_be_compared_with() -> None:
    assert relative("error_ratio fail > 200% of baseline", failed="0x29 0.02x29") == ("fail", "exceeded")
    assert relative("error_ratio fail > 200% of baseline floor 1%") == ("pass", "within")
    assert relative("error_ratio fail > 200% of baseline")[1] == "undecided"  # 0 and 0, each known to 0.05 %


def test_throughput_of_baseline_is_held_against_the_load_of_the_phase() -> None:
    """At 150 % of the load 90 % of the baseline's throughput is a drop of 40 %."""
    rule = "throughput {} of baseline"
    assert relative(rule.format("warn < 80%"), failed="0x29 0.4x29") == ("warn", "exceeded")
    assert relative(rule.format("fail < 50%"), failed="0x29 0.4x29") == ("pass", "within")


def test_counts_of_baseline_are_held_against_the_load_too() -> None:
    assert relative("failures fail > 120% of baseline", failed="0.01x59") == ("pass", "within")
    assert relative("failures fail > 120% of baseline", failed="0.01x29 0.02x29") == ("fail", "exceeded")


ONE = "phase stress 0..60 load=100%\nrule stress {}\nload\n    failed {}\n"


def test_not_one_failed_request_is_an_exact_rule() -> None:
    assert outcomes(ONE.format("failures fail > 0", "0x59")) == [("pass", "within")]
    assert outcomes(ONE.format("failures fail > 0", "0x29 0.005 0x29")) == [("fail", "exceeded")]


def test_the_worst_stretch_is_found_and_told() -> None:
    (found,) = findings(ONE.format("error_ratio fail > 5% in any 10s", "0x29 0.2x4 0x24"))
    assert (found.outcome, found.worst, found.worst_s) == (Outcome.FAIL, 0.1, 25.0)
    assert found.detail.endswith("worst 10s from 25 s: 10% (8.92% to 11.2%)")
    assert outcomes(ONE.format("error_ratio fail > 15% in any 10s", "0x29 0.2x4 0x24")) == [("pass", "within")]


def test_throughput_in_any_stretch_counts_what_was_answered() -> None:
    (found,) = findings(ONE.format("throughput fail < 50% of offered in any 5s", "0x29 1x2 0x26"))
    assert (found.outcome, found.worst, found.worst_s) == (Outcome.FAIL, 80.0, 28.0)


def test_fewer_samples_than_asked_for_decide_nothing() -> None:
    (found,) = findings(ONE.format("error_ratio fail > 1% min 20000", "1x59"))
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.TOO_FEW_SAMPLES)
    assert found.detail == "100% (99.975% to 100%); 12000 samples, 20000 are wanted"


def test_fewer_arrivals_than_could_prove_it_decide_only_what_is_beyond_chance() -> None:
    few = "service rate=20\nphase stress 0..10 load=100%\nrule stress error_ratio fail > 1%\nload\n    failed {}\n"
    assert outcomes(few.format("0.05x9")) == [("inconclusive", "too_few_samples")]
    assert outcomes(few.format("1x9")) == [("fail", "exceeded")]


def test_undecided_says_what_it_would_take() -> None:
    (found,) = findings(ONE.format("error_ratio fail > 1%", "0.01x59").replace("60", "30"))
    assert found.detail.endswith("too near the limit for any number of arrivals to decide")
    (found,) = findings("phase a 0..30 load=100%\nrule a error_ratio fail > 1%\nload\n    failed 0.01 0.005x28\n")
    assert found.reason is Reason.WITHIN
    near = "service rate=100\nphase a 0..30 load=100%\nrule a error_ratio fail > 1.5%\nload\n    failed 0.01x29\n"
    (found,) = findings(near)
    assert found.detail == "1% (0.721% to 1.35%)"
    (found,) = findings(near.replace("1.5%", "1.3%"))
    assert found.detail == "1% (0.721% to 1.35%); about 995 more arrivals would decide (9.95s at this rate)"


def test_a_finding_carries_its_severity_and_runbook_worst_second_and_margin() -> None:
    case = parse(ONE.format("error_ratio fail > 2%", "0x29 0.1 0x29"))
    name, rule = case.rules[0]
    case.rules[0] = (name, replace(rule, severity="P2", runbook="https://runbooks.test/errors"))
    (found,) = judge(case.run()).findings
    assert (found.severity, found.runbook) == ("P2", "https://runbooks.test/errors")
    assert (found.worst, found.worst_s) == (0.1, 30.0)
    assert found.margin == pytest.approx(1 - 0.1 / 60 / 0.02)


# -- each ------------------------------------------------------------------------------------------------------------

EACH = "requests browse checkout\nphase a 0..30 load=100%\nphase b 30..60 load=100%\n"


def test_each_request_has_a_finding_of_its_own() -> None:
    text = EACH + "rule b error_ratio fail > 1% each request\noutage 30..60 0.1 checkout\n"
    assert [(one.group, one.outcome) for one in findings(text)] == [
        ("browse", Outcome.PASS),
        ("checkout", Outcome.FAIL),
    ]


def without(text: str, series: str, seconds: range) -> list[Finding]:
    """The findings when in these seconds browse was asked instead of this request."""
    run = parse(text).run()
    moved = (one.series == series and one.second in seconds for one in run.frames)
    frames = tuple(
        replace(one, series="browse") if other else one for one, other in zip(run.frames, moved, strict=True)
    )
    return list(judge(replace(run, frames=frames)).findings)


def test_a_request_that_a_phase_lacks_is_not_well() -> None:
    found = without(EACH + "rule b error_ratio fail > 1% each request\n", "checkout", range(30, 60))
    assert [(one.group, one.outcome, one.reason) for one in found] == [
        ("browse", Outcome.PASS, Reason.WITHIN),
        ("checkout", Outcome.INCONCLUSIVE, Reason.NO_SAMPLES),
    ]


def test_a_request_that_vanishes_in_mid_phase_is_told() -> None:
    found = without(EACH + "rule b error_ratio fail > 1% each request\n", "checkout", range(45, 60))
    assert found[1].detail.endswith("; not seen in its last 15s")


def test_without_anything_to_tell_apart_each_is_undecided() -> None:
    (found,) = findings("phase a 0..30 load=100%\nrule a server_errors fail > 1% each zone\n")
    assert (found.outcome, found.group) == (Outcome.INCONCLUSIVE, None)


# -- what a release programme asks for -------------------------------------------------------------------------------

# Minutes are six seconds here.
PROGRAMME = """
service rate=400
phase baseline 0..40 load=100%
rule baseline error_ratio target < 0.1%
rule baseline error_ratio warn > 0.5%
rule baseline error_ratio fail > 1%
rule baseline error_ratio abort > 1% for 30s
rule baseline latency_p95 target < 200ms
rule baseline latency_p95 warn > 300ms
rule baseline latency_p95 fail > 500ms
rule baseline latency_p95 abort > 500ms for 30s
rule baseline throughput warn < 80% of baseline
rule baseline throughput fail < 50% of baseline
rule baseline success_ratio target > 99.9%
rule baseline success_ratio warn < 99%
rule baseline success_ratio fail < 95%
"""


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        ("", "pass pass pass pass  pass pass pass pass  pass pass  pass pass pass"),
        ("failed 0.0075x39", "warn warn pass pass  pass pass pass pass  pass pass  warn pass pass"),
        ("failed 0.02x39", "warn warn fail fail  pass pass pass pass  pass pass  warn warn pass"),
        ("failed 0.03x29 0x9", "warn warn fail fail  pass pass pass pass  pass pass  warn warn pass"),
        ("failed 0.03x28 0x10", "warn warn fail pass  pass pass pass pass  pass pass  warn warn pass"),
        ("failed 0.1x39", "warn warn fail fail  warn warn fail fail  pass pass  warn warn fail"),
        ("latency 0.25x39", "pass pass pass pass  warn pass pass pass  pass pass  pass pass pass"),
        ("latency 0.6x39", "pass pass pass pass  warn warn fail fail  pass pass  pass pass pass"),
    ],
)
def test_the_table_of_a_release_programme(load: str, expected: str) -> None:
    rows = findings(PROGRAMME + (f"load\n    {load}\n" if load else ""))
    assert [one.outcome.value for one in rows] == expected.split()


def test_health_is_the_weighted_mean_of_how_far_each_part_is_at_its_target() -> None:
    """Availability 0.4, p95 0.3, errors 0.3, each min(1, actual against target)."""
    parts = (
        HealthPart(sli="success_ratio", weight=0.4, target=0.999, source=HERE),
        HealthPart(sli="latency_p95", weight=0.3, target=0.2, source=HERE),
        HealthPart(sli="error_ratio", weight=0.3, target=0.001, source=HERE),
    )
    run = parse(ONE.format("error_ratio fail > 5%", "0.01x59") + "    latency 0.4x59\n").run()
    service = replace(run.plan.service, health=parts)
    (phase,) = judge(replace(run, plan=replace(run.plan, service=service))).phases
    assert phase.health == pytest.approx(0.4 * 0.99 / 0.999 + 0.3 * 0.5 + 0.3 * 0.1, abs=1e-3)
    (phase,) = judge(run).phases
    assert phase.health is None


# -- in words --------------------------------------------------------------------------------------------------------


def test_three_sentences_say_what_was_run_what_was_broken_and_what_decided() -> None:
    text = ONE.format("error_ratio fail > 1%", "0.02x59") + "rule stress latency_p95 fail > 500ms\n"
    assert judge(parse(text).run()).summary == (
        "shop was put under load: stress at 200/s; all 12000 planned arrivals were sent.",
        "Nothing was broken on purpose; no interval was worse than the rest, in which 240 arrivals (2%) failed.",
        "Fail: stress: error_ratio > 1% (fail): 2% (1.79% to 2.22%).",
    )


def test_a_phase_that_was_never_entered_is_not_said_to_have_been_put_under_load() -> None:
    phases = "phase baseline 0..20 load=100%\nphase stress 20..40 load=150%\n"
    text = phases + "rule baseline error_ratio fail > 1%\nrule stress error_ratio fail > 1%\nend interrupted 20.0\n"
    assert judge(parse(text).run()).summary == (
        "shop was put under load: baseline at 200/s; all 4000 planned arrivals were sent.",
        "Nothing was broken on purpose; clients noticed nothing.",
        "Inconclusive: the run was scripted interrupted.",
    )


def test_a_pass_names_the_threshold_nearest_to_its_limit() -> None:
    text = ONE.format("error_ratio fail > 1%", "0x59") + "rule stress latency_p95 fail > 30ms\n"
    assert judge(parse(text).run()).summary[2] == (
        "Pass: 2 thresholds kept; nearest to its limit was stress: latency_p95 > 30ms (fail): 20ms (20ms to 20ms); "
        "share slower than 30ms: 0% (0% to 0.025%), limit 5%."
    )
