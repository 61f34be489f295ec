"""Locust's clients and ours against servers that misbehave: every failure has the class of its cause."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rogue import BIG, certificate, full_port, refusing_port, rogue_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]

CLIENTS = ("Requests", "Fast", "Ours")  # HttpUser, FastHttpUser, FastUser
ALIKE = {
    "dns": "dns",
    "connect_refused": "connect_refused",
    "connect_timeout": "connect_timeout",
    "untrusted": "tls",
    "not_tls": "tls",
    "cut": "reset",
    "reset": "reset",
    "cut_in_body": "reset_in_body",
    "cut_in_chunk": "reset_in_body",
    "reset_in_body": "reset_in_body",
    "hang": "read_timeout",
    "hang_in_body": "read_timeout",
    "garbage": "bad_response",
    "http_404": "http_404",
    "http_503": "http_503",
    "ok": None,
    "checked": "validation",
    "checked_503": "http_503",
    "checked_refused": "connect_refused",
    "forgiven": None,
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the probe saw: one process for all tests of this module."""
    folder = tmp_path_factory.mktemp("tls")
    secure, strict = certificate(folder)
    with (
        rogue_server() as good,
        rogue_server() as other,
        rogue_server() as counting,
        rogue_server(secure) as tls,
        rogue_server(strict) as mtls,
        refusing_port() as refusing,
        full_port() as full,
    ):
        good.other = f"http://127.0.0.1:{other.port}"
        at = {"good": good.port, "counting": counting.port, "tls": tls.port, "mtls": mtls.port}
        at |= {"refusing": refusing, "full": full, "cert": str(folder / "cert.pem")}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("probe.py")), json.dumps(at)],
            capture_output=True,
            check=False,
            text=True,
            timeout=80,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) | {"away": good.other}


@pytest.mark.parametrize("client", CLIENTS)
def test_failures_have_the_same_class_with_every_client(told, client):
    """Each made by a real server: names that do not resolve, full backlogs, resets, hangs, garbage."""
    assert {case: told[client][case] for case in ALIKE} == ALIKE


def test_a_kept_connection_that_the_server_closed_is_a_class_of_its_own(told):
    """geventhttpclient does not tell, so FastHttpUser's count as reset."""
    assert {client: told[client]["stale"] for client in CLIENTS} == {
        "Requests": [None, "stale_connection"],
        "Fast": [None, "reset"],
        "Ours": [None, "stale_connection"],
    }


def test_an_answer_cut_short_inside_its_compression_is_bad_unless_requests_reads_it(told):
    """requests takes what it got for the whole."""
    assert {client: told[client]["broken_gzip"] for client in CLIENTS} == {
        "Requests": None,
        "Fast": "bad_response",
        "Ours": "bad_response",
    }


def test_the_fast_user_asks_once_where_fast_http_user_asks_again_and_again(told):
    """geventhttpclient repeats a GET whose connection was closed before the answer; the load record cannot see it."""
    assert told["asked"]["ours"] == 1
    assert told["asked"]["fast"] > 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("one", [200, "ok", None]),
        ("none", [204, "", None]),
        ("same", [304, "", None]),
        ("chunked", [200, "abcde", None]),
        ("interim", [200, "ok", None]),
        ("gzip", [200, "squeezed", None]),
        ("deflate", [200, "squeezed", None]),
        ("extra", [200, "ok", None]),
        ("twice", [200, "ok", None]),
        ("until-close", [200, "as long as it lasts", None]),
        ("ok", [200, "ok", None]),  # what came after "twice" was not taken for its answer
        ("cut-in-head", [0, "", "reset_in_body"]),
        ("after a cut", [200, "ok", None]),
        ("unfollowed", [302, "", None]),
        ("endless", [301, "", "bad_response"]),
    ],
)
def test_the_fast_user_reads_every_kind_of_answer(told, path, expected):
    assert told["ours"][path] == expected


def test_the_answer_to_a_head_has_no_body_and_the_connection_goes_on(told):
    assert told["ours"]["head"] == [[200, "", None], [200, "", None], "2"]


def test_megabytes_go_both_ways(told):
    assert told["ours"]["big"] == len(BIG)
    assert told["ours"]["upload"] is True


def test_what_is_asked_for_is_what_is_sent(told):
    post, form = told["ours"]["post"].split("\r\n"), told["ours"]["form"].split("\r\n")
    assert post[0] == "POST /echo?q=x+y HTTP/1.1"
    assert {"Content-Type: application/json", "Accept: application/json", "X-One: 1", "Content-Length: 8"} < {*post}
    assert post[-2:] == ["", '{"a": 1}']
    assert {"Content-Type: application/x-www-form-urlencoded", "Authorization: Basic bWU6cHc="} < {*form}
    assert form[-2:] == ["", "a=b+c"]
    assert told["ours"]["bad header"].startswith("header 'X': 'a\\r\\nb': not a header")


def test_redirects_are_followed_when_asked_for(told):
    """A POST becomes a GET after 302 and stays one after 307; what is secret stays with its origin."""
    assert told["ours"]["followed"] == "GET /echo HTTP/1.1"
    assert told["ours"]["kept"] == "POST /echo HTTP/1.1"
    assert told["ours"]["away"] == [f"{told['away']}/echo", False, True]
    assert told["ours"]["nowhere"] == "bad_response"


def test_cookies_come_back(told):
    assert told["ours"]["cookies"] == ["Cookie: a=1; b=2"]


def test_answers_know_who_gave_them(told):
    assert told["ours"]["peer"] is True


def test_one_user_may_make_requests_in_parallel(told):
    assert told["ours"]["parallel"] == [200, 200, 200]


def test_tls_is_checked_and_fails_as_plain_connections_do(told):
    ok = [200, "ok", None]
    assert told["ours"]["tls"] == [ok, ok, len(BIG), [0, "", "reset_in_body"], [0, "", "read_timeout"]]
    assert told["ours"]["wrong name"] == "tls"
    assert told["ours"]["insecure"] == ok
    assert told["ours"]["no certificate"] == "tls"  # which the server says after the handshake


def test_what_tls_has_to_say_itself_waits_for_what_is_being_sent(told):
    assert told["in order"] == [1_000_000, "END"]


def test_connections_are_kept_until_their_age_or_number_of_requests(told):
    """Twelve requests at least 60 ms long: one connection, several, one for every four."""
    seen = told["connections"]
    assert seen["for ever"] == 1
    assert seen["by age"] >= 2
    assert seen["by requests"] == 4  # twelve, and one that asks how many
