"""Free TCP ports for processes that must be told which port to listen on."""

from __future__ import annotations

import os
import socket

FIRST, LAST = 20_000, 32_000
"""
Below the range from which systems take the ports of outgoing connections (Linux from 32,768, macOS from 49,152): a
port found free here is not taken by the next outgoing connection before its process listens.
"""


class Ports:
    """Hands out each free port once in a while; sandboxes side by side begin at different ones."""

    def __init__(self) -> None:
        self._next = FIRST + os.getpid() * 37 % (LAST - FIRST)

    def take(self) -> int:
        """A port of 127.0.0.1 on which nobody listens."""
        for _ in range(LAST - FIRST):
            port = self._next
            self._next = FIRST + (self._next + 1 - FIRST) % (LAST - FIRST)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
        raise OSError(f"no free port on 127.0.0.1 between {FIRST} and {LAST}")
