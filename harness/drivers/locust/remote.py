"""
A worker on another machine: joins a master, and plays for it until the run is over.

This process asks for a seat and starts the load process in it; when the master gave that one up (it stood still, or the
network was cut) another takes a seat anew. One worker uses one core.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

from harness.drivers.locust.channel import TOKEN_MIN, TOKEN_VARIABLE, Keys, address_of, keys_of, secure_worker
from harness.drivers.locust.guests import seated, versions
from harness.drivers.locust.worker import EXPELLED, FORSAKEN, Address
from harness.errors import DriverError

ANSWER_S = 10.0  # how long a master that is there may take to answer

_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
# A tunnel or a balancer in front of a master that is not there yet does as a master does that knows another token.
_SHUT = "hangs up: the master does not know this token (give both the same), or is not there behind a proxy"


def work(where: str, token: str, *, wait_s: float, say: Callable[[str], None]) -> None:
    """
    Join the master at `where` (HOST:PORT) and play until it says that the run is over.

    A master that is not there is waited for, `wait_s` seconds at most. Raises DriverError when it does not come, does
    not know the token, refuses the worker, or is gone for good.
    """
    try:
        host, port = address_of(where)
    except ValueError as error:
        raise DriverError(f"load: --join {error}; write e.g. 10.0.0.5:5557") from error
    if len(token) < TOKEN_MIN:
        raise DriverError(f"load: the token has {len(token)} characters; it needs at least {TOKEN_MIN}")
    address = Address(host=host, port=port, token=token)
    keys = keys_of(token)
    while True:
        answer = join(address, keys, wait_s, say)
        say(f"joined {where} as {answer['name']}")
        code = _play(address, answer)
        if code == 0:
            say("the run is over")
            return
        if code not in (EXPELLED, FORSAKEN):
            raise DriverError(f"load: the worker ended with code {code}; what it said above says why")
        say("the master gave this worker up; joining again" if code == EXPELLED else "no word from the master")


def token_from(file: Path | None) -> str:
    """The token in a file, or in LCH_WORKER_TOKEN. Raises DriverError when there is none."""
    if file is None:
        token = os.environ.get(TOKEN_VARIABLE, "")
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DriverError(f"load: --token-file {file}: cannot be read: {error}") from error
    if not token:
        raise DriverError(f"load: no token; set {TOKEN_VARIABLE} or give --token-file")
    return token


def join(address: Address, keys: Keys, wait_s: float, say: Callable[[str], None]) -> Mapping[str, Any]:
    """The master's answer to the request for a seat. Raises DriverError."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
        asking.linger = 0
        asking.ipv6 = ":" in address.host
        name = f"join-{secrets.token_hex(8)}"
        asking.identity = name.encode()
        secure_worker(asking, keys)
        watching = asking.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | _HANDSHAKE_FAILED)
        asking.connect(f"tcp://{_bracketed(address.host)}:{address.port}")
        request = {"versions": versions(), "host": socket.gethostname()}
        with suppress(zmq.Again):  # refused in words that are not ZeroMQ's, the socket has no one left to send to
            asking.send(msgpack.dumps(("join", request, name)), zmq.NOBLOCK)
        try:
            return _answer(asking, watching, f"{address.host}:{address.port}", wait_s, say)
        finally:
            asking.disable_monitor()
            watching.close(linger=0)


def _answer(
    asking: zmq.Socket[bytes], watching: zmq.Socket[bytes], where: str, wait_s: float, say: Callable[[str], None]
) -> Mapping[str, Any]:
    poller = zmq.Poller()
    poller.register(asking, zmq.POLLIN)
    poller.register(watching, zmq.POLLIN)
    reached = opened = shut = 0
    until_s = time.monotonic() + wait_s
    while (left_s := until_s - time.monotonic()) > 0:
        ready = dict(poller.poll(int(left_s * 1000) + 1))
        if asking in ready:
            kind, values, _ = msgpack.loads(asking.recv())
            if kind == "refused":
                raise DriverError(f"load: the master at {where} refuses this worker: {values['why']}")
            return dict(values)
        if watching in ready:
            event = recv_monitor_message(watching)["event"]
            reached += event == zmq.EVENT_CONNECTED
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                opened += 1
                until_s = time.monotonic() + ANSWER_S
            elif event & _HANDSHAKE_FAILED:
                shut += 1
                if shut == 1:
                    say(f"{where} {_SHUT}; trying for {wait_s:.0f} s")
    if opened:
        raise DriverError(f"load: the master at {where} did not answer within {ANSWER_S:.0f} s")
    if shut:
        raise DriverError(f"load: {where} {_SHUT} (waited {wait_s:.0f} s)")
    why = "does not speak to this worker; is it a master" if reached else "is not there"
    raise DriverError(f"load: the master at {where} {why} (waited {wait_s:.0f} s)")


def _play(address: Address, answer: Mapping[str, Any]) -> int:
    """Run the load process in its seat; how it ended."""
    with tempfile.TemporaryDirectory(prefix="lch-worker-") as directory:
        seat = seated(answer, Path(directory))
        command = [sys.executable, "-m", "harness.drivers.locust.worker"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(f"{seat.to_json()}\n{address.to_json()}\n".encode())
            process.stdin.flush()
            try:
                return process.wait()
            finally:
                process.kill()  # when this process is told to end, so is that one


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
