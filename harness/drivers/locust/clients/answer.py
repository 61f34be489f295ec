"""What a request of the fast user gives: the answer, or what became of it instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

from locust.exception import CatchResponseError, LocustError, ResponseError
from requests.structures import CaseInsensitiveDict

from harness.drivers.locust.clients.wire import read_head
from harness.drivers.locust.outcomes import RequestError


class Answer:
    """
    The answer to a request.

    `status_code` is 0 and `content` empty when there was none; `error` then says why, as it does for a status of 400 or
    more, and is None otherwise. `peer` is the address that answered.
    """

    __slots__ = ("content", "elapsed_ns", "error", "head", "peer", "status_code", "url")

    def __init__(self, url: str) -> None:
        self.url = url  # of the last request, when it was redirected
        self.status_code = 0
        self.content = b""
        self.error: Exception | None = None
        self.head = b""  # as it came
        self.peer = ""
        self.elapsed_ns = 0

    @property
    def ok(self) -> bool:
        """Whether the request was answered with a status below 400."""
        return self.error is None

    @property
    def error_class(self) -> str | None:
        """The class of the failure, None without one."""
        return self.error.error_class if isinstance(self.error, RequestError) else None

    @property
    def headers(self) -> CaseInsensitiveDict[str]:
        """The header fields."""
        return read_head(self.head)

    @property
    def text(self) -> str:
        """The content as text, in the character set its header names, else UTF-8."""
        kind = self.headers.get("Content-Type", "")
        charset = kind.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
        try:
            return self.content.decode(charset or "utf-8", errors="replace")
        except LookupError:  # a character set nobody knows
            return self.content.decode("utf-8", errors="replace")

    @property
    def elapsed(self) -> timedelta:
        """From the sending to the whole answer."""
        return timedelta(microseconds=self.elapsed_ns / 1000)

    def json(self) -> Any:
        """The content as JSON."""
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        """Raise `error`, if there is any."""
        if self.error is not None:
            raise self.error

    def success(self) -> None:
        """Only with `catch_response=True`."""
        raise LocustError("success() needs a with block: with client.get(path, catch_response=True) as answer")

    def failure(self, _error: object) -> None:
        """Only with `catch_response=True`."""
        raise LocustError("failure() needs a with block: with client.get(path, catch_response=True) as answer")


class CheckedAnswer(Answer):
    """An answer that a with block judges; what became of the request is counted when the block ends."""

    def __init__(self, url: str, report: Callable[[Answer], None]) -> None:
        super().__init__(url)
        self._report = report
        self._judged = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object) -> bool:
        if self._judged or error is None:
            self._report(self)
            return error is None
        if not isinstance(error, ResponseError):
            return False  # the task breaks off, and says so itself
        self.error = error
        self._report(self)
        return True

    def success(self) -> None:
        """The answer is as it should be, whatever its status."""
        self._judged, self.error = True, None

    def failure(self, error: object) -> None:
        """The answer is not as it should be: class validation, unless it had failed already."""
        self._judged = True
        was = self.error
        self.error = error if isinstance(error, Exception) else CatchResponseError(error)
        self.error.__cause__ = was
