"""
The HTTP session that prometheus-api-client is given: time limits, headers and TLS, and nothing of an answer lost.

The library hands back `data.result` only, has no time limit of its own and turns every refusal into one exception type.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests

from harness.plan.model import Prometheus

WORTH_RETRYING = frozenset({408, 429, 500, 502, 503, 504})
INFO = "PromQL info: "  # how Prometheus itself marks an annotation that does not make the answer doubtful


class UnavailableError(Exception):
    """Prometheus did not answer, or said that it cannot answer now."""


class RefusedError(Exception):
    """Prometheus answered, and asking again would not change the answer."""


class Session(requests.Session):
    """What the library asks of the network: with time limits, and nothing of the answer lost."""

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
        kwargs["timeout"] = self._limits_s
        try:
            response = super().request(*args, **kwargs)
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        except requests.RequestException as error:
            raise UnavailableError(_plainly(error, self._limits_s[1])) from error
        if response.status_code in WORTH_RETRYING:
            raise UnavailableError(f"HTTP {response.status_code}: {_said(answer, response)}")
        if response.status_code != 200 or not isinstance(answer, dict) or "data" not in answer:
            raise RefusedError(f"HTTP {response.status_code}: {_said(answer, response)}")
        self.annotations += answer.get("warnings") or ()
        self.annotations += [INFO + info.removeprefix(INFO) for info in answer.get("infos") or ()]
        return response


def _said(answer: Any, response: requests.Response) -> str:
    """Prometheus' own error message, or the first line of whatever it was that answered instead."""
    if isinstance(answer, dict) and "error" in answer:
        return str(answer["error"])
    first = (response.text.strip().splitlines() or ["an empty body"])[0]
    return f"not a Prometheus answer: {first[:120]}"


def _plainly(error: BaseException, timeout_s: float) -> str:
    """A network error in a few words, instead of three nested representations."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {timeout_s:g} s"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error)
