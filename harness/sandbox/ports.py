"""Free TCP ports for processes that must be told which port to listen on."""

from __future__ import annotations

import os
import socket
import time
from collections import deque

FIRST, LAST = 20_000, 32_000
"""
Below the range from which systems take the ports of outgoing connections (Linux from 32,768, macOS from 49,152): a
port found free here is not taken by the next outgoing connection before its process listens.
"""


CLAIM_S = 60.0
"""How long a port that was handed out is kept from other sandboxes; its process listens long before that is over."""


class Ports:
    """
    Hands out each free port once in a while; sandboxes side by side begin at different ones.

    Until the process listens, anybody would find its port free. So the UDP port of the same number, which nobody else
    wants, is bound as a sign to other sandboxes: else one's clients might reach the other's pods.
    """

    def __init__(self) -> None:
        self._next = FIRST + os.getpid() * 37 % (LAST - FIRST)
        self._claims: deque[tuple[float, socket.socket]] = deque()

    def take(self) -> int:
        """A port of 127.0.0.1 on which nobody listens, nor is about to."""
        while self._claims and time.monotonic() - self._claims[0][0] > CLAIM_S:
            self._claims.popleft()[1].close()
        for _ in range(LAST - FIRST):
            port = self._next
            self._next = FIRST + (self._next + 1 - FIRST) % (LAST - FIRST)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                try:
                    probe.bind(("127.0.0.1", port))
                    claim.bind(("127.0.0.1", port))
                except OSError:
                    claim.close()
                    continue
                self._claims.append((time.monotonic(), claim))
                return port
        raise OSError(f"no free port on 127.0.0.1 between {FIRST} and {LAST}")

    def close(self) -> None:
        """Keep no port from others any more."""
        while self._claims:
            self._claims.popleft()[1].close()
