"""
The channel between the master and its workers: Locust's own ZeroMQ sockets, authenticated and encrypted by CURVE.

Who holds the token may take part, and nobody else. Both long-term key pairs (Curve25519, libzmq's CURVE mechanism) are
derived from it with scrypt: the master's, without whose public half no handshake can even begin, and the common one of
the workers, which the master's authenticator demands. Every connection has keys of its own besides.

What that holds off: somebody who can reach the port, or listen to or alter what passes, learns neither the plan nor the
locustfile, cannot send counts, and cannot make a worker run his code. What it does not: a token that can be guessed (a
recorded handshake lets guesses be tried at scrypt's pace, hence at least TOKEN_MIN characters; take
`openssl rand -hex 16`), one worker reading or posing as another (they share the token, and all run the same
locustfile), and a flood of connections. A token reaches a process by its environment, a file or a pipe, never by its
arguments, which everybody on the machine can read. Without remote workers the token is a random one of each run and the
master listens on loopback alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils import z85

TOKEN_MIN = 16  # characters
TOKEN_VARIABLE = "LCH_WORKER_TOKEN"

_SALT = b"load-chaos-harness worker channel 1"
_DOMAIN = b"workers"
_ZAP = "inproc://zeromq.zap.01"  # where libzmq asks who may connect: https://rfc.zeromq.org/spec/27


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The key pairs that a token stands for, in Z85."""

    master_public: bytes
    master_secret: bytes
    worker_public: bytes
    worker_secret: bytes


def keys_of(token: str) -> Keys:
    """The keys of a token; takes about 50 ms on purpose."""
    material = hashlib.scrypt(token.encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=64)
    master, worker = z85.encode(material[:32]), z85.encode(material[32:])
    return Keys(
        master_public=zmq.curve_public(master),
        master_secret=master,
        worker_public=zmq.curve_public(worker),
        worker_secret=worker,
    )


def secure_worker(socket: Any, keys: Keys) -> None:
    """Make a socket that is not connected yet one of a worker."""
    socket.curve_serverkey = keys.master_public
    socket.curve_publickey = keys.worker_public
    socket.curve_secretkey = keys.worker_secret


def secure_master(socket: Any, keys: Keys) -> None:
    """Make a socket that is not bound yet the master's. Its context needs an `authenticate` that goes on."""
    socket.curve_server = True
    socket.curve_secretkey = keys.master_secret
    socket.zap_domain = _DOMAIN
    socket.router_handover = True  # a worker that lost its connection comes back under the same name


def authenticator(context: Any) -> Any:
    """The socket on which libzmq asks who may connect; to be bound before the master's is."""
    socket = context.socket(zmq.REP)
    socket.linger = 0
    socket.bind(_ZAP)
    return socket


def authenticate(socket: Any, keys: Keys) -> None:
    """Answer one question of libzmq: yes to the workers' key, no to all others."""
    version, request, domain, _address, _identity, mechanism, *credentials = socket.recv_multipart()
    known = domain == _DOMAIN and mechanism == b"CURVE" and credentials == [z85.decode(keys.worker_public)]
    socket.send_multipart([version, request, b"200" if known else b"400", b"", b"", b""])


def address_of(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, an IPv6 host in brackets. Raises ValueError when it is something else."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return host, int(port)
