"""What the engine needs to know of a plan, as it travels from the driver to the master and on to the workers."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import DriverError
from harness.plan.model import Plan
from harness.plan.replay import Recording, digest, played_ns, recording_of
from harness.schedule.load import (
    SECOND_NS,
    Arrivals,
    Knot,
    Law,
    ReplayPiece,
    knots_of,
    latency_limits_us,
    seed_of,
    stream_names,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """One request stream; `name` is "" when the plan has no streams."""

    name: str
    knots: tuple[Knot, ...]
    seed: int
    users: tuple[str, ...]  # names of User classes; empty: all
    tags: tuple[str, ...]  # of the tasks it runs; empty: all


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySpec:
    """A phase that replays a file of recorded arrivals in [start_ns, end_ns)."""

    path: str
    sha256: str
    speed: float
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The load of one plan. Times are nanoseconds."""

    streams: tuple[StreamSpec, ...]
    replays: tuple[ReplaySpec, ...]
    law: Law
    seed: int
    deadline_ns: int
    slow_ns: int
    limits_us: tuple[int, ...]
    workers: int  # on this machine
    remote_workers: int  # waited for before the start
    listen: str  # HOST:PORT the master listens on; port 0: any free one
    connection_age_s: float
    host: str  # base URL of the service
    locustfile: str  # absolute path
    locustfile_sha256: str
    log_dir: str  # absolute path of an existing directory

    @property
    def end_ns(self) -> int:
        """Where the load profile ends, since run start."""
        return round(max(stream.knots[-1].t_s for stream in self.streams) * SECOND_NS)

    @property
    def peak_per_s(self) -> float:
        """The highest rate of the profile, all streams together; a little more when they peak apart."""
        return sum(max(knot.per_s for knot in stream.knots) for stream in self.streams)

    @property
    def workers_wanted(self) -> int:
        """Workers that begin together."""
        return self.workers + self.remote_workers

    def arrivals(self) -> tuple[Arrivals, ...]:
        """All arrivals of each stream. Raises DriverError when a replay file is not what it was."""
        recordings = {replay.path: _recording(replay, self._names()) for replay in self.replays}
        return tuple(
            Arrivals(
                stream.knots,
                self.law,
                stream.seed,
                tuple(_piece(replay, recordings[replay.path], stream.name) for replay in self.replays),
            )
            for stream in self.streams
        )

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    def _names(self) -> tuple[str, ...]:
        return tuple(stream.name for stream in self.streams if stream.name)


def spec_of(plan: Plan, log_dir: str) -> Spec:
    """The spec of a bound plan; without a number of workers, one per core. Reads the locustfile."""
    load = plan.service.load
    streams = {stream.name: stream for stream in load.streams}
    return Spec(
        streams=tuple(
            StreamSpec(
                name=name,
                knots=knots_of(plan, stream=name),
                seed=seed_of(plan, name),
                users=streams[name].users if name else (),
                tags=streams[name].tags if name else (),
            )
            for name in stream_names(plan)
        ),
        replays=tuple(
            ReplaySpec(
                path=phase.replay.path,
                sha256=phase.replay.sha256,
                speed=phase.replay.speed,
                start_ns=round(phase.start_s * SECOND_NS),
                end_ns=round(phase.end_s * SECOND_NS),
            )
            for phase in plan.phases
            if phase.replay
        ),
        law=load.arrivals,
        seed=load.seed,
        deadline_ns=round(load.deadline_s * SECOND_NS),
        slow_ns=round(load.slow_s * SECOND_NS),
        limits_us=latency_limits_us(plan),
        workers=load.workers if load.workers is not None else os.cpu_count() or 1,
        remote_workers=load.remote.workers if load.remote else 0,
        listen=load.remote.listen if load.remote else "127.0.0.1:0",
        connection_age_s=load.connection_age_s,
        host=plan.service.url.rstrip("/"),
        locustfile=load.locustfile,
        locustfile_sha256=_sha256(load.locustfile),
        log_dir=log_dir,
    )


def spec_from_json(text: str) -> Spec:
    """The spec that `to_json` wrote."""
    values: dict[str, Any] = json.loads(text)
    values["streams"] = tuple(_stream(stream) for stream in values["streams"])
    values["replays"] = tuple(ReplaySpec(**replay) for replay in values["replays"])
    values["limits_us"] = tuple(values["limits_us"])
    return Spec(**values)


def _stream(values: dict[str, Any]) -> StreamSpec:
    knots = tuple(Knot(**knot) for knot in values["knots"])
    return StreamSpec(**(values | {"knots": knots, "users": tuple(values["users"]), "tags": tuple(values["tags"])}))


def _piece(replay: ReplaySpec, recording: Recording, stream: str) -> ReplayPiece:
    recorded = recording.times_ns[stream]
    times_ns = played_ns(recorded, speed=replay.speed, start_ns=replay.start_ns, end_ns=replay.end_ns)
    return ReplayPiece(replay.start_ns, replay.end_ns, times_ns)


def _recording(replay: ReplaySpec, streams: tuple[str, ...]) -> Recording:
    try:
        text = Path(replay.path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DriverError(f"load: replay file {replay.path}: cannot be read: {error}") from error
    recording, _ = recording_of(text, streams)
    if recording is None or digest(text) != replay.sha256:
        raise DriverError(f"load: replay file {replay.path}: changed since the plan was made; start the run again")
    return recording


def _sha256(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise DriverError(f"load: locustfile {path!r} cannot be read: {error.strerror}") from error
