"""
What the data-loss audit did and found: a part of the events of a run (see `events`), and one line of its own record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStarted:
    """The writers write from here on."""

    kind: ClassVar[str] = "audit_started"
    url: str
    rate_per_s: float
    writers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReadRequested:
    """The audit was told to write no more, and to read everything back."""

    kind: ClassVar[str] = "audit_read_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCompleted:
    """
    Everything was read back. Acknowledged, unknown and refused are all that was written; the rest is explained at
    `harness.plan.model.Count`.

    `examples` are some ids of each kind of loss, the earliest first: (count, id, when it was acknowledged in
    nanoseconds since run start, or 0 where it never was).
    """

    kind: ClassVar[str] = "audit_completed"
    acknowledged: int
    unknown: int
    refused: int
    lost: int
    duplicated: int
    stale: int
    examples: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFailed:
    """The audit found out nothing: it broke, or what it wrote could not be read back. Says nothing about losses."""

    kind: ClassVar[str] = "audit_failed"
    detail: str


AuditBody = AuditStarted | AuditReadRequested | AuditCompleted | AuditFailed


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One acknowledged write, a line of audit.jsonl. Times are nanoseconds since run start."""

    id: str
    sent_ns: int  # when its first request was sent
    acknowledged_ns: int  # when the answer came


def acknowledged_line(write: Acknowledged) -> str:
    """The write as one line of JSON, without the newline."""
    return json.dumps({"id": write.id, "sent_ns": write.sent_ns, "acknowledged_ns": write.acknowledged_ns})


def acknowledged_of(line: str) -> Acknowledged:
    """The write on a line of audit.jsonl; raises ValueError when there is none."""
    try:
        value = json.loads(line)
        return Acknowledged(str(value["id"]), int(value["sent_ns"]), int(value["acknowledged_ns"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an acknowledged write: {line:.200}") from error
