"""The metrics endpoint on a real socket."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from conductor_stage import small_plan

from harness.drivers.base import LoadBatch
from harness.drivers.metrics import MetricsServer
from harness.errors import CannotRunError, ExitCode
from harness.history.load import LoadFrame

pytestmark = pytest.mark.real


@contextmanager
def served(address: str = "127.0.0.1:0") -> Iterator[MetricsServer]:
    with closing(MetricsServer(small_plan(), address)) as server:
        yield server


def page(server: MetricsServer) -> str:
    with urllib.request.urlopen(f"http://{server.address}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def test_it_serves_what_it_is_told_and_counts_who_asks() -> None:
    with served() as server:
        assert 'load_arrivals_offered_total{stream=""} 0.0' in page(server)
        server.count(LoadBatch(frames=(LoadFrame(second=0, series="", planned=5),), health=()))
        assert 'load_arrivals_offered_total{stream=""} 5.0' in page(server)
        assert server.scrapes() == (2, 0)


def test_a_port_in_use_is_said_before_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CannotRunError, match=f"cannot listen on {address}: .*in use") as caught:
            MetricsServer(small_plan(), address)
    assert caught.value.exit_code is ExitCode.ENVIRONMENT
    assert caught.value.hint is not None


@pytest.mark.parametrize("address", ["127.0.0.1:no", "127.0.0.1:99999", "nowhere"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(CannotRunError, match=address):
        MetricsServer(small_plan(), address)


def test_nothing_listens_after_close_and_the_address_can_be_had_again() -> None:
    with served() as server:
        address = server.address
    server.close()
    with pytest.raises(urllib.error.URLError):
        page(server)
    with served(address) as again:
        assert again.address == address


def test_listening_everywhere_is_reached_on_loopback() -> None:
    with served("0.0.0.0:0") as server:
        assert server.address.startswith("127.0.0.1:")
        assert "load_workers" in page(server)
