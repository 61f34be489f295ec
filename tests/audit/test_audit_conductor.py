"""The audit in a whole run, on fakes: when it is asked, and what its failures are worth."""

from dataclasses import replace

import pytest
from conductor_stage import Stage, small_plan
from plan_values import HERE, rule

from harness.errors import DriverError
from harness.history.audit import AuditCompleted, AuditFailed, AuditReadRequested, AuditStarted
from harness.history.events import DriverBroke, LoadStopped, RollbackCompleted, Status
from harness.plan.model import Audit, AuditRule, Count, Tier
from harness.record import read
from harness.verdict.judge import judge
from harness.verdict.model import Outcome

AUDIT = Audit(
    url="http://store",
    rate_per_s=20.0,
    writers=4,
    rules=(AuditRule(count=Count.LOST, tier=Tier.FAIL, rule=rule("> 0", 0.0), source=HERE),),
    source=HERE,
)


def stage(tmp_path, stretch=0.1, **options):
    return Stage(tmp_path, plan=replace(small_plan(stretch=stretch), audit=AUDIT), **options)


def judged(stage):
    return judge(read(stage.record.directory))


def test_everything_is_read_back_once_when_the_load_has_ended_and_the_fault_is_gone(tmp_path):
    run = stage(tmp_path, stretch=1.0)
    assert run.play() is Status.COMPLETED
    kinds = (AuditStarted, RollbackCompleted, LoadStopped, AuditReadRequested, AuditCompleted)
    assert [type(body) for body in run.bodies(*kinds)] == [
        AuditStarted,
        RollbackCompleted,
        LoadStopped,
        AuditReadRequested,
        AuditCompleted,
    ]
    assert run.audit.asked == 1
    assert judged(run).verdict is Outcome.PASS


def test_a_loss_fails_a_run_that_is_fine_otherwise(tmp_path):
    run = stage(tmp_path, lost=3)
    run.play()
    verdict = judged(run)
    assert verdict.verdict is Outcome.FAIL
    assert verdict.headline.startswith("data-loss audit: lost > 0 (fail): 3 of ")
    assert all(finding.outcome is not Outcome.FAIL for finding in verdict.findings)


def test_an_interrupted_run_is_read_back_too(tmp_path):
    run = stage(tmp_path, interrupt_at_s=10.0)
    assert run.play() is Status.INTERRUPTED
    assert len(run.bodies(AuditCompleted)) == 1


def test_what_cannot_be_read_back_is_inconclusive(tmp_path):
    run = stage(tmp_path, audit_fail="read_back")
    assert run.play() is Status.COMPLETED
    assert run.bodies(AuditFailed) == [AuditFailed(detail="scripted")]
    assert judged(run).verdict is Outcome.INCONCLUSIVE


def test_an_audit_that_breaks_does_not_hold_the_run_up(tmp_path):
    run = stage(tmp_path, audit_fail="poll")
    assert run.play() is Status.CRASHED
    assert run.bodies(DriverBroke) == [DriverBroke(driver="audit", detail="fake audit: scripted")]
    assert judged(run).verdict is Outcome.INCONCLUSIVE


def test_a_service_that_does_not_keep_the_contract_is_refused_before_the_load(tmp_path):
    run = stage(tmp_path, audit_fail="preflight")
    with pytest.raises(DriverError, match=r"^fake audit: scripted$"):
        run.play()
    assert run.bodies(AuditStarted, LoadStopped) == []
