"""Who takes part in the load: the workers as the master knows them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

SILENT_TICKS = 5  # after so many ticks of silence a worker is given up
HUNG_TICKS = 20  # ... one on this machine that is not stopped, but busy: its time comes; and any before the start
TICK_S = 0.25
LIVES_MAX = 5  # processes that may take one place, one after another


@dataclass(slots=True, kw_only=True)
class Member:
    """One worker from the moment it is known. A process that takes the place of a dead one is another member."""

    index: int
    name: str
    place: int | None  # among the workers of this machine; None: a remote one
    life: int = 1  # the how-manieth process in its place
    client_id: str = ""  # Locust's name for it
    ready: bool = False
    epoch: int = 0  # of the orders it follows
    drained: bool = False
    silent: int = 0  # ticks since it last spoke
    _heard: set[int] = field(default_factory=set)  # reports above `_all_heard`
    _all_heard: int = 0  # every report up to this one was heard

    def is_new(self, number: int) -> bool:
        """Whether a report with this number is heard for the first time."""
        if number <= self._all_heard or number in self._heard:
            return False
        self._heard.add(number)
        while self._all_heard + 1 in self._heard:
            self._all_heard += 1
            self._heard.remove(self._all_heard)
        return True


class Members:
    """All members that are not over and done with."""

    def __init__(self) -> None:
        self._members: dict[int, Member] = {}
        self._next = 0

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def get(self, index: int) -> Member | None:
        """The member of that number, None when it is no more."""
        return self._members.get(index)

    def local(self, place: int, life: int = 1) -> Member:
        """A new member on this machine."""
        name = f"worker-{place}" if life == 1 else f"worker-{place}.{life}"
        return self._add(Member(index=self._next, name=name, place=place, life=life))

    def remote(self, host: str) -> Member:
        """A new member on another machine."""
        return self._add(Member(index=self._next, name=f"{host}-{self._next}", place=None))

    def drop(self, member: Member) -> None:
        """The member is over and done with."""
        self._members.pop(member.index, None)

    def _add(self, member: Member) -> Member:
        self._next += 1
        self._members[member.index] = member
        return member
