"""verdict.json: the verdict as a JSON document. An API; its order and its bytes are deterministic."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from enum import Enum

from harness.plan.model import Source
from harness.verdict.model import Verdict

FORMAT = 1

_DIGITS = 9  # significant; enough for nanoseconds in a second, few enough to hide the last bit of a float


def document(verdict: Verdict) -> dict[str, object]:
    """The verdict as plain JSON values, in the order of the model; what is not a finite number is null."""
    return {"format": FORMAT, **_object(verdict)}


def text(verdict: Verdict) -> str:
    """verdict.json: equal verdicts give equal bytes."""
    return json.dumps(document(verdict), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _object(value: object) -> dict[str, object]:
    assert is_dataclass(value)
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: object) -> object:
    if isinstance(value, Source):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _object(value) if is_dataclass(value) else value


def _rounded(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return float(f"{value:.{_DIGITS}g}") + 0.0  # + 0.0 turns -0.0 into 0.0
