"""
The store's rules, without clocks and sockets: whose log counts, when an entry is safe, who may be a member.

Viewstamped replication (Liskov and Cowling, "Viewstamped Replication Revisited", 2012, sections 4.1 and 4.2), of which
a Kubernetes Lease does two parts, because it changes by compare-and-swap only: it hands out the terms ("views"), each
to one leader, and it holds the list of members. What keeps acknowledged entries:

- An entry is acknowledged when MAJORITY members have it in the leader's own term.
- A new leader first has so many members promise its term that no older leader can find a majority any more, and
  begins with the most recent log among theirs; so every acknowledged entry is in it.
- A replica lives in memory: one that starts is nobody yet, and becomes a member only when it has all that is
  acknowledged. While the list changes, an entry needs a majority of the old list and of the new one.
- Members that are gone for good (no such process can come back) are not waited for: nobody has more than those left.

None of this depends on a clock. Only that a leader's reads are of the latest state does (see `node`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

REPLICAS = 3
MAJORITY = 2


@dataclass(frozen=True, slots=True)
class Copy:
    """A replica's log as it was when it made a promise."""

    log_term: int
    entries: tuple[str, ...]


class Replica:
    """One process's log. Entry k is the id of the k-th write; an id stands in it once."""

    def __init__(self, me: str) -> None:
        self.me = me  # names this process, not its pod: one that was restarted has lost its log
        self.term = 0  # nothing of an older term is taken any more
        self.log_term = 0  # `entries` is how the log of this term's leader begins
        self._entries: list[str] = []
        self._places: dict[str, int] = {}

    @property
    def entries(self) -> Sequence[str]:
        """The log."""
        return self._entries

    def place(self, entry: str) -> int | None:
        """Where the entry stands in the log, from 0; None when it does not."""
        return self._places.get(entry)

    def copy(self) -> Copy:
        """The log as it is now."""
        return Copy(self.log_term, tuple(self._entries))

    def promise(self, term: int) -> Copy | None:
        """Take nothing of older terms from now on; the log as it is. None when a later term was promised."""
        if term < self.term:
            return None
        self.term = term
        return self.copy()

    def accept(self, term: int, start: int, entries: Sequence[str]) -> int | None:
        """
        Take the leader's entries from position `start` on; 0 means that these are its whole log.

        Returns how many of the leader's entries are here now, which is where it goes on; None when a later term was
        promised. Messages may come twice, late and out of order.
        """
        if term < self.term:
            return None
        self.term = term
        if self.log_term != term:
            if start:
                return 0
            self._replace(entries)
            self.log_term = term
        elif start <= len(self._entries):
            for entry in entries[len(self._entries) - start :]:
                self.append(entry)
        return len(self._entries)

    def install(self, term: int, copy: Copy) -> None:
        """Begin `term` as its leader with this log."""
        self._replace(copy.entries)
        self.term = self.log_term = term

    def append(self, entry: str) -> None:
        """Add an entry that the log does not have."""
        self._places[entry] = len(self._entries)
        self._entries.append(entry)

    def _replace(self, entries: Iterable[str]) -> None:
        self._entries = list(entries)
        self._places = {entry: place for place, entry in enumerate(self._entries)}


def enough(reached: Collection[str], members: Collection[str], gone: Collection[str]) -> bool:
    """
    Whether promises of these replicas leave no older leader a majority, and show all that was acknowledged.

    Any MAJORITY members have one among so many. Where more than the others are gone for good, all that are left.
    """
    left = set(members) - set(gone)
    found = len(left & set(reached))
    return found == len(left) or found >= len(set(members)) - MAJORITY + 1


def most_recent(copies: Mapping[str, Copy]) -> Copy:
    """The log a new leader begins with: of the latest term, and of those the longest; the others are its beginnings."""
    return max(copies.values(), key=lambda copy: (copy.log_term, len(copy.entries)))


class Leadership:
    """One term of one leader: who has how much of its log. `replica` has the term's first log installed."""

    def __init__(self, replica: Replica, members: Collection[str]) -> None:
        self.term = replica.term
        self._replica = replica
        self._lists: tuple[frozenset[str], ...] = (
            frozenset(members),
        )  # two while the list of members is being changed
        self._held: dict[str, int] = {}

    @property
    def valid(self) -> bool:
        """Whether this process has not promised a later term."""
        return self._replica.term == self.term

    @property
    def members(self) -> frozenset[str]:
        """Who counts; while that is being changed, who counted before."""
        return self._lists[0]

    @property
    def known(self) -> frozenset[str]:
        """The members, and who else has taken the log in this term."""
        return self.members.union(self._held)

    @property
    def established(self) -> bool:
        """Whether a majority follows this leader, and so has all that was acknowledged before it."""
        return self._held_by_majority() is not None

    @property
    def committed(self) -> int:
        """How many entries, from the first on, may be acknowledged."""
        return self._held_by_majority() or 0

    def held(self, who: str) -> int:
        """How many entries a replica is known to have in this term; 0 when nothing is known."""
        return len(self._replica.entries) if who == self._replica.me else self._held.get(who, 0)

    def follows(self, who: str) -> bool:
        """Whether a replica has taken the log in this term."""
        return who == self._replica.me or who in self._held

    def note(self, who: str, count: int) -> None:
        """A replica has said that it has `count` entries in this term."""
        self._held[who] = max(self._held.get(who, 0), count)

    def wanted(self, gone: Collection[str]) -> frozenset[str] | None:
        """
        The list of members that should be: those not gone, and in their place replicas that have all that counts.

        None when nobody could join. No list gets shorter without somebody new: as long as a lost member counts, every
        entry needs all of the others.
        """
        kept = self.members - set(gone)
        done = self.committed
        able = sorted(who for who in self.known - self.members - set(gone) if self._held[who] >= done)
        joining = able[: max(REPLICAS - len(kept), 0)]
        new = kept.union(joining)
        holding = sum(self.follows(who) and self.held(who) >= done for who in new)
        return new if joining and len(self._lists) == 1 and holding >= MAJORITY else None

    def propose(self, members: Collection[str]) -> None:
        """The list is about to be written: from now on both lists must agree."""
        self._lists = (self.members, frozenset(members))

    def settle(self, members: Collection[str]) -> None:
        """The list that is written is this one."""
        self._lists = (frozenset(members),)

    def _held_by_majority(self) -> int | None:
        """The number of entries that MAJORITY of every list in force have; None when too few have taken the log."""
        counts = []
        for members in self._lists:
            held = sorted((self.held(who) for who in members if self.follows(who)), reverse=True)
            if len(held) < MAJORITY:
                return None
            counts.append(held[MAJORITY - 1])
        return min(counts)
