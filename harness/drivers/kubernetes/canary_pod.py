"""
The program that runs in a canary pod, handed to `python3 -c`: standard library only.

Every canary serves HTTP on $PORT and probes its peers twenty times a second in each of two lanes: over a new connection
each time, and over one that it keeps open. It knows one peer from the start, $SEED; a peer that probes it becomes a
peer of its own, and answers list the peers known, so all find each other. A twin ($TWIN) only makes itself known.
Lines on stdout, times in nanoseconds of this pod's own monotonic clock:

    {"boot": 3, "seq": 7, "now": 9, "from": "a", "to": "b", "via": "new", "ok": false, "lo": 7, "hi": 8}
                                                                        a lane of a path seen first, or changed
    {"boot": 3, "seq": 8, "now": 9, "from": "a", "to": "b", "lo": 5, "hi": 6, "sent": 40, "failed": 2, "slow": 0}
                                                                        a second of a path's probes
    {"boot": 3, "seq": 9, "now": 9}                                     every second: still here
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import time
import urllib.parse
import urllib.request

PORT = int(os.environ.get("PORT") or "8080")
ZONE = os.environ.get("ZONE", "")
OWN_IP = os.environ.get("POD_IP", "")
SEED = os.environ.get("SEED", "")
TWIN = os.environ.get("TWIN", "")  # stands in another canary's zone, to be probed by it alone
SLOW_S = float(os.environ.get("SLOW_S") or "inf")  # an answer later than this is slow
PEER_PORT = 8080
PERIOD_S = 0.05
TIMEOUT_S = max(0.5, 2 * SLOW_S) if SLOW_S < 60 else 0.5
IN_A_ROW = 5  # so many unanswered probes are a cut; fewer may be packets that got lost
S = 1_000_000_000
BOOT = time.monotonic_ns()  # tells one life of this pod from the next
ASKING = f"Host: canary\r\nX-Lch-Zone: {ZONE}\r\nX-Lch-Ip: {OWN_IP}\r\nX-Lch-Twin: {TWIN}\r\n\r\n"

Change = dict[str, object]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Lane:
    """
    What the probes of one path show over one kind of connection. Probes may overlap: they are told apart by `sent`.

    It turns bad with IN_A_ROW unanswered ones. That change lies after the last answered probe was *sent*, before the
    answer to the first unanswered one was due: it may have been cut under way, so the time that good ones usually take
    is added. It turns good with the first answer: before that answer came, and after every probe was sent that had by
    then waited for longer than a good one does. Usually: all but the slowest twentieth of the last five seconds.
    """

    def __init__(self) -> None:
        self.good: bool | None = None  # failures before a first answer only mean that the peer still starts
        self._answered = 0  # the latest answered probe's sending
        self._unanswered: list[int] = []  # sendings since, in order
        self._since = 0  # when it turned good; what was sent before may have waited for that
        self._sent: collections.deque[int] = collections.deque(maxlen=200)
        self._took: collections.deque[int] = collections.deque(maxlen=100)

    def sent(self, at: int) -> None:
        """A probe was sent."""
        self._sent.append(at)

    def answered(self, sent: int, at: int) -> Change | None:
        """A probe was answered; returns the change that this shows, if any."""
        before, self.good = self.good, True
        if before and sent > self._since:
            self._took.append(at - sent)
        self._answered = max(self._answered, sent)
        self._unanswered = [one for one in self._unanswered if one > sent]
        if before:
            return None
        self._since = at
        waited = at - 2 * self._usual() - S // 100  # twice and a little more: all wake up at once when a path opens
        last = max((one for one in self._sent if one <= waited), default=sent)
        return {"ok": True, "lo": sent if before is None else min(last, at), "hi": at}

    def failed(self, sent: int) -> Change | None:
        """A probe was refused or not answered in time; returns the change that this shows, if any."""
        if sent > self._answered:
            self._unanswered = sorted([*self._unanswered, sent])[:IN_A_ROW]
        if not self.good or len(self._unanswered) < IN_A_ROW:
            return None
        self.good = False
        return {"ok": False, "lo": self._answered, "hi": self._unanswered[0] + self._usual()}

    def _usual(self) -> int:
        slowest_last = sorted(self._took)
        return slowest_last[len(slowest_last) * 19 // 20] if slowest_last else 0


class Tally:
    """Probes of one path by the second in which they were sent."""

    def __init__(self) -> None:
        self._seconds: dict[int, list[int]] = {}

    def add(self, sent: int, *, ok: bool, slow: bool) -> None:
        """Count a probe once its outcome is known."""
        counts = self._seconds.setdefault(sent // S, [0, 0, 0])
        for place, one in enumerate((True, not ok, slow)):
            counts[place] += one

    def settled(self, now: int) -> list[Change]:
        """The seconds whose last probes must be known by now, each once, in order."""
        done = [second for second in sorted(self._seconds) if (second + 1) * S + TIMEOUT_S * 1.5 * S < now]
        told: list[Change] = []
        for second in done:
            sent, failed, slow = self._seconds.pop(second)
            told.append({"lo": second * S, "hi": (second + 1) * S, "sent": sent, "failed": failed, "slow": slow})
        return told


class Peer:
    """Another canary, and what is known of the path to it."""

    def __init__(self, ip: str, zone: str, *, twin: bool) -> None:
        self.ip, self.zone, self.twin = ip, zone, twin
        self.lanes = {"new": Lane(), "open": Lane()}
        self.tally = Tally()
        self.idle: collections.deque[Connection] = collections.deque()
        proxy = urllib.parse.urlsplit(urllib.request.getproxies().get("http", ""))  # a network in user space has one
        self.address = (proxy.hostname, proxy.port or 80) if proxy.hostname else (ip, PEER_PORT)
        self.target = f"http://{ip}:{PEER_PORT}/" if proxy.hostname else "/"

    async def ask(self, *, keep: bool) -> list[tuple[str, str, str]]:
        """The peers that this one knows (IP, zone, twin); over a connection kept from earlier, if one is to be kept."""
        connection = self.idle.popleft() if keep and self.idle else None
        if connection is None or connection[0].at_eof():
            connection = await asyncio.open_connection(*self.address)
        reader, writer = connection
        fine = False
        try:
            writer.write(f"GET {self.target} HTTP/1.1\r\n{ASKING}".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(headers(head)["content-length"]))
            fine = head.startswith(b"HTTP/1.1 200")
        finally:
            if fine and keep:
                self.idle.append(connection)
            else:
                writer.transport.abort()
        found = json.loads(body)
        self.zone = found["zone"]
        return [(ip, zone, twin) for ip, zone, twin in found["peers"]]


peers: dict[str, Peer] = {}  # by IP
tasks: set[asyncio.Task[None]] = set()  # the loop itself does not hold them
printed = 0


def say(facts: Change) -> None:
    """Print one line of JSON with its number and the time of printing."""
    global printed  # noqa: PLW0603 - a script of one file has one counter
    printed += 1
    line = json.dumps({"boot": BOOT, "seq": printed, "now": time.monotonic_ns(), **facts})
    print(line, flush=True)  # noqa: T201 - the pod's log is its only way out


def headers(head: bytes) -> dict[str, str]:
    """The headers of a request or an answer, by lower-case name."""
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:] if line)
    return {name.lower(): value.strip() for name, _, value in lines}


def meet(ip: str, zone: str, *, twin: bool) -> None:
    """Take a peer to be known, and begin to probe it where that is this canary's task."""
    if not ip or ip == OWN_IP or ip in peers:
        return
    peer = peers[ip] = Peer(ip, zone, twin=twin)
    if TWIN:
        begin(announce(peer))
    elif twin is (zone == ZONE):  # in other zones the canaries, in this one the twin
        for via in peer.lanes:
            begin(probe_for_ever(peer, via))


def begin(work: collections.abc.Coroutine[None, None, None]) -> None:
    """Do it at the same time as everything else."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def announce(peer: Peer) -> None:
    """Make this pod known to a peer, again and again: it may be started anew."""
    while True:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await peer.ask(keep=False)
        except (OSError, ValueError, LookupError, EOFError):
            pass
        await asyncio.sleep(1.0)


async def probe_for_ever(peer: Peer, via: str) -> None:
    """Send a probe every PERIOD_S, whether or not the one before was answered."""
    due = time.monotonic()
    while True:
        begin(probe(peer, via))
        due = max(due + PERIOD_S, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


async def probe(peer: Peer, via: str) -> None:
    """Send one probe and see what becomes of it."""
    lane, sent = peer.lanes[via], time.monotonic_ns()
    lane.sent(sent)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            known = await peer.ask(keep=via == "open")
        at, ok = time.monotonic_ns(), True
        change = lane.answered(sent, at)
    except (OSError, ValueError, LookupError, EOFError):
        at, ok, known = time.monotonic_ns(), False, []
        change = lane.failed(sent)
    if change:
        say({"from": ZONE, "to": peer.zone, "via": via, **change})
    if peer.lanes["new"].good is not None:
        peer.tally.add(sent, ok=ok, slow=ok and at - sent > SLOW_S * S)
    for ip, zone, twin in known:
        meet(ip, zone, twin=bool(twin))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with the zone and the peers known; take the asker as a peer."""
    try:
        while True:
            async with asyncio.timeout(30.0):
                asked = headers(await reader.readuntil(b"\r\n\r\n"))
            known = [(peer.ip, peer.zone, "1" if peer.twin else "") for peer in peers.values() if peer.zone]
            body = json.dumps({"zone": ZONE, "peers": known}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            meet(asked.get("x-lch-ip", ""), asked.get("x-lch-zone", ""), twin=bool(asked.get("x-lch-twin")))
    except (OSError, ValueError, EOFError):
        writer.transport.abort()


async def main() -> None:
    """Serve and probe for ever."""
    server = await asyncio.start_server(serve, "", PORT, backlog=1024)
    async with server:
        meet(SEED, "", twin=False)
        while True:
            await asyncio.sleep(1.0)
            for peer in peers.values():
                for second in peer.tally.settled(time.monotonic_ns()):
                    say({"from": ZONE, "to": peer.zone, **second})
            say({})


if __name__ == "__main__":
    asyncio.run(main())
