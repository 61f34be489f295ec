"""Requests as bytes, and bytes as answers."""

from __future__ import annotations

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.drivers.locust.clients.request import Base
from harness.drivers.locust.clients.wire import HeadReader, Reader, decoded, encode_head, field_values, read_head
from harness.drivers.locust.outcomes import RequestError

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
SHOP = Base("http://user:p%40ss@shop:8080/api/", {"X-Team": "sre"}, follow=False)


def sent(method: str, url: str, **options: object) -> list[str]:
    return SHOP.request(method, url, options).data.decode().split("\r\n")


def read(reader: Reader, data: bytes, cuts: list[int]) -> tuple[int, bytes, bool, bool]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if start < end:
            reader.feed(data[start:end])
    return reader.status, reader.content, reader.complete, reader.keep


@given(st.lists(st.integers(0, 200), max_size=6), st.sampled_from([PLAIN, CHUNKED, INTERIM + PLAIN, INTERIM + CHUNKED]))
def test_an_answer_is_read_alike_however_it_is_cut(cuts, data):
    assert read(Reader(), data, cuts) == (200, b"hello", True, True)


@given(st.lists(st.integers(0, 200), max_size=6))
def test_answers_follow_one_another_on_a_connection(cuts):
    reader = Reader()
    for status, data in ((200, PLAIN), (404, PLAIN.replace(b"200", b"404")), (200, CHUNKED)):
        reader.expect()
        assert read(reader, data, cuts) == (status, b"hello", True, True)


@given(st.integers(0, len(PLAIN) - 1))
def test_an_answer_with_a_length_is_not_complete_before_its_end(length):
    reader = Reader()
    if length:
        reader.feed(PLAIN[:length])
    assert not reader.complete
    assert not reader.end()


def test_an_answer_without_a_length_ends_with_the_connection():
    reader = Reader()
    assert not reader.feed(INTERIM + b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert reader.end()
    assert (reader.status, reader.content, reader.keep) == (200, b"hello", False)


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"HTTP/1.1 004 No\r\n\r\n", INTERIM])
def test_what_has_no_final_status_is_no_answer_when_the_connection_ends(data):
    reader = Reader()
    assert not reader.feed(data)
    assert not reader.end()


@pytest.mark.parametrize(
    "data",
    [
        PLAIN + b"HTTP/1.1 200 OK\r\n",  # an answer to nothing
        PLAIN + b"\x00\xff",
        PLAIN.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
        PLAIN.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") + b"more",
        PLAIN.replace(b"1.1", b"1.0"),
    ],
)
def test_after_such_an_answer_the_connection_is_not_used_again(data):
    assert read(Reader(), data, []) == (200, b"hello", True, False)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_bad_response(data):
    with pytest.raises(RequestError) as caught:
        Reader().feed(data)
    assert caught.value.error_class == "bad_response"


@pytest.mark.parametrize(
    ("fields", "keep"),
    [
        ("", True),
        ("Content-Length: 5\r\n", True),
        ("Transfer-Encoding: chunked\r\n", True),
        ("Connection: Close\r\n", False),
    ],
)
def test_the_answer_to_a_head_ends_with_its_header(fields, keep):
    data = f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode()
    assert read(HeadReader(), INTERIM + data, [30]) == (200, b"", True, keep)


def test_header_fields_are_found_in_any_case_and_joined():
    head = INTERIM + b"HTTP/1.1 200 OK\r\nVia: a\r\nVIA:  b \r\nSet-Cookie: a=1\r\nset-cookie: b=2, c\r\n\r\nbody: no"
    assert read_head(head)["via"] == "a, b"
    assert "body" not in read_head(head)
    assert field_values(head, "set-cookie") == ["a=1", "b=2, c"]


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (gzip.compress(b"x" * 99, mtime=0), "gzip", b"x" * 99),
        (zlib.compress(b"x" * 99), "deflate", b"x" * 99),
        (zlib.compress(b"x" * 99, wbits=-15), "deflate", b"x" * 99),  # as some servers have it
        (gzip.compress(zlib.compress(b"twice"), mtime=0), "deflate, gzip", b"twice"),
        (b"", "gzip", b""),
        (b"as it is", "br", b"as it is"),
    ],
)
def test_content_is_decoded_as_its_header_says(content, encoding, expected):
    assert decoded(content, encoding) == expected


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"x" * 99, mtime=0)[:-9], b"\x1f\x8b"])
def test_content_that_is_not_what_its_header_says_is_a_bad_response(content):
    with pytest.raises(RequestError, match=r"^bad_response: Content-Encoding gzip: "):
        decoded(content, "gzip")


def test_a_request_has_the_hosts_path_its_fields_and_its_credentials():
    assert sent("GET", "/items?page=2") == [
        "GET /api/items?page=2 HTTP/1.1",
        "Host: shop:8080",
        "User-Agent: load-chaos-harness",
        "X-Team: sre",
        "Authorization: Basic dXNlcjpwQHNz",
        "",
        "",
    ]


def test_a_whole_url_goes_elsewhere_without_credentials():
    request = SHOP.request("GET", "https://other/x?a=1#part", {})
    assert (request.origin, request.target, request.url) == ("https://other", "/x?a=1", "https://other/x?a=1")
    assert "Authorization" not in dict(request.fields)


def test_a_field_of_the_request_replaces_one_sent_with_each():
    assert sent("GET", "/", headers={"x-team": "qa", "host": "canary"})[1:-2] == [
        "User-Agent: load-chaos-harness",
        "Authorization: Basic dXNlcjpwQHNz",
        "x-team: qa",
        "host: canary",
    ]


def test_odd_characters_in_a_path_are_encoded_and_encoded_ones_left():
    assert sent("GET", "/a b/ü%20c#part", params={"q": "1 2", "r": ["x", "y"]})[0] == (
        "GET /api/a%20b/%C3%BC%20c?q=1+2&r=x&r=y HTTP/1.1"
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_methods_with_a_body_always_say_its_length(method):
    assert "Content-Length: 0" in sent(method, "/")
    assert "Content-Length: 3" in sent(method, "/", data="ü1")


@pytest.mark.parametrize(
    ("method", "fields", "message"),
    [
        ("GE T", (), "method 'GE T': not an HTTP method"),
        ("GET", (("X", "a\r\nY: b"),), r"header 'X': 'a\\r\\nY: b': not a header"),
        ("GET", (("X:", "a"),), "header 'X:': 'a': not a header"),
    ],
)
def test_what_would_not_be_one_request_is_refused(method, fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        encode_head(method, "/", fields, 0)


@pytest.mark.parametrize("host", ["shop:8080", "ftp://shop", "http://"])
def test_a_host_that_is_no_url_is_refused(host):
    with pytest.raises(ValueError, match=r"not an http or https URL; give one like"):
        Base(host, {}, follow=False)


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("POST", 301, "GET"),
        ("POST", 302, "GET"),
        ("POST", 303, "GET"),
        ("POST", 307, "POST"),
        ("POST", 308, "POST"),
        ("PUT", 302, "PUT"),
        ("PUT", 303, "GET"),
        ("HEAD", 303, "HEAD"),
    ],
)
def test_a_redirect_keeps_or_changes_the_method(method, status, expected):
    body = b"" if method == "HEAD" else b"x"
    there = SHOP.request(method, "/a/b", {"data": body}).redirected(status, "../c?d=1")
    assert (there.method, there.target) == (expected, "/api/c?d=1")
    assert there.body == (b"x" if expected == method and body else b"")


def test_a_redirect_to_no_url_is_not_followed():
    request = SHOP.request("GET", "/", {})
    assert request.redirected(302, "") is None
    assert request.redirected(302, "mailto:me") is None


@pytest.mark.parametrize("location", ["http://shop:99999/", "http://shop:0/", "http://[::1/", "https:///x"])
def test_a_redirect_to_a_broken_url_is_an_error(location):
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        SHOP.request("GET", "/", {}).redirected(302, location)


def test_a_request_has_a_timeout_of_its_own_or_the_users():
    assert [SHOP.request("GET", "/", {"timeout": given}).timeout_ns for given in (0.5, None)] == [500_000_000, None]


def test_an_option_there_is_not_is_refused_by_its_name():
    """Or an upload with `files` would go out empty."""
    with pytest.raises(TypeError, match=r"^POST /items: FastUser has no option 'files'; it has name, params, "):
        SHOP.request("POST", "/items", {"files": {}, "stream": True})


def test_a_redirect_elsewhere_takes_no_secrets_along():
    there = SHOP.request("GET", "/", {"headers": {"Cookie": "a=1"}}).redirected(302, "http://other:81/x")
    assert dict(there.fields) == {"Host": "other:81", "User-Agent": "load-chaos-harness", "X-Team": "sre"}
