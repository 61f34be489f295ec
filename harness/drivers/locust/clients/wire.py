"""HTTP/1.1 as bytes: requests encoded, answers read. No sockets, no clock."""

from __future__ import annotations

import functools
import re
import zlib
from typing import Any
from urllib.parse import quote

import httptools
from requests.structures import CaseInsensitiveDict

from harness.drivers.locust.outcomes import RequestError

Fields = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BROKEN_VALUE = re.compile(r"[\r\n\0]")
_PATH_SAFE = "/%:=&?~+!$,;'@()*[]-._"
_WITH_BODY = ("POST", "PUT", "PATCH")
_HEAD_END = b"\r\n\r\n"


@functools.lru_cache(maxsize=4096)
def encode_head(method: str, target: str, fields: Fields, length: int) -> bytes:
    """
    The bytes of a request up to its body of `length` bytes.

    Raises ValueError for what would not be one request: line breaks in a field, a method that is no word.
    """
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method {method!r}: not an HTTP method; use GET, POST or the like")
    lines = [f"{method} {quote(target, safe=_PATH_SAFE)} HTTP/1.1"]
    for name, value in fields:
        if not _TOKEN.fullmatch(name) or _BROKEN_VALUE.search(value):
            raise ValueError(f"header {name!r}: {value!r}: not a header; take line breaks and control characters out")
        lines.append(f"{name}: {value}")
    if (length or method in _WITH_BODY) and not any(name.lower() == "content-length" for name, _ in fields):
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read_head(head: bytes) -> CaseInsensitiveDict[str]:
    """The header fields of the answer that begins with `head`; a field that came often is joined with commas."""
    lines = _final(head).partition(_HEAD_END)[0].decode("latin-1").split("\r\n")
    fields: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
    return fields


def field_values(head: bytes, name: str) -> list[str]:
    """Every value of a header field, apart: cookies must not be joined."""
    lines = _final(head).partition(_HEAD_END)[0].decode("latin-1").split("\r\n")
    parts = [line.partition(":") for line in lines[1:]]
    return [value.strip() for field, _, value in parts if field.lower() == name]


def _final(head: bytes) -> bytes:
    """`head` without the interim answers (100 Continue and the like) before it."""
    while head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and _HEAD_END in head:
        head = head.partition(_HEAD_END)[2]
    return head


def decoded(content: bytes, encoding: str) -> bytes:
    """
    `content` without its Content-Encoding, gzip or deflate; what is encoded otherwise stays as it is.

    Raises RequestError(bad_response) when it is not what its header says.
    """
    for one in reversed([word.strip().lower() for word in encoding.split(",")]):
        if one not in ("gzip", "x-gzip", "deflate") or not content:
            return content
        # 47: with a gzip or zlib header, whichever; deflate without any is wrong and common.
        wbits = -15 if one == "deflate" and content[0] & 0x0F != 8 else 47
        inflating = zlib.decompressobj(wbits)
        try:
            content = inflating.decompress(content) + inflating.flush()
        except zlib.error as error:
            raise RequestError("bad_response", f"Content-Encoding {one}: {error}") from error
        if not inflating.eof:
            raise RequestError("bad_response", f"Content-Encoding {one}: the content is cut short")
    return content


class Reader:
    """Reads answers that come one after another on one connection; llhttp calls the methods named `on_`."""

    __slots__ = ("_parser", "begun", "chunks", "complete", "head", "keep", "status")

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self.expect()

    def expect(self) -> None:
        """The next answer comes."""
        self.chunks: list[bytes] = []
        self.head = b""  # all that came before the body, or more
        self.begun = False  # a byte of the answer has come
        self.complete = False
        self.keep = False  # the connection can be used again
        self.status = 0

    def feed(self, data: bytes) -> bool:
        """Bytes have come; whether the answer is complete. Raises RequestError(bad_response)."""
        self.begun = True
        if not self.chunks:
            self.head += data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise RequestError("bad_response", f"{type(error).__name__}: {error}") from error
            self.keep = False  # more than was asked for; the answer itself stands
        return self.complete

    def end(self) -> bool:
        """No more bytes come; whether that completes the answer, as it does one without length or chunks."""
        if _HEAD_END not in _final(self.head):
            return False
        fields, status = read_head(self.head), self._parser.get_status_code()
        if "Content-Length" in fields or "Transfer-Encoding" in fields or status < 200:
            return False
        self.status, self.complete = status, True
        return True

    def release(self) -> None:
        """Nothing more will be read: no circle is left behind. What was read stays."""
        self._parser = None

    @property
    def content(self) -> bytes:
        """The body, as it was sent."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)

    def on_message_begin(self) -> None:  # noqa: D102 - of llhttp
        if self.complete:
            self.keep = False  # an answer to nothing

    def on_body(self, body: bytes) -> None:  # noqa: D102 - of llhttp
        if not self.complete:
            self.chunks.append(body)

    def on_message_complete(self) -> None:  # noqa: D102 - of llhttp
        status = self._parser.get_status_code()
        if status >= 200 and not self.complete:
            self.status, self.complete = status, True
            self.keep = self._parser.should_keep_alive()  # llhttp knows it only now


class HeadReader(Reader):
    """Reads the answer to a HEAD, which has no body whatever its header says; good for one answer only."""

    __slots__ = ()

    def on_headers_complete(self) -> None:  # noqa: D102 - of llhttp
        status = self._parser.get_status_code()
        if status >= 200 and not self.complete:
            self.status, self.complete = status, True
            old = self.head.startswith(b"HTTP/1.0")
            said = read_head(self.head).get("Connection", "close" if old else "").lower()
            self.keep = "close" not in said

    def on_message_complete(self) -> None:
        """Not what completes it."""

    def on_body(self, body: bytes) -> None:
        """Wrong to be sent: the connection is out of step."""
        if body:
            self.keep = False
