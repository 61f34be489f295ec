"""
Makes requests with Locust's clients and ours, and prints what became of them as JSON: {client: {case: facts}}.

Given the addresses of rogue servers as JSON: good, tls, refusing and full ports, and the certificate.
"""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import json
import sys
from typing import Any

import gevent
import gevent.socket
from gevent import monkey
from locust.env import Environment

from harness.drivers.locust.clients import kept
from harness.drivers.locust.clients.transport import Dialled, Link
from harness.drivers.locust.fast import FastUser
from harness.drivers.locust.outcomes import class_of_event

at = json.loads(sys.argv[1])
GOOD = f"http://127.0.0.1:{at['good']}"
TLS = f"https://localhost:{at['tls']}"
PATIENCE_S = 60.0
HASTE = {"network_timeout": 0.4, "connection_timeout": 0.4}
NEVER_ANSWERED = ("connect_timeout", "not_tls", "hang", "hang_in_body")


class Requests(locust.HttpUser):
    host = GOOD
    network_timeout = PATIENCE_S

    def go(self, method: str, url: str, **options: Any) -> Any:
        return self.client.request(method, url, timeout=self.network_timeout, **options)


class Fast(locust.FastHttpUser):
    host = GOOD
    network_timeout = connection_timeout = PATIENCE_S
    insecure = False

    def go(self, method: str, url: str, **options: Any) -> Any:
        return self.client.request(method, url, **options)


class Ours(FastUser):
    host = GOOD
    network_timeout = connection_timeout = PATIENCE_S

    def go(self, method: str, url: str, **options: Any) -> Any:
        return self.client.request(method, url, **options)


CASES = {
    "dns": "http://nothing.invalid/",
    "connect_refused": f"http://127.0.0.1:{at['refusing']}/",
    "connect_timeout": f"http://127.0.0.1:{at['full']}/",
    "untrusted": f"{TLS}/ok",
    "not_tls": f"https://127.0.0.1:{at['good']}/ok",
    "cut": "/cut",
    "reset": "/reset",
    "cut_in_body": "/cut-in-body",
    "cut_in_chunk": "/cut-in-chunk",
    "reset_in_body": "/reset-in-body",
    "hang": "/hang",
    "hang_in_body": "/hang-in-body",
    "garbage": "/garbage",
    "broken_gzip": "/broken-gzip",
    "http_404": "/status/404",
    "http_503": "/status/503",
    "ok": "/ok",
    "checked": "/ok",
    "checked_503": "/status/503",
    "checked_refused": f"http://127.0.0.1:{at['refusing']}/",
    "forgiven": "/status/404",
}


def classes(environment: Environment, kind: type[Any]) -> dict[str, object]:
    seen: list[object] = []

    def on_request(exception: Any, response: Any, **_: object) -> None:
        seen.append(class_of_event(exception, response))

    environment.events.request.add_listener(on_request)

    def one(case: str, url: str) -> None:
        user = type("One", (kind,), HASTE if case in NEVER_ANSWERED else {})(environment)
        method = "POST" if case in ("cut", "reset") else "GET"  # geventhttpclient sends a GET again
        if case.startswith("checked"):
            with user.go(method, url, catch_response=True) as answer:
                answer.failure("not what I expected")
        elif case == "forgiven":
            with user.go(method, url, catch_response=True) as answer:
                answer.success()
        else:
            user.go(method, url)

    told: dict[str, object] = {}
    for case, url in CASES.items():
        one(case, url)
        told[case] = seen.pop() if len(seen) == 1 else seen.copy()
        seen.clear()
    user = kind(environment)
    for _ in range(2):
        user.go("POST", "/stale")
    told["stale"] = seen.copy()
    environment.events.request.remove_listener(on_request)
    return told


def facts(answer: Any) -> list[object]:
    return [answer.status_code, answer.text, answer.error_class]


def ours(environment: Environment) -> dict[str, object]:
    """What only our own client is asked."""
    user = Ours(environment)
    client = user.client
    told: dict[str, object] = {}
    for path in ("one", "none", "same", "chunked", "interim", "gzip", "deflate", "extra", "twice", "until-close", "ok"):
        told[path] = facts(client.get(f"/{path}"))
    told["cut-in-head"] = facts(client.get("/cut-in-head"))
    told["head"] = [facts(client.head("/ok")), facts(client.head("/ok")), client.head("/ok").headers["content-length"]]
    told["big"] = len(client.get("/big").content)
    told["upload"] = len(client.post("/echo", data=b"x" * 4_000_000).content) > 4_000_000
    told["post"] = client.post("/echo", json={"a": 1}, params={"q": "x y"}, headers={"X-One": "1"}).text
    told["form"] = client.post("/echo", data={"a": "b c"}, auth=("me", "pw")).text
    told["unfollowed"] = facts(client.get("/redirect/302/0"))
    told["followed"] = client.post("/redirect/302/1", data=b"x", allow_redirects=True).text.split("\r\n")[0]
    told["kept"] = client.post("/redirect/307/1", data=b"x", allow_redirects=True).text.split("\r\n")[0]
    told["endless"] = facts(client.get("/redirect/301/99", allow_redirects=True))
    away = client.get("/away", allow_redirects=True, headers={"Authorization": "secret", "X-Two": "2"})
    told["nowhere"] = client.get("/nowhere", allow_redirects=True).error_class
    told["away"] = [away.url, "secret" in away.text, "X-Two: 2" in away.text]
    told["bad header"] = raised(lambda: client.get("/ok", headers={"X": "a\r\nb"}))
    client.get("/cookie")
    told["cookies"] = [line for line in client.get("/echo").text.split("\r\n") if line.startswith("Cookie")]
    told["peer"] = client.get("/ok").peer == f"127.0.0.1:{at['good']}"
    told["parallel"] = [job.get() for job in [gevent.spawn(lambda: client.get("/ok").status_code) for _ in range(3)]]
    hanging = gevent.spawn(client.get, "/hang")
    gevent.sleep(0.05)
    hanging.kill()
    told["after a cut"] = facts(client.get("/ok"))
    trusting = type("Trusting", (Ours,), {"host": TLS, "ca_file": at["cert"]})(environment)
    told["tls"] = [facts(trusting.client.get("/ok")), facts(trusting.client.get("/ok")),
                   len(trusting.client.get("/big").content), facts(trusting.client.get("/cut-in-body")),
                   facts(trusting.client.get("/hang", timeout=0.4))]  # fmt: skip
    strict = type("Strict", (Ours,), {"host": f"https://localhost:{at['mtls']}", "ca_file": at["cert"]})(environment)
    told["no certificate"] = strict.client.get("/ok").error_class
    other = type("Other", (Ours,), {"host": f"https://127.0.0.1:{at['tls']}", "ca_file": at["cert"]})(environment)
    told["wrong name"] = other.client.get("/ok").error_class
    careless = type("Careless", (Ours,), {"host": TLS, "insecure": True})(environment)
    told["insecure"] = facts(careless.client.get("/ok"))
    return told


def kept_and_not(environment: Environment) -> dict[str, int]:
    """How many connections a user makes for twelve requests, 5 ms apart, by its policy."""

    def count(**policy: object) -> int:
        client = type("One", (Ours,), {"host": f"http://127.0.0.1:{at['counting']}", **policy})(environment).client
        before = int(client.get("/connections").text)
        client.close()
        for _ in range(12):
            client.get("/ok")
            gevent.sleep(0.005)
        return int(client.get("/connections").text) - before

    return {
        "for ever": count(connection_age=3600),
        "by age": count(connection_age=0.02),
        "by requests": count(connection_age=3600, connection_requests=4),
    }


def hidden_retries(environment: Environment) -> dict[str, int]:
    """How often the server is asked for one GET that it never answers."""
    client = Ours(environment).client
    Fast(environment).go("GET", "/cut?fast")
    client.get("/cut?ours")
    return {who: int(client.get(f"/count/cut?{who}").text) for who in ("fast", "ours")}


class SaysEnd:
    """Encrypts nothing, and has something to say of its own when something came."""

    write = staticmethod(bytes)

    def put(self, _data: bytes) -> None:
        """Not looked at."""

    def read(self) -> None:
        return None

    def pending(self) -> bytes:
        return b"END"


def in_order() -> list[object]:
    """What arrives of a megabyte that TLS speaks up in the midst of."""
    here, there = gevent.socket.socketpair()
    plain = monkey.get_original("socket", "socket")(fileno=here.detach())
    plain.settimeout(0.0)
    link = Link(Dialled(socket=plain, tls=SaysEnd(), peer=""), lambda _: None, lambda _: None)
    link.send(bytes(1_000_000))
    there.sendall(b"x")
    gevent.sleep(0.01)
    came = b""
    while len(came) < 1_000_003:
        came += there.recv(65536)
    link.close()
    return [came.find(b"END"), came[-3:].decode()]


def raised(act: Any) -> str:
    try:
        act()
    except ValueError as error:
        return str(error)
    return ""


def main() -> None:
    kept.install()
    environment = Environment(user_classes=[])
    jobs = {kind.__name__: gevent.spawn(classes, Environment(user_classes=[]), kind) for kind in (Requests, Fast, Ours)}
    told: dict[str, object] = {name: job.get() for name, job in jobs.items()}
    told["ours"] = ours(environment)
    told["connections"] = kept_and_not(environment)
    told["asked"] = hidden_retries(environment)
    told["in order"] = in_order()
    print(json.dumps(told))  # noqa: T201 - this is how they are told


if __name__ == "__main__":
    main()
