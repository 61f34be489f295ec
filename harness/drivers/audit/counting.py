"""What was written and what was found, counted apart. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from harness.history.audit import Acknowledged, AuditCompleted
from harness.plan.model import Count

EXAMPLES = 10  # of each kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of the writes, and what reads showed meanwhile."""

    acknowledged: Mapping[str, Acknowledged]
    unknown: int
    refused: int
    missed: Collection[str]  # acknowledged, and a read that began after that did not see it


def counted(written: Written, found: Iterable[str], missing: Collection[str]) -> AuditCompleted:
    """
    The result: `found` is every id there was at the end, as often as it was there, `missing` what proved not to be.

    A write without an answer is never lost; one that is there twice is a duplicate whether it was acknowledged or not.
    """
    times = Counter(found)
    kinds = {
        Count.LOST: written.acknowledged.keys() & set(missing),
        Count.DUPLICATED: {name for name, count in times.items() if count > 1},
        Count.STALE: (written.acknowledged.keys() & set(written.missed)) - set(missing),
    }
    return AuditCompleted(
        acknowledged=len(written.acknowledged),
        unknown=written.unknown,
        refused=written.refused,
        lost=len(kinds[Count.LOST]),
        duplicated=len(kinds[Count.DUPLICATED]),
        stale=len(kinds[Count.STALE]),
        examples=tuple(example for kind, names in kinds.items() for example in _examples(kind, names, written)),
    )


def _examples(kind: Count, names: Iterable[str], written: Written) -> list[tuple[str, str, int]]:
    """The first of them, by when they were acknowledged."""
    known = written.acknowledged
    dated = sorted((known[name].acknowledged_ns if name in known else 0, name) for name in names)
    return [(kind.value, name, at_ns) for at_ns, name in dated[:EXAMPLES]]
