"""Processes outside the sandbox that its Prometheus scrapes as well, for as long as they want."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.sandbox.files import Endpoints, StateDir, runs, write_atomically


@contextmanager
def scraped(endpoints: Endpoints, address: str, labels: Mapping[str, str]) -> Iterator[None]:
    """While entered, the sandbox's Prometheus scrapes `address` ("127.0.0.1:9646", /metrics), and adds `labels`."""
    folder = StateDir(Path(endpoints.state_dir)).guests
    for left in folder.glob("*.json"):  # by processes that were killed
        if not runs(int(left.stem), before_s=left.stat().st_mtime):
            left.unlink(missing_ok=True)
    mine = folder / f"{os.getpid()}.json"
    write_atomically(mine, json.dumps([{"targets": [address], "labels": dict(labels)}]))
    try:
        yield
    finally:
        mine.unlink(missing_ok=True)  # the sandbox may be gone by now
