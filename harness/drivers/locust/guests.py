"""
How a worker on another machine comes to take part: it asks, and is given all that it needs, or a reason why not.

It gets the spec, the locustfile's text and the replay files' over the channel. Modules that the locustfile imports must
be installed there, or lie in the directory in which `harness worker` was started.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.drivers.locust.spec import Spec, spec_from_json
from harness.drivers.locust.wire import VERSION
from harness.drivers.locust.worker import Seat
from harness.errors import DriverError

PACKAGES = ("load-chaos-harness", "locust")


@cache
def versions() -> Mapping[str, object]:
    """What master and worker must have in common."""
    return {"wire": VERSION, **{name: version(name) for name in PACKAGES}}


def refusal(request: Mapping[str, Any]) -> str | None:
    """Why the worker that asks cannot take part; None when it can."""
    theirs, ours = request["versions"], versions()
    for name, own in ours.items():
        if theirs.get(name) != own:
            return f"it has {name} {theirs.get(name)}, the master {own}; install the same"
    return None


def welcome(seat: Seat) -> dict[str, object]:
    """What the worker needs."""
    spec = seat.spec
    return {
        "index": seat.index,
        "name": seat.name,
        "spec": spec.to_json(),
        "locustfile": Path(spec.locustfile).read_bytes(),
        "replays": {replay.path: Path(replay.path).read_text(encoding="utf-8") for replay in spec.replays},
    }


def seated(answer: Mapping[str, Any], directory: Path) -> Seat:
    """The seat that the master's answer gives, with its files written into `directory`."""
    spec = spec_from_json(answer["spec"])
    text = answer["locustfile"]
    if hashlib.sha256(text).hexdigest() != spec.locustfile_sha256:
        raise DriverError(f"load: the locustfile {spec.locustfile} changed since the run began; start the run again")
    return Seat(
        index=answer["index"],
        place=answer["index"],
        name=answer["name"],
        remote=True,
        spec=_moved(spec, text, answer["replays"], directory),
    )


def _moved(spec: Spec, locustfile: bytes, replays: Mapping[str, str], directory: Path) -> Spec:
    """The spec with its files in `directory`."""
    home = directory / Path(spec.locustfile).name
    home.write_bytes(locustfile)
    paths = {}
    for number, (path, text) in enumerate(replays.items()):
        paths[path] = str(directory / f"replay-{number}.txt")
        Path(paths[path]).write_text(text, encoding="utf-8")
    return replace(
        spec,
        locustfile=str(home),
        log_dir=str(directory),
        replays=tuple(replace(replay, path=paths[replay.path]) for replay in spec.replays),
    )
