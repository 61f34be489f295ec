"""Locust's own sockets, secured: what its runners find where they look for `rpc`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import zmq.green as zmq
from locust import runners
from locust.exception import RPCError
from locust.rpc import zmqrpc
from locust.rpc.protocol import Message
from zmq import Socket as PlainSocket

from harness.drivers.locust.channel import Keys, authenticate, authenticator, secure_master, secure_worker

_MORE, _LAST = int(zmq.SNDMORE | zmq.NOBLOCK), int(zmq.NOBLOCK)  # a router drops rather than block


def install(keys: Keys) -> None:
    """Give every runner that is made from now on sockets with these keys."""
    sockets = SimpleNamespace(
        Server=lambda host, port: _Server(host, port, keys),
        Client=lambda host, port, identity: _Client(host, port, identity, keys),
    )
    vars(runners)["rpc"] = sockets


class _Server(zmqrpc.Server):
    """The master's socket."""

    def __init__(self, host: str, port: int, keys: Keys) -> None:
        zmqrpc.BaseSocket.__init__(self, zmq.ROUTER, self.ipv4_only(host, port))  # type: ignore[no-untyped-call]
        self._authenticator = authenticator(self.socket.context)
        gevent.spawn(_authenticate_for_ever, self._authenticator, keys)
        secure_master(self.socket, keys)
        try:
            if port == 0:
                self.port = self.socket.bind_to_random_port(_url(host))
            else:
                self.socket.bind(f"{_url(host)}:{port}")
                self.port = port
        except zmq.ZMQError as error:
            raise RPCError(f"cannot listen on {host}:{port}: {error}") from error

    def answer(self, kind: str, data: object, worker: str) -> None:
        """
        Send to a worker, as `send_to_client` does, at a third of the cost.

        Only for whoever was called with a message that was just received: he alone need not look whether the socket's
        state has changed, since the next thing done with it is to receive.
        """
        message = Message(kind, data, worker).serialize()  # type: ignore[no-untyped-call]
        PlainSocket.send(self.socket, worker.encode(), _MORE)
        PlainSocket.send(self.socket, message, _LAST)


class _Client(zmqrpc.Client):
    """A worker's socket."""

    def __init__(self, host: str, port: int, identity: str, keys: Keys) -> None:
        zmqrpc.BaseSocket.__init__(self, zmq.DEALER, self.ipv4_only(host, port))  # type: ignore[no-untyped-call]
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        secure_worker(self.socket, keys)
        self.socket.connect(f"{_url(host)}:{port}")


def _authenticate_for_ever(socket: Any, keys: Keys) -> None:
    while True:
        authenticate(socket, keys)


def _url(host: str) -> str:
    return f"tcp://[{host}]" if ":" in host else f"tcp://{host}"
