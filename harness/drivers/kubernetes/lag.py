"""How late a watch shows what happened: measured on an object of ours before the run."""

from __future__ import annotations

import json
import time

from harness.drivers.kubernetes.client import ApiClient, ApiError

TIMES = 5
MARK = "lch.dev/watched"  # annotation; its value tells one change from the next
READ_S = 5.0


def watch_lag_s(api: ApiClient, collection: str, name: str) -> float:
    """
    The least time, of a few tries, from sending a change of the object to its own watch event: seconds.

    It is a bound: the part of it before the server made the change is not the watch's. Raises ApiError.
    """
    version = str(api.get(f"{collection}/{name}")["metadata"]["resourceVersion"])
    query = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "resourceVersion": version,
        "timeoutSeconds": str(int(READ_S)),
    }
    lines = api.lines(collection, query, read_s=READ_S)
    found: list[float] = []
    for number in range(TIMES):
        sent_s = time.monotonic()
        api.patch(f"{collection}/{name}", {"metadata": {"annotations": {MARK: str(number)}}})
        for line in lines:
            if _shows(line, str(number)):
                found.append(time.monotonic() - sent_s)
                break
    if not found:
        raise ApiError(f"kubernetes {api.url}: {collection}: no watch event of a change within {READ_S:g} s", None)
    return min(found)


def told(lag_s: float) -> str:
    """The measured lag as the record says it."""
    return f"{lag_s * 1000:.1f} ms at most from a change to its watch event (the least of {TIMES})"


def _shows(line: bytes, value: str) -> bool:
    try:
        return bool(json.loads(line)["object"]["metadata"]["annotations"][MARK] == value)
    except (ValueError, LookupError, TypeError):
        return False
