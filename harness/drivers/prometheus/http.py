"""
The HTTP session that prometheus-api-client is given: time limits, headers and TLS, and nothing of an answer lost.

The library hands back `data.result` only, has no time limit of its own and turns every refusal into one exception type.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from harness.plan.model import Prometheus

WORTH_RETRYING = frozenset({408, 429, 500, 502, 503, 504})
INFO = "PromQL info: "  # how Prometheus itself marks an annotation that does not make the answer doubtful
BYTES_MAX = 64 << 20  # of one answer; about two million samples
PATIENCE = 3  # an answer must be whole within this many times the service's timeout, however steadily it trickles

_PIECE = 1 << 16


class UnavailableError(Exception):
    """Prometheus did not answer, or said that it cannot answer now."""


class RefusedError(Exception):
    """Prometheus answered, and asking again would not change the answer."""


class Session(requests.Session):
    """What the library asks of the network: with limits of time and size, and nothing of the answer lost."""

    def __init__(self, prometheus: Prometheus) -> None:
        super().__init__()
        self._limits_s = (prometheus.timeout_s, prometheus.timeout_s)  # to connect, and between bytes
        self.headers.update(dict(prometheus.headers))
        self.verify = prometheus.ca_file if prometheus.verify and prometheus.ca_file else prometheus.verify
        if (urlsplit(prometheus.url).hostname or "") in {"127.0.0.1", "::1", "localhost"}:
            self.trust_env = False  # a proxy of the environment never leads to this host's own loopback
        self.annotations: list[str] = []  # of all answers since whoever reads them emptied the list

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Raises UnavailableError where another try may help, RefusedError where it would not."""
        kwargs |= {"timeout": self._limits_s, "stream": True}
        until_s = time.monotonic() + PATIENCE * self._limits_s[1]
        try:
            with super().request(*args, **kwargs) as response:
                response._content = _whole(response, until_s)  # noqa: SLF001 - where requests itself puts it
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        except (requests.RequestException, HTTPError, OSError) as error:
            raise UnavailableError(_plainly(error, self._limits_s[1])) from error
        if response.status_code in WORTH_RETRYING:
            raise UnavailableError(f"HTTP {response.status_code}: {_said(answer, response)}")
        if response.status_code != 200 or not isinstance(answer, dict) or "data" not in answer:
            raise RefusedError(f"HTTP {response.status_code}: {_said(answer, response)}")
        self.annotations += answer.get("warnings") or ()
        self.annotations += [INFO + info.removeprefix(INFO) for info in answer.get("infos") or ()]
        return response


def _whole(response: requests.Response, until_s: float) -> bytes:
    """The body, read as it comes; raises where it is too large, or not whole in time."""
    body = bytearray()
    while piece := response.raw.read1(_PIECE, decode_content=True):
        body += piece
        if len(body) > BYTES_MAX:
            raise RefusedError(f"the answer is larger than {BYTES_MAX >> 20} MB; narrow the selector")
        if time.monotonic() > until_s:
            raise requests.Timeout("trickling")
    return bytes(body)


def _said(answer: Any, response: requests.Response) -> str:
    """Prometheus' own error message, or the first line of whatever it was that answered instead."""
    if isinstance(answer, dict) and "error" in answer:
        return str(answer["error"])
    first = (response.text.strip().splitlines() or ["an empty body"])[0]
    return f"not a Prometheus answer: {first[:120]}"


def _plainly(error: BaseException, timeout_s: float) -> str:
    """A network error in a few words, instead of three nested representations."""
    if isinstance(error, (requests.Timeout, TimeoutError)) or "timed out" in str(error):
        return f"no whole answer within {timeout_s:g} s"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error)
