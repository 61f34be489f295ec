"""What Prometheus' samples say of a window: coverage, counters, groups, templates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
from plan_values import rule, server_sli

from harness.history.series import Role, Samples, Series
from harness.plan.model import PrometheusSli, Rule
from harness.verdict.model import Reason
from harness.verdict.ruling import NoEvidenceError, Ruling
from harness.verdict.server import Clients, ServerWindow, coverage, server_groups, server_measured, server_ruling

ERRORS = server_sli("errors", bad="bad", total="total", absent_means_zero=True)
CPU = server_sli("cpu", query="max(cpu[$window])")

Value = float | None


def series(role: Role, values: Iterable[Value], *, at: float = -1.0, step: float = 1.0, **labels: str) -> Series:
    """Samples every `step` seconds from `at` on; None is a scrape that did not happen."""
    samples = Samples.of((at + i * step, value) for i, value in enumerate(values) if value is not None)
    return Series(sli="errors", phase="p", role=role, query=role, labels=tuple(sorted(labels.items())), samples=samples)


def up(values: Iterable[Value] = (1.0,) * 30, *, at: float = 0.0, step: float = 1.0, **labels: str) -> Series:
    return series("up", values, at=at, step=step, **({"instance": "a"} | labels))


def rising(per_scrape: float, count: int = 31, start: float = 5000.0) -> list[Value]:
    return [start + per_scrape * i for i in range(count)]


def window(*found: Series, end_s: float = 30.0, scrape_s: float = 1.0, **changed: object) -> ServerWindow:
    made = ServerWindow(
        start_s=0.0,
        end_s=end_s,
        scrape_s=scrape_s,
        series=found,
        failures=(),
        warnings=(),
        disturbed=frozenset(),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def ruled(seen: ServerWindow, of: PrometheusSli = ERRORS, by: Rule | None = None) -> Ruling:
    asked = by or rule()
    return server_ruling(seen, of, asked, (asked.quantity, asked.quantity), server_measured(seen, of))


def refused(seen: ServerWindow, of: PrometheusSli = ERRORS) -> tuple[Reason, str]:
    with pytest.raises(NoEvidenceError) as caught:
        server_measured(seen, of)
    return caught.value.reason, caught.value.detail


# -- is there evidence at all -----------------------------------------------------------------------------------------


def test_nobody_answered_and_answered_with_an_error_are_told_apart() -> None:
    healthy = (up(), series("total", rising(100), instance="a"))
    assert refused(window(*healthy, failures=("refused",)))[0] is Reason.SOURCE_UNREACHABLE
    assert refused(window(*healthy, refusals=("HTTP 200: <html>",))) == (Reason.QUERY_REFUSED, "HTTP 200: <html>")


def test_a_partial_answer_is_no_evidence_and_an_info_is_no_warning() -> None:
    healthy = (up(), series("total", rising(100), instance="a"))
    assert refused(window(*healthy, warnings=("a store is away",)))[0] is Reason.PARTIAL_DATA
    assert server_measured(window(*healthy, warnings=("PromQL info: odd",)), ERRORS).samples == 3000


def test_no_target_and_targets_that_are_down_are_told_apart() -> None:
    assert refused(window(series("total", rising(100), instance="a")))[0] is Reason.NO_TARGET
    down = window(up([0.0] * 30), up([0.0] * 30, instance="b"))
    assert refused(down) == (
        Reason.TARGET_DOWN,
        "all 2 targets were down in the whole window: no scrape succeeded (a, b)",
    )


def test_a_counter_that_is_not_there_and_one_that_does_not_rise_are_told_apart() -> None:
    assert refused(window(up())) == (
        Reason.NO_SAMPLES,
        "targets were scraped, but have no series of the total counter",
    )
    idle = window(up(), series("total", [5000.0] * 31, instance="a"))
    assert refused(idle) == (Reason.NOTHING_SERVED, "the servers counted nothing in the window")


def test_traffic_that_clients_sent_and_servers_did_not_see_is_said() -> None:
    idle = window(up(), series("total", [5000.0] * 31, instance="a"), clients=Clients(sent=6000, failed=0))
    assert refused(idle) == (
        Reason.NOTHING_SERVED,
        (
            "the servers counted nothing in the window, although the generator sent 6000 requests to the service: "
            "they never arrived, or others serve them"
        ),
    )


def test_an_error_counter_that_never_appeared_is_zero_only_where_the_service_says_so() -> None:
    seen = window(up(), series("total", rising(100), instance="a"))
    assert server_measured(seen, ERRORS).value == 0.0
    assert refused(seen, replace(ERRORS, absent_means_zero=False))[0] is Reason.NO_SAMPLES


# -- coverage ---------------------------------------------------------------------------------------------------------


def test_half_the_scrapes_of_one_of_two_targets_leave_three_quarters() -> None:
    assert coverage(window(up(), up([1.0, None, None] * 10, instance="b"))) == pytest.approx(0.75, abs=0.01)


def test_a_target_that_is_down_all_along_counts_against_coverage() -> None:
    seen = window(up(), up([0.0] * 30, instance="b", pod="shop-2"), series("total", rising(100), instance="a"))
    reason, detail = refused(seen)
    assert (reason, detail) == (
        Reason.GAP,
        "targets were scraped in 49.6% of the time (shop-2 less than the rest); 90% is needed",
    )


def test_a_target_that_a_fault_took_down_costs_no_coverage() -> None:
    killed = up([1.0] * 10 + [0.0] * 15, instance="b")
    assert coverage(window(up(), killed)) < 0.8
    assert coverage(window(up(), killed, disturbed=frozenset(range(10, 30)))) > 0.98


def test_a_fault_does_not_excuse_a_prometheus_that_was_away() -> None:
    away = [1.0] * 10 + [None] * 10 + [1.0] * 10
    assert coverage(window(up(away), disturbed=frozenset(range(30)))) == pytest.approx(0.68, abs=0.02)


def test_a_target_that_came_or_went_is_expected_only_while_it_was_there() -> None:
    assert coverage(window(up(), up([1.0] * 10, instance="b"), up([1.0] * 10, at=20, instance="c"))) > 0.98


# -- counters ---------------------------------------------------------------------------------------------------------


def test_a_reset_counts_what_came_after_it() -> None:
    values = [*rising(100, 16), *rising(100, 15, start=40)]
    assert server_measured(window(up(), series("total", values, instance="a")), ERRORS).samples == 1500 + 40 + 1400


def test_a_series_born_inside_counts_in_full_when_its_target_was_scraped_without_it() -> None:
    total = series("total", rising(100), instance="a")
    bad = series("bad", [7.0] * 20, at=10, instance="a", code="500")
    measured = server_measured(window(up(), total, bad), ERRORS)
    assert measured.value == 7 / 3000


def test_a_counter_first_seen_after_prometheus_was_away_is_not_taken_for_new() -> None:
    """Its 5,000 were counted in a week, not in the five seconds in which nobody was looking."""
    away: list[Value] = [None] * 2 + [1.0] * 28
    seen = window(up(away), series("total", rising(100, 28), at=2, instance="a"))
    measured = server_measured(seen, ERRORS)
    assert measured.samples == 2700
    assert measured.hi is not None
    assert measured.hi > 0.5, "and may have been counted since"


def test_a_new_target_counts_in_full_while_others_were_being_scraped() -> None:
    seen = window(
        up(),
        up([1.0] * 10, at=20, instance="b"),
        series("total", rising(100), instance="a"),
        series("total", rising(10, 10, start=25), at=20, instance="b"),
    )
    assert server_measured(seen, ERRORS).samples == 3000 + 25 + 90


def test_what_a_dying_target_served_after_its_last_scrape_is_bounded_and_said() -> None:
    found = (
        up(),
        up([1.0] * 10, instance="b"),
        series("total", rising(100), instance="a"),
        series("total", rising(100, 11), instance="b"),
    )
    ruling = ruled(window(*found))
    assert (ruling.holds, ruling.note) == (
        None,
        "up to 100 events unseen after the last scrape of a series that ended",
    )
    clean = window(*found, clients=Clients(sent=4000, failed=2))
    assert ruled(clean).holds is False, "what the servers did not show, the clients would have seen"


def test_a_target_still_tried_in_vain_may_have_gone_on_serving() -> None:
    found = (
        up(),
        up([1.0] * 10 + [0.0] * 20, instance="b"),
        series("total", rising(100), instance="a"),
        series("total", rising(100, 11), instance="b"),
    )
    ruling = ruled(window(*found, disturbed=frozenset(range(10, 30))))
    assert ruling.note == "up to 2100 events unseen after the last scrape of a series that ended"


def test_a_value_that_is_no_number_is_no_sample() -> None:
    values = rising(100)
    values[10] = math.nan
    assert server_measured(window(up(), series("total", values, instance="a")), ERRORS).samples == 3000


def test_too_few_events_decide_nothing() -> None:
    ruling = ruled(window(up(), series("total", rising(1), instance="a")))
    assert (ruling.holds, ruling.reason) == (None, Reason.TOO_FEW_SAMPLES)


def test_order_and_instant_of_the_series_change_nothing() -> None:
    found = [up(instance=name) for name in "abc"]
    found += [series("total", rising(0.1 * n, start=n / 3), instance=name) for n, name in enumerate("abc", 1)]
    found += [series("bad", rising(0.01 * n, start=n / 7), instance=name) for n, name in enumerate("abc", 1)]
    expected = server_measured(window(*found), ERRORS)
    for seed in range(5):
        shuffled = list(found)
        Random(seed).shuffle(shuffled)
        assert server_measured(window(*shuffled), ERRORS) == expected


# -- rules over time --------------------------------------------------------------------------------------------------


def burst(first: int, last: int) -> tuple[Series, Series, Series]:
    """Every tenth request fails between two seconds."""
    bad, values = 0.0, []
    for second in range(-1, 30):
        bad += 10.0 if first <= second < last else 0.0
        values.append(bad)
    return up(), series("total", rising(100), instance="a"), series("bad", values, instance="a")


def test_a_sustained_rule_wants_enough_slices_in_a_row() -> None:
    assert ruled(window(*burst(10, 20)), by=rule(for_s=10)).holds is True
    assert ruled(window(*burst(10, 20)), by=rule(for_s=12)) == Ruling(
        holds=False,
        reason=Reason.GAP,
        note="5 of 15 slices of 2s > the limit",
        worst=0.1,
        worst_s=10.0,
        margin=1 - 5 / 6,
    )


def test_slices_between_scrapes_that_lie_far_apart_are_unknown() -> None:
    """Six bad seconds, or two bad ones and a counter read late: nobody knows."""
    total, bad = rising(100), [0.0] * 31
    for i in range(12, 31):
        bad[i] = 10.0
    for values in (total, bad):
        values[12:17] = [None] * 5  # type: ignore[assignment]
    seen = window(
        up([1.0] * 11 + [0.0] * 5 + [1.0] * 14),
        up(instance="b"),
        series("total", total, instance="a"),
        series("bad", bad, instance="a"),
        series("total", rising(100), instance="b"),
    )
    assert ruled(seen, by=rule("> 0.1%", 0.001, for_s=6)).holds is None


def test_a_restart_is_no_gap_in_which_a_counter_may_have_gone_on() -> None:
    total: list[Value] = [*rising(100, 11), *([None] * 5), *rising(100, 15, start=0)]
    seen = window(
        up([1.0] * 10 + [0.0] * 5 + [1.0] * 15),
        up(instance="b"),
        series("total", total, instance="a"),
        series("total", rising(100), instance="b"),
        disturbed=frozenset(range(10, 16)),
    )
    assert ruled(seen, by=rule(for_s=6)).holds is False


def test_a_rule_on_any_stretch_finds_the_worst_one() -> None:
    assert ruled(window(*burst(10, 20)), by=rule("> 5%", 0.05)).holds is not True
    assert ruled(window(*burst(10, 20)), by=rule("> 5% in any 10s", 0.05, any_s=10)).holds is True
    assert ruled(window(*burst(10, 10)), by=rule("> 5% in any 10s", 0.05, any_s=10)).holds is False


# -- templates --------------------------------------------------------------------------------------------------------


def test_several_series_are_no_value() -> None:
    both = (series("value", [0.2], at=30, zone="a"), series("value", [0.9], at=30, zone="b"))
    assert refused(window(up(), *both), CPU) == (
        Reason.SEVERAL_SERIES,
        'the query returned 2 series, such as {zone="a"} and {zone="b"}; aggregate them, or judge each of a label',
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_value(value: float) -> None:
    assert refused(window(up(), series("value", [value], at=30)), CPU)[0] is Reason.UNDEFINED_VALUE


def test_a_template_on_any_stretch_is_read_from_values_over_such_stretches() -> None:
    value = series("value", [0.2], at=30)
    asked = Series(
        sli="cpu",
        phase="p",
        role="stretch",
        query="max(cpu[10000ms])",
        labels=(),
        samples=Samples.of((10.0 + 2 * i, 0.9 if i == 4 else 0.1) for i in range(11)),
    )
    seen = window(up(), value, asked)
    anywhere = rule("> 80% in any 10s", 0.8, any_s=10)
    assert ruled(seen, CPU, anywhere).note == "1 of 11 stretches of 10s > the limit"
    assert ruled(seen, CPU, anywhere).holds is True
    with pytest.raises(NoEvidenceError, match=r"^the record has no values over stretches of 8s; only a new run"):
        ruled(seen, CPU, rule("> 80% in any 8s", 0.8, any_s=8))


# -- groups -----------------------------------------------------------------------------------------------------------


def test_groups_have_their_own_series_and_targets() -> None:
    seen = window(
        up(zone="a"),
        up(instance="b", zone="b"),
        series("total", rising(100), instance="a", zone="a"),
        series("total", rising(10), instance="b", zone="b"),
        series("bad", rising(10), instance="b", zone="b"),
    )
    groups = server_groups(seen, ERRORS, "zone")
    assert {name: server_measured(group, ERRORS).value for name, group in groups.items()} == {"a": 0.0, "b": 1.0}
    assert [one.label("instance") for one in groups["b"].of("up")] == ["b"]


def test_a_zone_of_which_only_the_targets_are_left_is_a_group() -> None:
    seen = window(
        up(zone="a"), up([0.0] * 30, instance="b", zone="b"), series("total", rising(9), instance="a", zone="a")
    )
    groups = server_groups(seen, ERRORS, "zone")
    assert list(groups) == ["a", "b"]
    assert refused(groups["b"])[0] is Reason.TARGET_DOWN


def test_a_label_that_no_series_has_is_named_with_those_they_have() -> None:
    with pytest.raises(NoEvidenceError, match=r"^no series of errors has a label 'zone'; they have code, instance$"):
        server_groups(window(up(), series("total", rising(9), instance="a", code="200")), ERRORS, "zone")
    with pytest.raises(NoEvidenceError, match=r"keep it in the query, as in max by \(zone\) \(\.\.\.\)$"):
        server_groups(window(up(), series("value", [0.1], at=30)), CPU, "zone")


def test_groups_of_a_label_that_targets_do_not_have_lean_on_the_targets_of_their_series() -> None:
    seen = window(
        up(),
        up([1.0] * 5, instance="b"),
        series("total", rising(100), instance="a", route="/items"),
        series("total", rising(9), instance="a", route="/orders"),
    )
    groups = server_groups(seen, ERRORS, "route")
    assert {name: len(group.of("up")) for name, group in groups.items()} == {"/items": 1, "/orders": 1}


def test_a_value_without_a_label_is_in_no_group() -> None:
    seen = window(up(), series("value", [0.1], at=30, zone="a"), series("value", [0.2], at=30))
    assert list(server_groups(seen, CPU, "zone")) == ["a"]
    assert server_measured(server_groups(seen, CPU, "zone")["a"], CPU).value == 0.1
