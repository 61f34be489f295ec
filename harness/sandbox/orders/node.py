"""
One running replica: stands for election when the Lease is free, leads or follows, and answers for what it has.

What depends on clocks: a leader answers reads only while its Lease cannot have been taken over yet, which holds as long
as clocks of different machines run at nearly the same speed. Writes do not depend on that (see `replica`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.sandbox.caller import Caller
from harness.sandbox.orders.lease import LEASE_S, MARGIN_S, RENEW_S, Lease, LeaseBox
from harness.sandbox.orders.replica import MAJORITY, Copy, Leadership, Replica, enough, most_recent

STAND_S = 0.2  # how often a follower looks whether the Lease is free
CALL_S = 0.4  # a call to another replica
HEARTBEAT_S = 0.25
CONTACT_S = 1.0  # a leader that has not reached a majority for so long steps down
COMMIT_S = 0.35  # a write waits so long for its majority; less than clients in front wait
LOSSY_S = 0.3  # the lossy store replicates so long after it has acknowledged
ENTRIES_PER_S = 20_000  # what a call that carries a log may take beyond CALL_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a replica runs."""

    me: str  # "<pod>.<what only this process has>"
    pod: str
    url: str  # of this replica, for the others
    pods: str  # the API's list of the store's pods
    lossy: bool


class Node:
    """A replica with its clocks and connections. `peers` goes between pods, `box` to the API server."""

    def __init__(self, place: Place, peers: Caller, api: Caller, box: LeaseBox) -> None:
        self.replica = Replica(place.me)
        self.leading: Leadership | None = None
        self.leader_url = ""  # of the leader heard last
        self._place, self._peers, self._api, self._box = place, peers, api, box
        self._members: frozenset[str] = frozenset()  # as the leader told last
        self._valid_until_s = 0.0
        self._contact_s: dict[str, float] = {}
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._appended = asyncio.Event()  # set and renewed with every new entry
        self._wake = asyncio.Event()  # the leader has to look at its list of members

    # -- what others ask ------------------------------------------------------------------------------------------

    @property
    def member(self) -> bool:
        """Whether this replica has all that is acknowledged, and counts."""
        return self.replica.me in self._members

    @property
    def serving(self) -> Leadership | None:
        """The leadership, while it may answer clients."""
        lead = self.leading
        trusted = lead is not None and lead.valid and lead.established and time.monotonic() < self._valid_until_s
        return lead if trusted else None

    def visible(self) -> int:
        """How many entries, from the first on, the leader shows."""
        assert self.leading is not None
        return len(self.replica.entries) if self._place.lossy else self.leading.committed

    async def write(self, entry: str) -> bool:
        """Store the entry; whether it may be acknowledged. False says nothing about whether it will be there."""
        lead = self.serving
        if lead is None:
            return False
        if self.replica.place(entry) is None:
            self.replica.append(entry)
            self._appended.set()
            self._appended = asyncio.Event()
        if self._place.lossy:
            return True
        place = self.replica.place(entry)
        assert place is not None
        if lead.committed > place:
            return True
        safe: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((place, safe))
        with suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_S):
                return await safe
        return False

    def state(self) -> dict[str, Any]:
        """What this replica has, in numbers."""
        replica = self.replica
        return {
            "me": replica.me,
            "term": replica.term,
            "log_term": replica.log_term,
            "entries": len(replica.entries),
            "member": self.member,
            "leader": self.serving is not None,
        }

    def promised(self, term: int) -> dict[str, Any]:
        """The answer to a candidate."""
        copy = self.replica.promise(term)
        told = {} if copy is None else {"log_term": copy.log_term, "entries": copy.entries}
        return {"me": self.replica.me, "term": self.replica.term, "promised": copy is not None, **told}

    def taken(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a leader that sends (a part of) its log."""
        held = self.replica.accept(body["term"], body["start"], body["entries"])
        if held is not None:
            self.leader_url, self._members = body["leader"], frozenset(body["members"])
        follows = self.replica.log_term == body["term"]
        return {"me": self.replica.me, "term": self.replica.term, "held": held or 0, "follows": follows}

    # -- elections ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Stand, and lead when elected, until cancelled; the Lease is then given back."""
        while True:
            lease = await self._stand()
            if lease is not None:
                await self._lead(lease)
            await asyncio.sleep(STAND_S)

    async def _stand(self) -> Lease | None:
        """The Lease, when this replica has just become the leader."""
        lease = await self._box.read()
        pods = await self._pods() if lease is not None and self._box.is_free(lease) else None
        if lease is None or pods is None:
            return None
        states = await self._states(pods)
        told = lease.members or self._members
        gone = self._gone(told, pods, {state["me"]: url for url, state in states.items()})
        reached = {self.replica.me, *(state["me"] for state in states.values())}
        left = told - gone
        may = self._outlives(states, len(pods) - 1) if not left else self.replica.me in left
        if not may or not enough(reached, told, gone):
            return None
        term = max(lease.term, self.replica.term, *(state["term"] for state in states.values())) + 1
        members = told if left else {self.replica.me}
        sent_s = time.monotonic()
        written = await self._box.write(lease, self._place.pod, term, members)
        if written is None:
            return None
        urls = [url for url, state in states.items() if state["me"] in told]
        copies = await self._promises(term, urls)
        if not enough(copies, told, gone) or self.replica.term != term:
            await self._box.write(written, "", term, members)
            return None
        self.replica.install(term, most_recent(copies))
        self.leading = Leadership(self.replica, members)
        self._members = frozenset(members)
        self._valid_until_s = sent_s + LEASE_S - MARGIN_S
        return written

    def _outlives(self, states: Mapping[str, Any], others: int) -> bool:
        """Whether this replica may begin anew when no member is left: all others answer, and none has more than it."""
        mine = (self.replica.log_term, len(self.replica.entries))
        return len(states) == others and all(mine >= (state["log_term"], state["entries"]) for state in states.values())

    async def _promises(self, term: int, urls: Collection[str]) -> dict[str, Copy]:
        own = self.replica.promise(term)
        copies = {} if own is None else {self.replica.me: own}
        body = {"term": term}
        calls = (self._peers.ask("POST", f"{url}/promise", body, timeout_s=2 * CALL_S) for url in urls)
        for answer in await asyncio.gather(*calls):
            if answer is not None and answer["promised"]:
                copies[answer["me"]] = Copy(answer["log_term"], tuple(answer["entries"]))
        return copies

    async def _pods(self) -> dict[str, str] | None:
        """The store's pods and their URLs ('' before they have one), this one too; None when nobody says."""
        found = await self._api.ask("GET", self._place.pods, timeout_s=CALL_S)
        if found is None:
            return None
        ips = {
            pod["metadata"]["name"]: pod["status"].get("podIP", "")
            for pod in found["items"]
            if pod["status"].get("phase") not in ("Succeeded", "Failed")
        }
        pods = {name: f"http://{ip}:8080" if ip else "" for name, ip in ips.items()}
        return pods | {self._place.pod: self._place.url}

    async def _states(self, pods: Mapping[str, str]) -> dict[str, Any]:
        """URL -> state of every other replica that answers."""
        urls = [url for name, url in pods.items() if url and name != self._place.pod]
        calls = (self._peers.ask("GET", f"{url}/state", timeout_s=CALL_S) for url in urls)
        answers = await asyncio.gather(*calls)
        return {url: answer for url, answer in zip(urls, answers, strict=True) if answer is not None}

    def _gone(self, known: Collection[str], pods: Mapping[str, str], urls: Mapping[str, str]) -> frozenset[str]:
        """Who of these cannot come back: their pod is gone, or another process answers in it."""
        answering = {who.rpartition(".")[0] for who in urls} | {self._place.pod}
        present = {self.replica.me, *urls}
        return frozenset(
            who
            for who in known
            if who not in present and ((pod := who.rpartition(".")[0]) not in pods or pod in answering)
        )

    # -- leading --------------------------------------------------------------------------------------------------

    async def _lead(self, lease: Lease) -> None:
        lead = self.leading
        assert lead is not None
        followers: dict[str, asyncio.Task[None]] = {}
        self._contact_s = dict.fromkeys(lead.members, time.monotonic())
        urls: dict[str, str] = {}
        gone: frozenset[str] = frozenset()
        try:
            while self._stays(lead, gone):
                pods = await self._pods()
                if pods is not None:
                    self._see_to(lead, followers, pods, urls)
                    gone = self._gone(lead.known, pods, urls)
                lease = await self._renewed(lead, lease, gone)
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(RENEW_S):
                        await self._wake.wait()
        finally:
            self.leading = None
            for task in followers.values():
                task.cancel()
            for _, safe in self._waiting:
                if not safe.done():
                    safe.set_result(False)
            self._waiting.clear()
            # Also when cancelled: whoever comes next need not wait until the Lease runs out.
            await self._box.write(lease, "", lead.term, lead.members)

    def _stays(self, lead: Leadership, gone: Collection[str]) -> bool:
        now_s = time.monotonic()
        left = lead.members - set(gone)
        met = sum(who == self.replica.me or now_s - self._contact_s.get(who, 0.0) < CONTACT_S for who in left)
        return lead.valid and now_s < self._valid_until_s and met >= min(MAJORITY, len(left))

    def _see_to(
        self, lead: Leadership, followers: dict[str, asyncio.Task[None]], pods: Mapping[str, str], urls: dict[str, str]
    ) -> None:
        """One task for every other pod; `urls` gets to know who answers where."""
        present = {url for name, url in pods.items() if url and name != self._place.pod}
        for url in followers.keys() - present:
            followers.pop(url).cancel()
            for who in [who for who, known in urls.items() if known == url]:
                del urls[who]
        for url in present:
            if url not in followers or followers[url].done():  # done: what answered there was no replica
                followers[url] = asyncio.create_task(self._feed(lead, url, urls))

    async def _renewed(self, lead: Leadership, lease: Lease, gone: Collection[str]) -> Lease:
        """The Lease as it is now, with a new list of members where one is due. Without success the time runs out."""
        new = lead.wanted(gone)
        if new is not None:
            lead.propose(new)
        members = new or lead.members
        sent_s = time.monotonic()
        written = await self._box.write(lease, self._place.pod, lead.term, members)
        if written is not None:
            lead.settle(members)
            self._members = frozenset(members)
            self._valid_until_s = sent_s + LEASE_S - MARGIN_S
            self._settle_waiting(lead)
            return written
        found = await self._box.read()
        if found is None:
            return lease
        if (found.holder, found.term) == (self._place.pod, lead.term):
            lead.settle(found.members)
            return found
        self._valid_until_s = 0.0  # somebody else has it
        return lease

    async def _feed(self, lead: Leadership, url: str, urls: dict[str, str]) -> None:
        """Keep one other replica's log up to date for as long as this leadership lasts."""
        start = 0
        while self.leading is lead and lead.valid:
            appended, entries = self._appended, list(self.replica.entries[start:])
            body = {"term": lead.term, "start": start, "entries": entries}
            body |= {"leader": self._place.url, "members": sorted(lead.members)}
            sent_s = time.monotonic()
            timeout_s = CALL_S + len(entries) / ENTRIES_PER_S
            answer = await self._peers.ask("POST", f"{url}/replicate", body, timeout_s=timeout_s)
            if answer is None:
                await asyncio.sleep(HEARTBEAT_S / 2)
                continue
            if answer["term"] != lead.term:
                self.replica.promise(answer["term"])  # a later leader: this term is over
                self._wake.set()
                return
            sent, start = start + len(entries), self._noted(lead, answer, sent_s)
            for known in [who for who, place in urls.items() if place == url]:
                del urls[known]
            urls[answer["me"]] = url
            if start < sent:  # it has lost its log, or is further behind than we thought
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await appended.wait()
                    if self._place.lossy:
                        await asyncio.sleep(LOSSY_S)

    def _noted(self, lead: Leadership, answer: Mapping[str, Any], sent_s: float) -> int:
        """Take note of what another replica has; how many entries that are."""
        who, held = answer["me"], int(answer["held"])
        self._contact_s[who] = sent_s
        if answer["follows"]:
            lead.note(who, held)
            self._settle_waiting(lead)
            if who not in lead.members and held >= lead.committed:
                self._wake.set()
        return held

    def _settle_waiting(self, lead: Leadership) -> None:
        done = lead.committed
        for place, safe in self._waiting:
            if place < done and not safe.done():
                safe.set_result(True)
        self._waiting = [(place, safe) for place, safe in self._waiting if not safe.done()]
