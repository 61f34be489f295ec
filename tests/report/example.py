"""
A literal run and verdict as the reports show them: 150 % of baseline while a pod dies.

`passed()` loses one of six pods for 1.2 s; `failed()` takes 14 s to come back, with slow answers meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import replace

import plan_values
from plan_values import CLUSTER, LOAD, PROMETHEUS, client_sli, fault, phase, plan_of, rule, server_sli, threshold

from harness.history import events as ev
from harness.history.histogram import Histogram
from harness.history.load import LoadFrame, WorkerHealth
from harness.history.run import Run
from harness.plan.model import Better, ClientMeasure, Source, Tier, Timing, TimingRule, Unit
from harness.verdict.model import (
    Check,
    Finding,
    Impact,
    LoadCounts,
    Outcome,
    PhaseResult,
    Reason,
    ResponseTimes,
    TimingFinding,
    Verdict,
)

NAME = "stress-150/20261121-010203-ab12"
SCENARIO = "scenarios/stress-150.yaml"
PASS, WARN, FAIL, INCONCLUSIVE = Outcome.PASS, Outcome.WARN, Outcome.FAIL, Outcome.INCONCLUSIVE
NS = 1_000_000_000
PODS = tuple(f"shop-7d9f-{suffix}" for suffix in ("4kx2p", "9qv8z", "h2m4c", "k7w1d", "n5t6r", "z8b3f"))
ENVIRONMENT = {
    "started": "2026-11-21T01:02:03+00:00",
    "harness": "0.1.0",
    "python": "3.11.7",
    "locust": "2.47.0",
    "chaostoolkit": "1.19.0",
    "command": "harness run stress-150",
}
SCENARIO_TEXT = """service: shop
title: 150 % of baseline while a pod dies
phases:
  - {name: warm-up, load: 100%, ramp: 10s, duration: 5s, judge: false}
  - name: baseline
    load: 100%
    duration: 30s
    thresholds: &health
      - {sli: error_ratio, warn: "> 0.5%", fail: "> 1%"}
"""


def at(line: int) -> Source:
    return Source(path=SCENARIO, line=line)


# -- the plan ---------------------------------------------------------------------------------------------------------

RULES = (
    ("error_ratio", Tier.TARGET, "< 0.1%", 0.001, None, 11),
    ("error_ratio", Tier.WARN, "> 0.5%", 0.005, None, 11),
    ("error_ratio", Tier.FAIL, "> 1%", 0.01, None, 11),
    ("latency_p95", Tier.WARN, "> 300ms", 0.3, None, 12),
    ("latency_p95", Tier.FAIL, "> 500ms", 0.5, None, 12),
    ("throughput", Tier.FAIL, "< 50% of offered", 0.5, "offered", 13),
    ("server_error_ratio", Tier.FAIL, "> 1%", 0.01, None, 14),
)
HEALTH = tuple(
    threshold(sli, rule(text, quantity, relative_to=relative), tier, source=at(line))
    for sli, tier, text, quantity, relative, line in RULES
)
IN_TIME = tuple(
    TimingRule(fault="pod-delete", timing=Timing.RECOVERY, tier=tier, rule=rule(text, limit_s), source=at(23))
    for tier, text, limit_s in ((Tier.WARN, "> 10s", 10.0), (Tier.FAIL, "> 30s", 30.0))
)
SERVICE = replace(
    plan_values.SERVICE,
    title="The demo shop on the local sandbox",
    url="http://127.0.0.1:8080",
    load=replace(LOAD, workers=2),
    cluster=replace(CLUSTER, kubeconfig=None),
    prometheus=PROMETHEUS,
    slis=(
        client_sli("error_ratio"),
        client_sli("latency_p95", ClientMeasure.LATENCY, 0.95),
        client_sli("throughput", ClientMeasure.THROUGHPUT, unit=Unit.PER_SECOND, better=Better.HIGHER),
        server_sli(
            "server_error_ratio",
            bad='shop_requests_total{$selector,code=~"5.."}',
            total="shop_requests_total{$selector}",
            absent_means_zero=True,
        ),
    ),
    sandbox="good",
)
POD_DELETE = fault(
    "pod-delete",
    65.0,
    100.0,
    max_targets=1,
    misses="the loss of a node, a disk or a zone: the pods' places stay whole",
    source=at(21),
)
PLAN = plan_of(
    phase("warm-up", 0.0, 15.0, ramp_s=10.0, judge=False, source=at(5)),
    phase("baseline", 15.0, 45.0, thresholds=HEALTH, source=at(6)),
    phase("stress", 45.0, 100.0, 1.5, ramp_s=5.0, settle_s=5.0, thresholds=HEALTH, timings=IN_TIME, source=at(15)),
    phase("recovery", 100.0, 125.0, ramp_s=5.0, thresholds=HEALTH, source=at(24)),
    service=SERVICE,
    faults=(POD_DELETE,),
    scenario="stress-150",
    title="150 % of baseline while a pod dies",
)

# -- the record -------------------------------------------------------------------------------------------------------


def offered(second: int) -> int:
    """Arrivals the plan has in [second, second + 1): ramps 0-10 s, 45-50 s and 100-105 s."""
    middle = second + 0.5
    if middle < 10:
        return round(20 * middle)
    if middle < 45 or middle >= 105:
        return 200
    if middle < 50:
        return round(200 + 20 * (middle - 45))
    return 300 if middle < 100 else round(300 - 20 * (middle - 100))


def answers(second: int, ok: int, strain: float) -> Histogram:
    """Response times of one second: a body around 12 ms with a tail; `strain` stretches both. No randomness."""
    times = Histogram()
    for number in range(40):
        rank = (number + 0.5) / 40
        wobble = 1 + 0.12 * math.sin(second * 1.7) + 0.05 * math.sin(second * 0.31)
        tail = 0.003 / (1.02 - rank)
        seconds = (0.007 + 0.008 * rank + tail) * wobble * strain
        times.record(round(seconds * 1e6), ok // 40 + (number < ok % 40))
    return times


def frames(bad_share: dict[int, float], strain: dict[int, float], missing: range) -> tuple[LoadFrame, ...]:
    made: list[LoadFrame] = []
    for second in range(125):
        if second in missing:
            continue
        planned = offered(second)
        bad = round(planned * bad_share.get(second, 0.0))
        timed_out, failed = bad // 4, bad - bad // 4
        made.append(LoadFrame(second=second, series="", planned=planned))
        made.append(
            LoadFrame(
                second=second,
                series="GET /products",
                sent=planned,
                ok=planned - bad,
                failed=failed,
                timed_out=timed_out,
                response=answers(second, planned - bad, strain.get(second, 1.3 if 50 <= second < 100 else 1.0)),
                errors=tuple((kind, n) for kind, n in (("http_503", failed), ("timeout", timed_out)) if n),
            )
        )
    return tuple(made)


def history(back_s: float) -> tuple[ev.Event, ...]:
    """The history of a run whose deleted pod's successor is ready `back_s` after run start."""
    pod = {"node": "node-a", "phase": "Running", "terminating": False}
    seen: list[tuple[float, ev.Body]] = [
        (0.0, ev.RunStarted(run=NAME, wall_ns=1_795_222_923 * NS)),
        (0.0, ev.TargetsFrozen(fault="pod-delete", names=PODS)),
        *((0.0, ev.PodSeen(pod=name, uid=f"u-{name}", zone="zone-a", ready=True, **pod)) for name in PODS),
        (0.0, ev.LoadStarted(workers=2)),
        (15.0, ev.PhaseStarted(phase="baseline")),
        (45.0, ev.PhaseEnded(phase="baseline")),
        (55.0, ev.PhaseStarted(phase="stress")),
        (64.9, ev.FaultArmed(fault="pod-delete")),
        (65.0, ev.InjectRequested(fault="pod-delete")),
        (
            65.02,
            ev.PodSeen(pod=PODS[0], uid=f"u-{PODS[0]}", zone="zone-a", ready=False, **(pod | {"terminating": True})),
        ),
        (65.31, ev.InjectCompleted(fault="pod-delete")),
        (65.33, ev.PodGone(pod=PODS[0], uid=f"u-{PODS[0]}")),
        (65.4, ev.PodSeen(pod="shop-7d9f-new00", uid="u-new", zone="zone-a", ready=False, **pod)),
        (back_s, ev.PodSeen(pod="shop-7d9f-new00", uid="u-new", zone="zone-a", ready=True, **pod)),
        (100.0, ev.PhaseEnded(phase="stress")),
        (100.0, ev.RollbackRequested(fault="pod-delete")),
        (100.2, ev.RollbackCompleted(fault="pod-delete")),
        (105.0, ev.PhaseStarted(phase="recovery")),
        (125.0, ev.PhaseEnded(phase="recovery")),
        (125.1, ev.LoadStopped(scheduled_until_ns=125 * NS)),
        (126.0, ev.RunEnded(status=ev.Status.COMPLETED, detail="")),
    ]
    return tuple(ev.Event(seq=seq, t_ns=round(t_s * NS), body=body) for seq, (t_s, body) in enumerate(seen))


HEALTHY = tuple(
    WorkerHealth(second=second, worker=worker, cpu_ratio=0.31 + 0.1 * (second % 3), stall_s_max=0.0021)
    for second in range(125)
    for worker in ("worker-1", "worker-2")
)

# -- the verdicts -----------------------------------------------------------------------------------------------------


def finding(phase_name: str, rule: int, **found: object) -> Finding:
    """A finding on RULES[rule] that passes, but for what is given."""
    sli, tier, text, _, _, line = RULES[rule]
    usual = {
        "error_ratio": (0.0, 0.0, 0.00031, Unit.RATIO),
        "latency_p95": (0.0218, 0.0213, 0.0224, Unit.SECONDS),
        "throughput": (200.0, 199.0, 201.0, Unit.PER_SECOND),
        "server_error_ratio": (0.0, 0.0, 0.00031, Unit.RATIO),
    }
    value, lo, hi, unit = usual[sli]
    base = Finding(
        phase=phase_name,
        sli=sli,
        tier=tier,
        rule=text,
        outcome=PASS,
        reason=Reason.WITHIN,
        detail=f"{sli} keeps {text}",
        value=value,
        lo=lo,
        hi=hi,
        unit=unit,
        samples=6000,
        coverage=1.0 if sli.startswith("server") else None,
        source=at(line),
    )
    return replace(base, **found)


def counted(planned: int, failed: int = 0, timed_out: int = 0) -> LoadCounts:
    ok = planned - failed - timed_out
    return LoadCounts(planned=planned, sent=planned, ok=ok, failed=failed, timed_out=timed_out, dropped=0, lost=0)


def result(
    name: str, level: float, span: tuple[float, float], load: LoadCounts, *, verdict: Outcome | None = PASS
) -> PhaseResult:
    strain = 1.3 if name == "stress" else 1.0
    return PhaseResult(
        name=name,
        verdict=verdict,
        start_s=span[0],
        end_s=span[1],
        load_level=level,
        offered_per_s=200.0 * level,
        load=load,
        response_s=ResponseTimes(p50=0.0172 * strain, p95=0.0521 * strain, p99=0.0933 * strain, max=0.146 * strain),
        lag_s_p99=0.0009,
    )


def timing(which: Timing, value_s: float | None, lo_s: float, hi_s: float | None, **found: object) -> TimingFinding:
    base = TimingFinding(
        fault="pod-delete",
        timing=which,
        value_s=value_s,
        lo_s=lo_s,
        hi_s=hi_s,
        censored=False,
        outcome=None,
        reason=Reason.WITHIN,
        rule=None,
        detail="",
        source=None,
        tier=None,
    )
    return replace(base, **found)


CHECKS = (
    Check(check="load_delivered", phase="baseline", outcome=PASS, detail="6000 of 6000 planned arrivals sent"),
    Check(check="load_delivered", phase="stress", outcome=PASS, detail="13500 of 13500 planned arrivals sent"),
    Check(check="load_delivered", phase="recovery", outcome=PASS, detail="4000 of 4000 planned arrivals sent"),
    Check(check="conservation", phase=None, outcome=PASS, detail="planned = sent + dropped + lost in every second"),
    Check(check="start_lag", phase=None, outcome=PASS, detail="99 % of arrivals started within 0.9 ms"),
    Check(check="fault_confirmed", phase=None, outcome=PASS, detail="pod-delete: pod shop-7d9f-4kx2p is gone"),
    Check(check="fault_gone", phase=None, outcome=PASS, detail="pod-delete: 6 pods ready as before"),
)
DISAGREE = (
    "servers (server_error_ratio) counted 3300 requests, 0% of them bad; clients sent 4000, 0% of them bad; "
    "more than 400 fewer: requests lost on the way, or servers that are not scraped"
)
OVER = "all was over {} before the rollback was asked for"
JUDGED = ("baseline", "stress", "recovery")


def passed() -> tuple[Run, Verdict]:
    bad = {65: 0.17, 66: 0.04}
    run = Run(
        name=NAME,
        plan=PLAN,
        events=history(67.9),
        frames=frames(bad, {65: 2.1, 66: 1.7}, range(0)),
        health=HEALTHY,
        series=(),
    )
    errors = {"value": 0.0046, "lo": 0.0036, "hi": 0.0049, "samples": 13500}
    findings = tuple(finding(name, rule) for name in JUDGED for rule in range(len(RULES)))
    findings = tuple(
        replace(one, **errors) if (one.phase, one.sli) == ("stress", "error_ratio") else one for one in findings
    )
    findings = tuple(
        replace(one, outcome=WARN, reason=Reason.EXCEEDED, detail="error_ratio 0.46% misses its target of < 0.1%")
        if (one.phase, one.sli, one.tier) == ("stress", "error_ratio", Tier.TARGET)
        else one
        for one in findings
    )
    verdict = Verdict(
        run=NAME,
        scenario="stress-150",
        status=ev.Status.COMPLETED,
        verdict=PASS,
        restored=True,
        headline="every rule kept in 3 judged phases; the pod's loss was felt for 1.21s",
        phases=(
            result("warm-up", 1.0, (10.0, 15.0), counted(1000), verdict=None),
            result("baseline", 1.0, (15.0, 45.0), counted(6000)),
            result("stress", 1.5, (55.0, 100.0), counted(13500, 46, 15)),
            result("recovery", 1.0, (105.0, 125.0), counted(4000)),
        ),
        findings=findings,
        timings=(
            timing(Timing.DETECTION, 0.01, 0.0, 0.02, detail="from 65.010 s to 65.020 s of the run"),
            timing(Timing.FAILOVER, 1.23, 1.2, 1.27),
            *(
                timing(Timing.RECOVERY, 1.21, 1.18, 1.25, outcome=PASS, tier=tier, rule=rule, source=at(23))
                for tier, rule in ((Tier.WARN, "> 10s"), (Tier.FAIL, "> 30s"))
            ),
            timing(Timing.REDUNDANCY, 2.9, 2.88, 2.91),
            timing(Timing.ROLLBACK, 0.0, 0.0, 0.0, reason=Reason.ALREADY_GONE, detail=OVER.format("32.1s")),
            timing(Timing.DOWNTIME, 0.2, 0.19, 0.21),
        ),
        impacts=(
            Impact(
                start_s=65.02,
                start_lo_s=65.01,
                start_hi_s=65.03,
                end_s=66.23,
                end_lo_s=66.21,
                end_hi_s=66.26,
                severity=0.17,
                bad=61,
                downtime_s=0.2,
                fault="pod-delete",
                censored=False,
            ),
        ),
        validity=CHECKS,
    )
    return run, verdict


def failed() -> tuple[Run, Verdict]:
    run, verdict = passed()
    bad = {second: 0.38 - 0.018 * (second - 65) for second in range(65, 80)}
    strain = {second: 16.0 - 0.4 * (second - 65) for second in range(65, 80)} | {80: 5.0, 81: 3.0, 82: 2.0}
    unanswered = ev.QueryFailed(
        sli="server_error_ratio",
        phase="stress",
        detail="prometheus http://127.0.0.1:9090: no answer within 5 s (4 tries in 15.0 s)",
    )
    last = run.events[-1]
    events = (*history(78.4)[:-1], ev.Event(seq=last.seq, t_ns=last.t_ns, body=unanswered), replace(last, seq=22))
    run = replace(run, events=events, frames=frames(bad, strain, range(110, 113)))
    stress = (
        finding("stress", 0, outcome=WARN, reason=Reason.EXCEEDED, value=0.084, lo=0.079, hi=0.089, samples=13500),
        finding("stress", 1, outcome=WARN, reason=Reason.EXCEEDED, value=0.084, lo=0.079, hi=0.089, samples=13500),
        finding(
            "stress",
            2,
            outcome=FAIL,
            reason=Reason.EXCEEDED,
            value=0.084,
            lo=0.079,
            hi=0.089,
            samples=13500,
            detail="error_ratio 8.4% is above 1%, at least 7.9%",
        ),
        finding("stress", 3, outcome=WARN, reason=Reason.EXCEEDED, value=0.612, lo=0.598, hi=0.63, samples=13500),
        finding(
            "stress",
            4,
            outcome=FAIL,
            reason=Reason.EXCEEDED,
            value=0.612,
            lo=0.598,
            hi=0.63,
            samples=13500,
            detail="latency_p95 612ms is above 500ms, at least 598ms",
        ),
        finding("stress", 5, value=274.8, lo=270.0, hi=279.0, samples=13500),
        finding(
            "stress",
            6,
            outcome=INCONCLUSIVE,
            reason=Reason.SOURCE_UNREACHABLE,
            value=None,
            lo=None,
            hi=None,
            samples=0,
            coverage=None,
            detail=unanswered.detail,
        ),
    )
    kept = tuple(one for one in verdict.findings if one.phase != "stress")
    recovery = timing(
        Timing.RECOVERY,
        14.31,
        14.26,
        14.38,
        outcome=WARN,
        reason=Reason.EXCEEDED,
        rule="> 10s",
        tier=Tier.WARN,
        source=at(23),
        detail="from 65.020 s to 79.330 s of the run",
    )
    in_time = replace(recovery, outcome=PASS, reason=Reason.WITHIN, tier=Tier.FAIL, rule="> 30s")
    impact = replace(
        verdict.impacts[0], end_s=79.33, end_lo_s=79.29, end_hi_s=79.39, severity=0.26, bad=1134, downtime_s=3.78
    )
    verdict = replace(
        verdict,
        verdict=FAIL,
        headline="error_ratio 8.4% is above 1% in phase stress, and 1 more rule is breached",
        phases=tuple(
            replace(
                one,
                verdict=FAIL,
                load=counted(13500, 851, 283),
                response_s=ResponseTimes(p50=0.0241, p95=0.612, p99=1.43, max=2.31),
            )
            if one.name == "stress"
            else one
            for one in verdict.phases
        ),
        findings=kept + stress,
        timings=(
            verdict.timings[0],
            timing(
                Timing.FAILOVER,
                None,
                13.4,
                None,
                censored=True,
                reason=Reason.CENSORED,
                detail="the service was not restored while the fault was on",
            ),
            recovery,
            in_time,
            timing(Timing.REDUNDANCY, 13.4, 13.38, 13.41),
            timing(Timing.ROLLBACK, 0.0, 0.0, 0.0, reason=Reason.ALREADY_GONE, detail=OVER.format("20.7s")),
            timing(Timing.DOWNTIME, 3.78, 3.7, 3.86),
        ),
        impacts=(impact,),
        validity=(
            *CHECKS,
            Check(check="client_server_agree", phase="recovery", outcome=WARN, detail=DISAGREE),
            Check(check="samples_present", phase="stress", outcome=INCONCLUSIVE, detail=unanswered.detail),
        ),
    )
    return run, verdict
