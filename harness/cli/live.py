"""What a person sees while a run goes on: a live view on a terminal, plain lines everywhere else; both on stderr."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from harness.conductor.loop import Progress
from harness.history.events import Event, QueryProbed
from harness.history.load import LoadFrame
from harness.plan.model import Plan
from harness.report import live, words

HEARTBEAT_S = 10.0
REDRAW_S = 0.5
KEEP_S = 45  # seconds of load frames that the view looks back on
LOG_LINES = 6


@contextmanager
def watching(plan: Plan, *, plain: bool) -> Iterator[Callable[[Progress], None]]:
    """A function to tell of progress; while entered, what it is told is shown."""
    console = Console(stderr=True)
    watcher = _Watcher(plan)
    if plain or not console.is_terminal:
        yield lambda progress: watcher.lines(progress, console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as screen:
        yield lambda progress: watcher.draw(progress, screen)


class _Watcher:
    """Keeps the little that the view needs of the run so far."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._frames: deque[LoadFrame] = deque()
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._next_s = 0.0

    def lines(self, progress: Progress, console: Console) -> None:
        """One line for every event worth telling, and a heartbeat."""
        self._see(progress)
        told = _told(progress.events)
        if progress.t_s >= self._next_s:
            self._next_s = progress.t_s + HEARTBEAT_S
            told.append(live.line(self._snapshot(progress)))
        for line in told:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    def draw(self, progress: Progress, screen: Live) -> None:
        """The whole view, at most twice a second."""
        self._see(progress)
        self._log.extend(_told(progress.events))
        if progress.t_s >= self._next_s:
            self._next_s = progress.t_s + REDRAW_S
            screen.update(live.view(self._snapshot(progress)), refresh=True)

    def _see(self, progress: Progress) -> None:
        self._frames.extend(progress.frames)
        while self._frames and self._frames[0].second < progress.t_s - KEEP_S:
            self._frames.popleft()

    def _snapshot(self, progress: Progress) -> live.Snapshot:
        return live.snapshot(
            self._plan,
            max(progress.t_s, 0.0),
            frames=self._frames,
            faults=progress.faults,
            log=tuple(self._log),
            closing=progress.closing,
        )


def _told(events: Sequence[Event]) -> list[str]:
    """
    A line for each event that says something to a person: `1:05.09  pod shop-1 gone`.

    Of what was before the load started, only what the queries answered.
    """
    sentences = ((event, words.sentence(event.body)) for event in events if event.t_ns >= 0 or _probed(event))
    return [
        f"{'before' if _probed(event) else words.instant(round(event.t_ns / 1e9, 2))}  {sentence}"
        for event, sentence in sentences
        if sentence
    ]


def _probed(event: Event) -> bool:
    return isinstance(event.body, QueryProbed)
