"""WebSocket and gRPC users against real servers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from protocol_servers import grpc_server, websockets
from rogue import refusing_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def told():
    """What the probe saw: one process for all tests of this module."""
    with websockets() as server, grpc_server() as (port, _), refusing_port() as refusing:
        at = json.dumps({"websocket": server.port, "grpc": port, "refusing": refusing})
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("protocol_probe.py")), at],
            capture_output=True,
            check=False,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def test_websocket_messages_are_sent_and_answered(told):
    """Text, bytes, messages in several frames with a ping between, messages that wait, and one that matches."""
    chat = told["chat"]
    assert chat["echo"] == "hello"
    assert chat["bytes"] == "0001"
    assert chat["two"] == ["first of two", "second of two"]
    assert chat["match"] == "second of two"
    assert (chat["sent"], chat["later"]) == (True, "later")
    assert chat["peer"] is True
    assert chat["after a cut"] == "still there"


def test_websocket_messages_nobody_waits_for_are_not_kept_for_ever(told):
    assert told["chat"]["kept"] == 1000


def test_websocket_calls_are_counted_and_their_failures_classed(told):
    assert told["chat"]["seen"] == [
        ["CALL", "echo", None],
        ["CALL", "echo", None],
        ["CALL", "two", None],
        ["RECEIVE", "rest", None],
        ["CALL", "two", None],
        ["SEND", "tell", None],
        ["RECEIVE", "told", None],
        ["CALL", "hang", "read_timeout"],
        ["CALL", "reset", "reset"],
        ["CALL", "half", "reset_in_body"],
        ["CALL", "close", "websocket_1011"],
        ["CALL", "frame", "bad_response"],
        ["CALL", "again", None],  # on a new connection
        ["CONNECT", "/refuse", "http_503"],
        ["CONNECT", "/garbage", "bad_response"],
        ["CONNECT", "come in", None],
        ["CALL", "x", None],
        ["CALL", "x", None],
        ["CALL", "refused", "connect_refused"],
    ]


def test_grpc_calls_of_all_four_kinds_are_answered(told):
    calls = told["calls"]
    assert calls["once"] == "hello"
    assert calls["many"] == ["one", "two"]
    assert calls["gather"] == "a+b"
    assert calls["echo"] == ["a", "b"]
    assert calls["young"] == ["x", "x", "x"]  # each on a connection of its own


def test_a_grpc_host_may_leave_its_port_out(told):
    assert told["calls"]["targets"] == ["shop:80", "[::1]:80", "shop:443", "[::1]:50051"]


def test_a_grpc_call_can_be_cut_and_its_connection_goes_on(told):
    assert told["calls"]["cut"] is True
    assert told["calls"]["after a cut"] == "still there"


def test_grpc_calls_are_counted_and_their_failures_classed(told):
    once = [error for _, name, error in told["calls"]["seen"] if name == "/shop.Shop/Once"]
    assert once == [
        None,
        "grpc_internal",
        "grpc_not_found",
        "grpc_unavailable",
        "read_timeout",
        None,
        *[None] * 3,
        "reset",
    ]
    assert [error for _, name, error in told["calls"]["seen"] if name == "/shop.Shop/Many"] == [None, "grpc_internal"]
    assert [error for _, name, error in told["calls"]["seen"] if name == "/lost"] == ["dns", "connect_refused", "tls"]
    assert {kind for kind, _, _ in told["calls"]["seen"]} == {"RPC"}
