"""A watch against an API server that hangs, breaks off, forgets, refuses and talks nonsense: over real connections."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hostile_api import Hostile, serving
from kube_doubles import kubeconfig

from harness.drivers.kubernetes.client import ApiClient
from harness.drivers.kubernetes.kinds import pods
from harness.drivers.kubernetes.watch import Pace, Watch
from harness.history.events import Body, PodGone, PodSeen, WatchGap

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

PODS = "/api/v1/namespaces/shop/pods"
BLINDING = ("hang", "mute", "close", "410", "429", "500", "503", "forgotten", "torn", "nonsense")
HARMLESS = ("end", "bookmarks")


class _StopWatchingError(BaseException):
    """Leaves a watch that would go on for ever."""


class Told:
    """What a watch said, and until when it goes on."""

    def __init__(self) -> None:
        self.said: list[tuple[Body, int]] = []
        self.stopped = threading.Event()
        self.start: Callable[[], None] = self.stopped.clear

    def report(self, body: Body, mono_ns: int) -> None:
        self.said.append((body, mono_ns))

    def sleep(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise _StopWatchingError

    def bodies(self, *kinds: type[Body]) -> list[Body]:
        return [body for body, _ in self.said if isinstance(body, kinds)]

    def there(self) -> set[str]:
        """The pods that it believes are there."""
        found: set[str] = set()
        for body in self.bodies(PodSeen, PodGone):
            if isinstance(body, PodSeen):
                found.add(body.pod)
            elif isinstance(body, PodGone):
                found.discard(body.pod)
        return found


@pytest.fixture
def world() -> Iterator[tuple[Hostile, str]]:
    with serving() as served:
        yield served


@pytest.fixture
def told(world: tuple[Hostile, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Told]:
    """A watch that has listed one pod, and goes on once the test starts it."""
    told = Told()
    api = ApiClient(kubeconfig(tmp_path, world[1]), None, read_s=30.0)
    harmless = "trick" in request.fixturenames and request.getfixturevalue("trick") in HARMLESS
    leeway_s = 20.0 if harmless else 0.5  # a server that is only slow must not be taken for a dead one
    pace = Pace(watch_s=1, leeway_s=leeway_s, pause_s=0.02, pause_max_s=0.1, asked_max_s=0.3, sleep=told.sleep)
    watch = Watch(api, PODS, {}, pods(lambda _: "", {}), told.report, pace=pace)
    world[0].add("pod-0")
    watch.first()

    def run() -> None:
        with suppress(_StopWatchingError):
            watch.run()

    thread = threading.Thread(target=run, daemon=True)
    told.start = thread.start
    yield told
    told.stopped.set()
    world[0].ended.set()
    thread.join(10)
    api.close()


def until(done: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


@pytest.mark.parametrize("trick", [*BLINDING, *HARMLESS])
def test_what_happens_meanwhile_is_told_and_blindness_is_a_gap(
    trick: str, world: tuple[Hostile, str], told: Told
) -> None:
    """Each change is told once; a gap covers the time from the last word to the next look."""
    server, _ = world
    server.tricks.append(trick)
    told.start()
    until(lambda: server.played[:1] == [trick], lambda: server.played)
    server.add("pod-1")
    server.delete("pod-0")

    until(lambda: told.there() == {"pod-1"}, lambda: told.said)

    changes = [type(body) for body in told.bodies(PodSeen, PodGone)]
    assert sorted(kind.__name__ for kind in changes) == ["PodGone", "PodSeen", "PodSeen"]
    gaps = [(body.since_ns, at_ns) for body, at_ns in told.said if isinstance(body, WatchGap)]
    assert bool(gaps) is (trick in BLINDING)
    assert all(since_ns <= at_ns for since_ns, at_ns in gaps)


def test_any_mixture_of_tricks_ends_with_the_truth(world: tuple[Hostile, str], told: Told) -> None:
    """Pods come and go meanwhile; in the end the observer knows those that are there, and has told its gaps."""
    server, _ = world
    dice = Random(20261121)
    quick = [trick for trick in (*BLINDING, *HARMLESS) if trick not in {"hang", "mute", "429"}]
    server.tricks.extend(dice.choices(quick, k=18))
    wanted = len(server.tricks)
    told.start()
    number = 1
    while len(server.played) < wanted:
        server.add(f"pod-{number}")
        if dice.random() < 0.6:
            server.delete(dice.choice(sorted(server.pods)))
        number += 1
        time.sleep(0.02)
        assert number < 1500, server.played
    server.add("last")

    until(lambda: told.there() == set(server.pods), lambda: (told.there() ^ set(server.pods), told.said[-20:]))

    assert len(told.bodies(WatchGap)) >= sum(trick in BLINDING for trick in server.played[:wanted])
