"""What `harness judge` makes of a record."""

from __future__ import annotations

import pytest

from harness.cli.judging import fact


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["harness", "run", "my shop.yaml"], "harness run 'my shop.yaml'"),
        ({"locust": "2.47.0", "kubernetes": "35.0.0"}, "locust 2.47.0, kubernetes 35.0.0"),
        (2, "2"),
    ],
)
def test_the_environment_is_shown_as_a_person_would_write_it(value: object, told: str) -> None:
    """Not as Python does: the command can be copied."""
    assert fact(value) == told
