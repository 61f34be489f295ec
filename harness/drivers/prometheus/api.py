"""Prometheus' HTTP API as the driver uses it: one question at a time, exact instants, retries bounded by time."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from harness.drivers.prometheus.http import Session, UnavailableError
from harness.drivers.prometheus.questions import Question
from harness.plan.model import Prometheus

RETRY_TIMEOUTS = 3  # a query is tried for this many times its timeout
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0

_EPOCH = datetime.fromtimestamp(0, UTC)  # stands where the library wants a datetime that our `params` override


class Api:
    """Asks Prometheus; every method raises UnavailableError or RefusedError. Waiting ends when `closing` is set."""

    def __init__(self, prometheus: Prometheus, closing: threading.Event) -> None:
        self.url = prometheus.url
        self._timeout_s = prometheus.timeout_s
        self._limit = {"timeout": f"{round(prometheus.timeout_s * 1000)}ms"}  # ends the evaluation on the server, too
        self._session = Session(prometheus)
        self._closing = closing
        no_retries = Retry(0, read=False)  # ours are bounded by time, and end when the driver is closed
        self._connect = PrometheusConnect(prometheus.url.rstrip("/"), session=self._session, retry=no_retries)

    def instant(self, query: str) -> Any:
        """The result of a query now."""
        return self._connect.custom_query(query, params=dict(self._limit))

    def send(self, question: Question) -> Any:
        """The result of a question."""
        if not question.step_ms:
            return self._connect.custom_query(question.query, params={"time": _instant(question.at_ms), **self._limit})
        exact = {"start": _instant(question.from_ms), "end": _instant(question.at_ms)}
        return self._connect.custom_query_range(
            question.query, _EPOCH, _EPOCH, step=f"{question.step_ms}ms", params={**exact, **self._limit}
        )

    def metric_names(self) -> list[str]:
        """The names of all metrics it has."""
        return list(self._connect.get_label_values("__name__"))

    def retried(self, question: Question) -> Any:
        """The result of a question, however often it takes to get it within RETRY_TIMEOUTS times the timeout."""
        began_s = time.monotonic()
        until_s = began_s + RETRY_TIMEOUTS * self._timeout_s
        pause_s, tries = FIRST_PAUSE_S, 0
        while True:
            tries += 1
            try:
                return self.send(question)
            except UnavailableError as error:
                if time.monotonic() + pause_s >= until_s or self._closing.wait(pause_s):
                    raise UnavailableError(f"{error} ({tries} tries in {time.monotonic() - began_s:.1f} s)") from error
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def forget_warnings(self) -> None:
        """Begin to collect warnings anew."""
        self._session.annotations.clear()

    def warnings(self) -> tuple[str, ...]:
        """What Prometheus warned of since then, each once."""
        return tuple(dict.fromkeys(self._session.annotations))

    def close(self) -> None:
        """Close the connections."""
        self._connect.close()


def _instant(unix_ms: int) -> str:
    return f"{unix_ms // 1000}.{unix_ms % 1000:03d}"
