from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from plan_values import HERE, PROMETHEUS, SERVICE, client_sli, fault, phase, plan_of, rule, server_sli, threshold

from harness.plan.model import Observe, Plan, Tier, Timing, TimingRule
from harness.schedule.compile import compile_plan as compiled
from harness.schedule.compile import fetch_lag_s
from harness.schedule.cues import Fetch, Inject, LoadEnd, PhaseEnd, PhaseStart, Rollback
from harness.schedule.timeline import timeline

SLIS = (client_sli("error_ratio"), server_sli("cpu", query="max(rate(cpu{$selector}[$window]))"))


def scraped(*phases, faults=(), every_s=1.0) -> Plan:
    prometheus = replace(PROMETHEUS, scrape_interval_s=every_s)
    return plan_of(*phases, service=replace(SERVICE, prometheus=prometheus, slis=SLIS), faults=tuple(faults))


IN_TIME = TimingRule(fault="pod-delete", timing=Timing.RECOVERY, tier=Tier.FAIL, rule=rule("> 30s", 30.0), source=HERE)
BASELINE = phase("baseline", 0.0, 30.0, ramp_s=10.0, thresholds=(threshold("error_ratio"),))
STRESS = phase(
    "stress",
    30.0,
    77.5,
    1.5,
    ramp_s=5.0,
    settle_s=2.5,
    thresholds=(threshold("error_ratio"), threshold("cpu")),
    timings=(IN_TIME,),
)
RECOVERY = phase("recovery", 77.5, 87.5, judge=False)
POD_DELETE = fault("pod-delete", 47.5, 77.5, max_targets=1)
ZONE = fault("zone-partition", 37.5, 40.0, observe=Observe.ZONE_CUT, zone="zone-b")
PLAN = scraped(BASELINE, STRESS, RECOVERY, faults=(ZONE, POD_DELETE))


def test_a_plan_becomes_its_cues_and_what_ends_comes_before_what_begins():
    assert compiled(PLAN) == (
        PhaseStart(at_s=10.0, phase=BASELINE),
        PhaseEnd(at_s=30.0, phase=BASELINE),
        PhaseStart(at_s=37.5, phase=STRESS),
        Inject(at_s=37.5, fault=ZONE),
        Rollback(at_s=40.0, fault=ZONE),
        Inject(at_s=47.5, fault=POD_DELETE),
        Rollback(at_s=77.5, fault=POD_DELETE),
        PhaseEnd(at_s=77.5, phase=STRESS),
        PhaseStart(at_s=77.5, phase=RECOVERY),
        Fetch(at_s=80.5, phase=STRESS),
        PhaseEnd(at_s=87.5, phase=RECOVERY),
        LoadEnd(at_s=87.5),
    )


def test_a_fault_of_no_length_is_rolled_back_after_it_was_injected():
    flash = fault("flash", 15.0, 15.0, phase="baseline")
    assert compiled(scraped(BASELINE, faults=(flash,)))[1:3] == (
        Inject(at_s=15.0, fault=flash),
        Rollback(at_s=15.0, fault=flash),
    )


def test_series_are_asked_for_three_scrapes_after_the_phase_and_two_seconds_at_least():
    assert fetch_lag_s(scraped(STRESS, every_s=0.1)) == 2.0
    assert fetch_lag_s(scraped(STRESS, every_s=15.0)) == 45.0


def test_the_timeline_shows_what_happens_when_to_whom_and_what_is_judged():
    assert timeline(PLAN).splitlines() == [
        "   when  what                      load          rate            details",
        "     0s  ramp for 10s              0% to 100%    0/s to 200/s",
        "    10s  phase baseline for 20s    100%          200/s           error_ratio: fail > 1%",
        "    30s  ramp for 5s               100% to 150%  200/s to 300/s",
        "    35s  settle for 2.5s           150%          300/s",
        "  37.5s  phase stress for 40s      150%          300/s           error_ratio: fail > 1%",
        "                                                                 cpu: fail > 1%",
        "                                                                 recovery of pod-delete: fail > 30s",
        "  37.5s  inject zone-partition                                   pods app=shop in namespace shop, zone zone-b",
        "    40s  roll back zone-partition",
        "  47.5s  inject pod-delete                                       pods app=shop in namespace shop, at most 1",
        "1m17.5s  roll back pod-delete",
        "1m17.5s  phase recovery for 10s    100%          200/s           not judged",
        "1m27.5s  end                                                     21000 arrivals planned",
    ]


SECONDS = st.floats(min_value=0, max_value=3600)
LENGTHS = st.floats(min_value=0.1, max_value=3600)


@st.composite
def plans(draw) -> Plan:
    """Plans of one to four phases, each with up to three faults somewhere inside."""
    phases, faults, begin_s = [], [], 0.0
    for index in range(draw(st.integers(1, 4))):
        slis = draw(st.lists(st.sampled_from(["error_ratio", "cpu"]), unique=True))
        level = draw(st.floats(min_value=0, max_value=3))
        before = {"ramp_s": draw(SECONDS), "settle_s": draw(SECONDS)}
        end_s = begin_s + before["ramp_s"] + before["settle_s"] + draw(LENGTHS)
        drawn = phase(f"phase-{index}", begin_s, end_s, level, thresholds=tuple(map(threshold, slis)), **before)
        phases.append(drawn)
        for _ in range(draw(st.integers(0, 3))):
            at_s = draw(st.floats(min_value=drawn.start_s, max_value=drawn.end_s, exclude_max=True))
            until_s = draw(st.floats(min_value=at_s, max_value=drawn.end_s))
            faults.append(fault(f"fault-{len(faults)}", at_s, until_s, phase=drawn.name))
        begin_s = drawn.end_s
    faults.sort(key=lambda found: found.at_s)
    return scraped(*phases, faults=faults, every_s=draw(st.floats(min_value=0.1, max_value=60)))


@given(plan=plans())
def test_cues_are_sorted_and_lie_within_the_run_and_its_last_fetch(plan):
    times = [cue.at_s for cue in compiled(plan)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= plan.end_s + fetch_lag_s(plan)


@given(plan=plans())
def test_every_injection_has_exactly_one_rollback_and_not_before_it(plan):
    cues = compiled(plan)
    injected = {cue.fault.name: cue.at_s for cue in cues if isinstance(cue, Inject)}
    rolled_back = {cue.fault.name: cue.at_s for cue in cues if isinstance(cue, Rollback)}
    counted = sum(isinstance(cue, Inject | Rollback) for cue in cues)
    assert injected.keys() == rolled_back.keys() == {fault.name for fault in plan.faults}
    assert counted == 2 * len(plan.faults)
    assert all(rolled_back[name] >= at_s for name, at_s in injected.items())


@given(plan=plans())
def test_phases_do_not_overlap_and_a_fault_lies_inside_its_phase(plan):
    running: str | None = None
    for cue in compiled(plan):
        match cue:
            case PhaseStart():
                assert running is None
                running = cue.phase.name
            case PhaseEnd():
                assert running == cue.phase.name
                running = None
            case Inject() | Rollback():
                assert running == cue.fault.phase
            case LoadEnd():
                assert running is None


@given(plan=plans())
def test_series_are_fetched_once_for_each_phase_that_needs_them_and_no_other(plan):
    fetched = [cue.phase.name for cue in compiled(plan) if isinstance(cue, Fetch)]
    assert fetched == [phase.name for phase in plan.phases if any(each.sli == "cpu" for each in phase.thresholds)]
