"""`harness run`: everything a run needs is put together here, and taken apart again, whatever happens."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from harness.cli.files import load_plan, read
from harness.cli.healing import heal_before, heal_leftovers
from harness.cli.judging import Judged, judge_directory
from harness.cli.live import watching
from harness.conductor.loop import conduct
from harness.drivers import target
from harness.drivers.audit.driver import AuditDriver
from harness.drivers.base import Drivers
from harness.drivers.chaos import ledger
from harness.drivers.chaos.driver import ChaosDriver
from harness.drivers.clock import MonotonicClock
from harness.drivers.faults.reaper_manifest import install as install_reaper
from harness.drivers.kubernetes.driver import KubernetesObserver
from harness.drivers.locust.driver import LocustDriver
from harness.drivers.metrics import MetricsServer
from harness.drivers.prometheus import PrometheusSource
from harness.drivers.signals import Signals
from harness.errors import CannotRunError, HarnessError
from harness.plan.bind import bound
from harness.plan.model import Plan
from harness.record import Record
from harness.sandbox import Endpoints, default_state_dir, scraped
from harness.sandbox import down as sandbox_down
from harness.sandbox import status as sandbox_status
from harness.sandbox import up as sandbox_up
from harness.schedule.compile import compile_plan

_PACKAGES = (
    "load-chaos-harness",
    "locust",
    "chaostoolkit-lib",
    "chaostoolkit-kubernetes",
    "kubernetes",
    "prometheus-api-client",
)
ANY_PORT = "127.0.0.1:0"


def run_scenario(scenario: str, *, results: Path, time_scale: float, plain: bool) -> Judged:
    """Run a scenario given by name or path, judge it, write its reports; raises HarnessError when it cannot be run."""
    plan = load_plan(scenario, results=results, time_scale=time_scale)
    for line in heal_leftovers(results):
        _say(line)
    with Signals() as signals, at_target(plan, signals) as (ready, local):
        with signals.raising():
            target.reach(ready.service.url)
            for line in heal_before(ready.service.cluster, results, faults=bool(ready.faults)):
                _say(line)
        with _exporter(ready, local) as exporter:
            record = Record.create(results, ready, given=_given(ready), environment=_environment())
            _say(f"getting ready; the record is {record.directory}")
            with _owned(ready, record):
                _conduct(ready, record, signals, exporter, plain=plain)
    return judge_directory(record.directory)


@contextmanager
def _exporter(plan: Plan, local: Endpoints | None) -> Iterator[MetricsServer | None]:
    """Where the generator's metrics are served while the run lasts: as the plan says, and on a sandbox in any case."""
    address = plan.service.load.metrics or (ANY_PORT if local else None)
    if address is None:
        yield None
        return
    with closing(MetricsServer(plan, address)) as server, ExitStack() as stack:
        if local:
            stack.enter_context(scraped(local, server.address, {"job": "load"}))
        else:
            _say(f"metrics at http://{server.address}/metrics")
        yield server


@contextmanager
def at_target(plan: Plan, signals: Signals) -> Iterator[tuple[Plan, Endpoints | None]]:
    """The plan bound to its target; a sandbox that was not up is started for the run and ended after it."""
    if plan.service.sandbox is None:
        yield _at_home(plan), None
        return
    running = sandbox_status(default_state_dir())
    if running:
        _same_version(plan, running)
        yield _bound(plan, running), running
        return
    _say(f"starting a sandbox, version {plan.service.sandbox}")
    directory = Path(tempfile.mkdtemp(prefix="lch-sandbox-"))
    try:
        with signals.raising():
            endpoints = sandbox_up(plan.service.sandbox, directory, owned=True)
            if plan.faults:
                install_reaper(endpoints.api_url)
        yield _bound(plan, endpoints), endpoints
    finally:
        sandbox_down(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _at_home(plan: Plan) -> Plan:
    """The plan with `~` in its kubeconfig's path spelled out, which not every Kubernetes client does."""
    cluster = plan.service.cluster
    if cluster is None or cluster.kubeconfig is None:
        return plan
    cluster = replace(cluster, kubeconfig=str(Path(cluster.kubeconfig).expanduser()))
    return replace(plan, service=replace(plan.service, cluster=cluster))


def _same_version(plan: Plan, running: Endpoints) -> None:
    if running.version != plan.service.sandbox:
        message = f"the sandbox is up with version {running.version}, {plan.scenario} wants {plan.service.sandbox}"
        raise CannotRunError(message, hint="harness sandbox down; the run then starts its own")


def _bound(plan: Plan, endpoints: Endpoints) -> Plan:
    return bound(
        plan,
        url=endpoints.url,
        kubeconfig=endpoints.kubeconfig,
        prometheus_url=endpoints.prometheus_url,
        store_url=endpoints.store_url,
    )


def _conduct(plan: Plan, record: Record, signals: Signals, exporter: MetricsServer | None, *, plain: bool) -> None:
    logs = record.directory / "logs"
    cluster = plan.service.cluster
    drivers = Drivers(
        load=LocustDriver(plan, log_dir=logs),
        faults=_fault_driver(plan, record) if plan.faults else None,
        metrics=PrometheusSource(plan) if plan.service.prometheus else None,
        cluster=KubernetesObserver(plan, run=record.name, log_dir=logs) if cluster else None,
        exporter=exporter,
        audit=AuditDriver(plan.audit, run=record.name, directory=record.directory) if plan.audit else None,
    )
    try:
        with watching(plan, plain=plain) as watch:
            conduct(plan, compile_plan(plan), drivers, MonotonicClock(), record, signals=signals, watch=watch)
    except Exception as error:
        if not isinstance(error, (HarnessError, OSError)):
            (logs / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        raise
    finally:
        drivers.close()
        record.close()


@contextmanager
def _owned(plan: Plan, record: Record) -> Iterator[None]:
    """Own the run's ledger, by which `harness halt` finds live runs; the driver does that for a plan with faults."""
    folder = record.directory / "chaos" / ledger.FOLDER
    with nullcontext() if plan.faults else ledger.owned(folder):
        if not plan.faults:
            ledger.sign(folder)
        yield


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _fault_driver(plan: Plan, record: Record) -> ChaosDriver:
    cluster = plan.service.cluster
    assert cluster is not None  # the plan was checked: faults need a cluster
    directory = record.directory / "chaos"
    return ChaosDriver(
        plan, run=record.name, directory=directory, kubeconfig=cluster.kubeconfig, context=cluster.context
    )


def _given(plan: Plan) -> dict[str, str]:
    texts = {"scenario.yaml": read(plan.source.path), "service.yaml": read(plan.service.source.path)}
    return {name: text for name, text in texts.items() if text is not None}


def _environment() -> dict[str, object]:
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count() or 1,
        "versions": {name: version(name) for name in _PACKAGES},
    }
