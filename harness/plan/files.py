"""The files a plan is made of, read through the caller's function; what cannot be read is a problem like any other."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.errors import Problem
from harness.plan import catalogue
from harness.plan.nodes import At, document

Read = Callable[[str], str | None]
"""A file's text by path; None when there is no such file. May raise UnicodeDecodeError or OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Reads files and collects what is wrong with them. `base` is the folder that relative paths start from."""

    read: Read
    base: str
    problems: list[Problem] = field(default_factory=list)

    def text(self, path: str) -> str | None:
        """The file's text; None when there is none. A file that cannot be read is recorded and empty."""
        try:
            return self.read(path)
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            what = f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        except OSError as error:
            line, what = 1, f"cannot be read: {error.strerror or error}"
        self.problems.append(Problem(path, line, "", what))
        return ""

    def first(self, paths: tuple[str, ...]) -> tuple[str, str] | None:
        """The first of the paths that exists, with its text."""
        for path in paths:
            text = self.text(path)
            if text is not None:
                return path, text
        return None

    def document(self, path: str, text: str) -> At | None:
        """A cursor on the text's document; None when that is recorded as wrong, here or before."""
        if any(problem.path == path for problem in self.problems):
            return None
        return document(path, text, self.problems)

    def referred(self, at: At) -> str | None:
        """The path that a file mentions, absolute if `base` is; recorded when there is no such file."""
        written = at.text()
        if written is None:
            return None
        path = catalogue.beside(at.path, written)
        if self.text(path) is None:
            at.wrong(f"there is no file '{path}'; paths are relative to the file they are written in")
            return None
        return self.absolute(path)

    def absolute(self, path: str) -> str:
        """The path from `base`."""
        return posixpath.normpath(posixpath.join(self.base, path))
