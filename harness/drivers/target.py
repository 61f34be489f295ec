"""Whether anything listens where the load is meant to go."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from harness.errors import DriverError

_PORTS = {"http": 80, "https": 443}


def address_of(url: str) -> tuple[str, int]:
    """Host and port that a URL leads to; raises DriverError for a URL without host or of an unknown scheme."""
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError) as error:
        raise DriverError(f"target {url}: not an http or https URL") from error
    if not parts.hostname:
        raise DriverError(f"target {url}: names no host")
    return parts.hostname, port


def reach(url: str, *, timeout_s: float = 3.0) -> None:
    """Open and close one connection to the target; raises DriverError when nothing answers."""
    host, port = address_of(url)
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError as error:
        hint = "start the service, or correct `url` in the service file"
        raise DriverError(f"target {url}: no connection: {error}", hint=hint) from error
