"""Which User classes run the arrivals of which stream, and how many users of each a worker begins with."""

from __future__ import annotations

import math
import types
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from locust import User

from harness.drivers.locust.spec import Spec, StreamSpec

if TYPE_CHECKING:
    from harness.drivers.locust.slots import Arrival, Slot

EXPECTED_LATENCY_S = 0.05  # decides how many users are spawned before the start
_FEWEST, _MOST = 4, 200
_AT_ONCE = 16  # users waiting to be made; each takes the event loop up to a millisecond


class LocustfileError(Exception):
    """The person's locustfile cannot be used."""


@dataclass(slots=True, eq=False)
class Kind:
    """The users of one class that run arrivals of one stream."""

    name: str  # of the class in the locustfile
    user_class: type[User]
    stream: str
    most: int | None  # users there may be on this worker; None: as many as are needed
    idle: list[Slot] = field(default_factory=list)  # parked; the last is used first
    queue: deque[Arrival] = field(default_factory=deque)
    starting: int = 0  # users being spawned because the queue needed them
    making: int = 0  # of these not made yet
    users: int = 0  # slots there are
    paused_until_ns: int = 0  # none is spawned before, since run start

    @property
    def may_grow(self) -> bool:
        """Whether another may be made for an arrival that waits."""
        if self.making >= _AT_ONCE or self.starting >= len(self.queue):
            return False
        return self.most is None or self.users + self.starting < self.most


def kinds_of(spec: Spec, classes: Sequence[type[User]], index: int) -> tuple[tuple[Kind, ...], ...]:
    """
    The kinds of each stream on worker `index`, in the order of the streams.

    A class with `fixed_count` has that many users on all workers together; its share of the arrivals is its weight's,
    as for any class, but only on workers that have one. Of weight 0 a class takes no part. Raises LocustfileError when
    a stream finds no class or no task.
    """
    workers = spec.workers_wanted
    return tuple(
        tuple(
            Kind(cls.__name__, _for_stream(cls, stream), stream.name, _share(cls, index, workers))
            for cls in _classes_of(stream, classes)
            if _share(cls, index, workers) != 0
        )
        for stream in spec.streams
    )


def users_of(spec: Spec, kinds: Sequence[Sequence[Kind]]) -> dict[str, int]:
    """How many users of each class a worker begins with, by the class's (possibly derived) name."""
    counts: dict[str, int] = {}
    for stream, own in zip(spec.streams, kinds, strict=True):
        peak_per_s = max(knot.per_s for knot in stream.knots)
        wanted = min(max(math.ceil(peak_per_s / spec.workers_wanted * EXPECTED_LATENCY_S), _FEWEST), _MOST)
        weights = sum(kind.user_class.weight for kind in own if kind.most is None)
        for kind in own:
            many = math.ceil(wanted * kind.user_class.weight / weights) if kind.most is None else kind.most
            counts[kind.user_class.__name__] = many
    return counts


def _share(cls: type[User], index: int, workers: int) -> int | None:
    """How many users of a class a worker may have; None without a limit."""
    if cls.fixed_count <= 0:
        return None
    return cls.fixed_count // workers + (index % workers < cls.fixed_count % workers)


def _classes_of(stream: StreamSpec, classes: Sequence[type[User]]) -> Sequence[type[User]]:
    own = [cls for cls in classes if not stream.users or cls.__name__ in stream.users]
    missing = sorted(set(stream.users) - {cls.__name__ for cls in own})
    if missing:
        there = ", ".join(sorted(cls.__name__ for cls in classes))
        raise LocustfileError(f"stream {stream.name!r} wants User class {missing[0]!r}; the locustfile has {there}")
    weighty = [cls for cls in own if cls.weight > 0]
    if not weighty:
        whose = f"stream {stream.name!r}: " if stream.name else ""
        raise LocustfileError(f"{whose}every User class has weight 0; give one a weight")
    return weighty


def _for_stream(cls: type[User], stream: StreamSpec) -> type[User]:
    """The class itself; for a stream with a name one derived from it, with the tasks of the stream's tags alone."""
    if not stream.name:
        return cls
    derived: type[User] = _derived(cls, f"{cls.__name__}@{stream.name}")
    if stream.tags:
        derived.tasks = _tagged(cls.tasks, set(stream.tags), {})
        if not derived.tasks:
            tags = ", ".join(stream.tags)
            raise LocustfileError(f"stream {stream.name!r}: no task of {cls.__name__} has any of the tags {tags}")
    return derived


def _tagged(tasks: Sequence[Any], tags: set[str], seen: dict[Any, Any]) -> list[Any]:
    """The tasks with any of the tags; of a nested task set one derived from it, as Locust would narrow it in place."""
    for task in tasks:
        if task in seen:
            continue
        if not hasattr(task, "tasks"):
            seen[task] = task if tags & getattr(task, "locust_tag_set", set()) else None
            continue
        inner = seen[task] = _derived(task, task.__name__)  # before its tasks: a task set may hold itself
        inner.tasks = _tagged(task.tasks, tags, seen)
        if not inner.tasks:
            seen[task] = None
    return [seen[task] for task in tasks if seen[task] is not None]


def _derived(cls: Any, name: str) -> Any:
    """A class like `cls`; its tasks are the very list of it until they are set."""
    derived: Any = types.new_class(name, (cls,), exec_body=lambda space: space.update(__module__=cls.__module__))
    derived.tasks = cls.tasks
    return derived
