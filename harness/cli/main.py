"""The `harness` command: every subcommand is one call into the rooms; what comes back becomes an exit code."""

from __future__ import annotations

import errno
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.streams import take_over
from harness.drivers.signals import raising
from harness.errors import ExitCode, HarnessError

EXIT_CODES = (
    "Exit codes: 0 pass or warn (--strict: warn is 1) · 1 fail · 2 bad arguments, scenario, service or experiment, or a"
    " fault that preflight refuses · 3 inconclusive · 4 could not run: target, cluster, driver, disk · 5 a fault could"
    " not be proven undone (outranks all others) · 70 a bug in the harness · 130 interrupted, faults undone."
)

if TYPE_CHECKING:
    from harness.cli.judging import Judged

app = typer.Typer(
    name="harness",
    help="Load tests and chaos experiments in one run, judged by SLIs.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
sandbox = typer.Typer(help="The local cluster with the demo shop.", no_args_is_help=True)
app.add_typer(sandbox, name="sandbox")

Scenario = Annotated[str, typer.Argument(help="A scenario's name (from scenarios/) or the path of its file.")]
RunDirectory = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's directory, such as results/stress-150/latest.")
]
Results = Annotated[Path, typer.Option("--results", help="The folder of all runs.")]
TimeScale = Annotated[
    float, typer.Option("--time-scale", min=0.001, max=1000, help="Shrink or stretch all durations: 0.1 rehearses.")
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to stdout.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 on warn.")]

RESULTS = Path("results")

# What a file system answers when it is full, not ours to write to, or not what the arguments take it for.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EIO}


class ShopVersion(StrEnum):
    """What the sandbox can start with: the demo shop, a bad release of it, the shop with the store or a lossy store."""

    GOOD = "good"
    BAD = "bad"
    STORE = "store"
    STORE_LOSSY = "store-lossy"


class Form(StrEnum):
    """What `harness report` can print."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    HTML = "html"
    JSON = "json"
    HLOG = "hlog"


@app.command(epilog=EXIT_CODES)
def run(
    scenario: Scenario,
    results: Results = RESULTS,
    time_scale: TimeScale = 1.0,
    strict: Strict = False,
    as_json: Json = False,
    plain: Annotated[bool, typer.Option("--plain", help="No live view: one line per change.")] = False,
) -> None:
    """Run a scenario and judge it."""
    from harness.cli.run import run_scenario

    done = run_scenario(scenario, results=results, time_scale=time_scale, plain=plain or as_json)
    _end(done, strict=strict, as_json=as_json)


@app.command()
def plan(
    scenario: Scenario,
    time_scale: TimeScale = 1.0,
    results: Results = RESULTS,
    per_second: Annotated[bool, typer.Option("--per-second", help="Also the arrivals of every second.")] = False,
    as_json: Json = False,
) -> None:
    """Show the timeline and the load that would happen; touches nothing."""
    from harness.cli.files import load_plan, plan_json, plan_text

    loaded = load_plan(scenario, results=results, time_scale=time_scale)
    typer.echo(plan_json(loaded) if as_json else plan_text(loaded, per_second=per_second))


@app.command()
def check(
    scenarios: Annotated[list[str] | None, typer.Argument(help="Names or paths; all of scenarios/ if none.")] = None,
    results: Results = RESULTS,
) -> None:
    """Check scenarios, their services and experiments; report every problem as path:line."""
    from harness.cli.files import check_all

    for line in check_all(tuple(scenarios or ()), results):
        typer.echo(line)


@app.command(epilog=EXIT_CODES)
def judge(
    directory: RunDirectory,
    rules: Annotated[
        str | None, typer.Option(help="A scenario whose rules to judge by instead; then nothing is written.")
    ] = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Judge a recorded run again, from its directory alone, and write its reports anew."""
    from harness.cli.judging import judge_by, judge_directory

    done = judge_by(directory, rules) if rules else judge_directory(directory)
    _end(done, strict=strict, as_json=as_json)


@app.command()
def report(
    directory: RunDirectory,
    form: Annotated[Form, typer.Option("--format", help="What to print.")] = Form.TEXT,
) -> None:
    """Print a report of a recorded run; writes nothing."""
    from harness.cli.judging import report_of

    typer.echo(report_of(directory, form.value), nl=False)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="BEFORE", help="A run's directory; alone, it is AFTER.")],
    second: Annotated[Path | None, typer.Argument(metavar="AFTER", help="A later run's directory.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a figure is proven worse.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two runs figure by figure, or one with the last passing run before it; and with what is usual."""
    from harness.cli.comparing import compare_runs

    done = compare_runs(first, second)
    typer.echo(done.json if as_json else done.text, nl=not as_json)
    raise typer.Exit(done.exit_code(strict=strict))


@app.command()
def runs(
    scenario: Annotated[str | None, typer.Argument(help="Only runs of this scenario.")] = None,
    results: Results = RESULTS,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="How many, newest first.")] = 20,
) -> None:
    """List the newest runs and their verdicts."""
    from harness.store import Store

    entries = Store(results).newest(count, scenario)
    if not entries:
        typer.echo(f"no runs{f' of {scenario}' if scenario else ''} in {results}", err=True)
    for entry in entries:
        typer.echo(f"{entry.started}  {entry.verdict:<12}  {entry.status:<11}  {entry.run}  {entry.headline}")


def _rate(text: str) -> float:
    from harness.units import UnitError, rate

    try:
        per_s = rate(text)
    except UnitError as error:
        raise typer.BadParameter(str(error)) from error
    if not 1 <= per_s <= 1e6:
        raise typer.BadParameter(f"'{text}' is not between 1/s and 1M/s")
    return per_s


@app.command()
def doctor(
    scenario: Annotated[str | None, typer.Argument(help="Whose preflight to play: a name or a path.")] = None,
    load: Annotated[
        float | None, typer.Option("--load", parser=_rate, metavar="RATE", help="To drive from here, such as 5000/s.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="For --load: as in a service file; else one per core.")
    ] = None,
    results: Results = RESULTS,
    as_json: Json = False,
) -> None:
    """
    Say whether a scenario's faults may be played (exit 0 yes, 4 no), and whether this machine can drive a load (0, 3).

    With SCENARIO all that a run checks in its cluster before load starts, actions rehearsed there, nothing changed.
    With --load ten seconds of it against a stub. A warning is not a no; exit 4 also when it could not be tried.
    """
    if scenario is None and load is None:
        raise typer.BadParameter("give a scenario, or --load RATE, or both")
    from harness.cli.doctor import consult

    done = consult(scenario, results=results, per_s=load, workers=workers)
    typer.echo(done.json if as_json else done.text)
    raise typer.Exit(done.exit_code)


@app.command()
def worker(
    join: Annotated[str, typer.Option("--join", metavar="HOST:PORT", help="Where the run's load.remote.listen is.")],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Holds the token; else LCH_WORKER_TOKEN does.")
    ] = None,
    wait: Annotated[str, typer.Option("--wait", help="How long to wait for a master that is not there yet.")] = "60s",
) -> None:
    """Generate load for a run on another machine, on one core, until it is over; exit 4 if it cannot take part."""
    from harness.cli.worker import take_part

    take_part(join, token_file, wait)


@app.command()
def heal(
    results: Results = RESULTS,
    service: Annotated[
        list[str] | None,
        typer.Option("--service", help="A service whose cluster to look at too: from scenarios/services/, or a path."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="In clusters only what this run left, alive or not: SCENARIO/RUN-ID. Of its own, if no --service.",
        ),
    ] = None,
) -> None:
    """
    Undo faults that dead runs left behind; exit 5 if one could not be undone.

    Without options: what the ledgers of the runs in --results say. With --service also what any run, of any machine,
    left in that service's cluster, unless it is alive, that is, renews its Lease.
    """
    from harness.cli.healing import heal_all

    for line in heal_all(results, tuple(service or ()), run):
        typer.echo(line)


@app.command()
def halt(results: Results = RESULTS) -> None:
    """End every live run's faults now, then its load, from another terminal; exit 5 if a fault is not proven undone."""
    from harness.cli.healing import halt_runs

    for line in halt_runs(results):
        typer.echo(line)


@sandbox.command("up")
def sandbox_up(
    version: Annotated[ShopVersion, typer.Option(help="What runs in it.")] = ShopVersion.GOOD,
) -> None:
    """Start the local cluster, the demo shop and its Prometheus; they stay until `harness sandbox down`."""
    from harness.cli.cluster import up

    typer.echo(up(version.value))


@sandbox.command("status")
def sandbox_status() -> None:
    """Say whether the sandbox is up, and where; exit 4 if it is not."""
    from harness.cli.cluster import status

    typer.echo(status())


@sandbox.command("down")
def sandbox_down() -> None:
    """End the sandbox and all its processes."""
    from harness.cli.cluster import down

    typer.echo(down())


def _end(done: Judged, *, strict: bool, as_json: bool) -> None:
    typer.echo(done.json if as_json else done.text)
    if done.unwritten:
        typer.echo(f"error: the reports could not be written: {done.unwritten}", err=True)
    raise typer.Exit(done.exit_code(strict=strict))


def main() -> None:
    """Entry point: run the command; turn every expected error into one message on stderr and its exit code."""
    out = take_over()
    code = _command()
    sys.stdout.flush()
    if out.lost is not None:
        typer.echo(f"error: standard output could not be written: {out.lost}", err=True)
        code = code or ExitCode.ENVIRONMENT
    sys.exit(code)


def _command() -> int:
    """The exit code of the command that was asked for."""
    try:
        with raising():
            app()
    except HarnessError as error:
        typer.echo(f"error: {error}", err=True)
        if error.hint:
            typer.echo(f"  hint: {error.hint}", err=True)
        return error.exit_code
    except SystemExit as ended:  # how typer ends every command
        return ended.code if isinstance(ended.code, int) else ExitCode.PASS
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            typer.echo(f"error: {error}\n  hint: free that disk, mend its permissions, or name another place", err=True)
            return ExitCode.ENVIRONMENT
        import traceback  # a bug: everything else that is expected is a HarnessError

        traceback.print_exc()
        typer.echo("error: this is a bug in the harness; the traceback is above", err=True)
        return ExitCode.BUG
    return ExitCode.PASS
