from collections.abc import Callable
from pathlib import Path

import pytest

TREE = Path(__file__).parent / "tree"

Reader = Callable[[str], str | None]


@pytest.fixture
def reader_of() -> Callable[[dict[str, str]], Reader]:
    """A reader of the files in `tree/`, with other texts laid over them."""

    def overlaid(texts: dict[str, str]) -> Reader:
        def read(path: str) -> str | None:
            if path in texts:
                return texts[path]
            file = TREE / path
            return file.read_text(encoding="utf-8") if file.is_file() else None

        return read

    return overlaid
