from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fake_prometheus import Answer, FakePrometheus


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str], Answer]], FakePrometheus]]:
    started: list[FakePrometheus] = []

    def start(answer: Callable[[str], Answer]) -> FakePrometheus:
        started.append(FakePrometheus(answer))
        return started[-1]

    yield start
    for one in started:
        one.close()
