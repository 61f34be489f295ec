"""
The program that runs in a canary pod, handed to `python3 -c`: standard library only.

Every canary serves HTTP on $PORT and probes its peers about ten times a second, each probe a new connection. It knows
one peer from the start, $SEED; a peer that probes it becomes a peer of its own, and answers list the peers of other
zones, so all find each other. Lines on stdout, times in nanoseconds of this pod's own monotonic clock:

    {"boot": 3, "seq": 7, "now": 9, "from": "a", "to": "b", "ok": false, "lo": 7, "hi": 8}  a path seen or changed
    {"boot": 3, "seq": 8, "now": 9}                                                         every second: still here
"""

import collections
import http.client
import http.server
import json
import os
import threading
import time
import urllib.request

PORT = int(os.environ.get("PORT") or "8080")
ZONE = os.environ["ZONE"]
OWN_IP = os.environ["POD_IP"]
SEED = os.environ.get("SEED") or ""
TWIN = bool(os.environ.get("TWIN"))  # stands in another canary's zone, to be probed by it alone
PERIOD_S, TIMEOUT_S = 0.1, 0.5
BOOT = time.monotonic_ns()  # tells one life of this pod from the next

_lock = threading.Lock()
_peers: dict[str, str] = {}  # IP -> zone
_seq = 0


def say(**facts: object) -> None:
    """Print one line of JSON with its number and the time of printing."""
    global _seq  # noqa: PLW0603 - a script of one file has one counter
    with _lock:
        _seq += 1
        line = json.dumps({"boot": BOOT, "seq": _seq, "now": time.monotonic_ns(), **facts})
        print(line, flush=True)  # noqa: T201 - the pod's log is its only way out


def meet(ip: str, zone: str) -> None:
    """Begin to probe a peer, once."""
    with _lock:
        if not ip or ip == OWN_IP or ip in _peers:
            return
        _peers[ip] = zone
    threading.Thread(target=probe_forever, args=(ip,), daemon=True).start()


def probe(ip: str) -> bool:
    """Ask the peer over a new connection; urllib takes $http_proxy, where a network in user space knows us by it."""
    request = urllib.request.Request(f"http://{ip}:8080/", headers={"X-Lch-Zone": ZONE, "X-Lch-Ip": OWN_IP})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            found = json.load(answer)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    with _lock:
        _peers[ip] = found["zone"]
    if not TWIN:
        for other, zone in found["peers"].items():
            meet(other, zone)
    return True


def probe_forever(ip: str) -> None:
    """
    Probe the peer and say when the outcome changes: to good with the first good probe, to bad with two bad in a row.

    The change lies after the last probe *sent* with the old outcome. It lies before the first good one was *answered*;
    or, of the first bad one, before its answer was due: it may have been cut under way, so the time that the slowest of
    the last good ones took is added.
    """
    good: bool | None = None  # what was said last; failures before a first answer only mean that the peer still starts
    last_sent = 0  # when the last probe with the outcome said was sent
    bad_sent = bad_row = 0  # when the first of a row of bad probes was sent, and how many they are
    took_when_good: collections.deque[int] = collections.deque(maxlen=50)
    while True:
        sent = time.monotonic_ns()
        ok = probe(ip)
        took = time.monotonic_ns() - sent
        if ok:
            bad_row = 0
            if good:  # the first good one may have waited for the path to open
                took_when_good.append(took)
            else:
                say(**{"from": ZONE}, to=_peers[ip], ok=True, lo=last_sent or sent, hi=sent + took)
                good = True
        elif good:
            bad_row += 1
            bad_sent = sent if bad_row == 1 else bad_sent
            if bad_row == 2:
                due = bad_sent + max(took_when_good, default=0)
                say(**{"from": ZONE}, to=_peers[ip], ok=False, lo=last_sent, hi=due)
                good = False
        if ok is good:
            last_sent = sent
        time.sleep(max(0.0, PERIOD_S - took / 1e9))


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET with the zone and the peers of other zones; takes the asker as a peer."""

    timeout = 5.0

    def do_GET(self) -> None:
        """Answer one probe."""
        with _lock:
            others = {ip: zone for ip, zone in _peers.items() if zone not in {"", ZONE}}
        body = json.dumps({"zone": ZONE, "peers": others}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        meet(self.headers.get("X-Lch-Ip", ""), self.headers.get("X-Lch-Zone", ""))

    def log_message(self, *_: object) -> None:
        """Keep the log for our own lines."""


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("", PORT), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    meet(SEED, "")
    while True:
        time.sleep(1.0)
        say()
