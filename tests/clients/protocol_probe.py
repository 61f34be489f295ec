"""Makes calls with our WebSocket and gRPC users in plain Locust, and prints what became of them as JSON."""

from __future__ import annotations

# Locust patches the standard library on import and must come first.
import locust  # isort: split

import json
import sys
from typing import Any

import gevent
import grpc
from locust.env import Environment

from harness.drivers.locust.clients.grpc import GrpcUser
from harness.drivers.locust.clients.websocket import WebSocketUser
from harness.drivers.locust.outcomes import class_of_event

at = json.loads(sys.argv[1])
SEEN: list[list[Any]] = []


class Chat(WebSocketUser):
    host = f"ws://127.0.0.1:{at['websocket']}"
    network_timeout = 60.0


class Calls(GrpcUser):
    host = f"http://127.0.0.1:{at['grpc']}"
    network_timeout = 60.0


def on_request(request_type: str, name: str, exception: Any, response: Any, **_: object) -> None:
    SEEN.append([request_type, name, class_of_event(exception, response)])


def chat(environment: Environment) -> dict[str, Any]:
    client = Chat(environment).client
    told: dict[str, Any] = {"echo": client.call("hello", name="echo").content}
    told["bytes"] = client.call(b"\x00\x01", name="echo").content.hex()
    told["two"] = [client.call("two", name="two").content, client.receive(name="rest").content]
    told["match"] = client.call("two", name="two", match=lambda message: message.startswith("second")).content
    told["sent"] = client.send("later", name="tell").ok
    told["later"] = client.receive(name="told").content
    client.call("hang", name="hang", timeout=0.3)
    for what in ("reset", "half", "close", "frame", "again"):
        client.call(what, name=what)
    client.connect("/refuse")
    client.connect("/garbage")
    client.connect("/", headers={"X-One": "1"}, subprotocols=["soap"], name="come in")
    told["peer"] = client.call("x", name="x").peer == f"127.0.0.1:{at['websocket']}"
    waiting = gevent.spawn(client.call, "hang", name="cut")
    gevent.sleep(0.02)
    waiting.kill()
    told["after a cut"] = client.call("still there", name="x").content
    refused = type("Refused", (Chat,), {"host": f"ws://127.0.0.1:{at['refusing']}"})(environment).client
    refused.call("x", name="refused")
    told["seen"] = SEEN.copy()
    client.send("flood", name="flood")
    while client._socket.open:
        gevent.sleep(0.001)
    told["kept"] = client._socket.inbox.qsize()
    SEEN.clear()
    return told


def failing(call: Any, *args: Any, **options: Any) -> None:
    try:
        list(call(*args, **options))
    except grpc.RpcError:
        return


def calls(environment: Environment) -> dict[str, Any]:
    channel = Calls(environment).channel
    once, many = channel.unary_unary("/shop.Shop/Once"), channel.unary_stream("/shop.Shop/Many")
    told: dict[str, Any] = {"once": once(b"hello").decode(), "many": [one.decode() for one in many(b"")]}
    told["gather"] = channel.stream_unary("/shop.Shop/Gather")(iter([b"a", b"b"])).decode()
    told["echo"] = [one.decode() for one in channel.stream_stream("/shop.Shop/Echo")(iter([b"a", b"b"]))]
    failing(many, b"abort")
    for code in ("INTERNAL", "NOT_FOUND", "UNAVAILABLE"):
        failing(once, f"abort {code}".encode())
    failing(once, b"hang", timeout=0.3)
    waiting = gevent.spawn(once, b"hang")
    gevent.sleep(0.05)
    waiting.kill(timeout=20)
    told["cut"] = waiting.dead
    told["after a cut"] = once(b"still there").decode()
    young = type("Young", (Calls,), {"connection_age": 0.0})(environment).channel
    told["young"] = [young.unary_unary("/shop.Shop/Once")(b"x").decode() for _ in range(3)]
    for host in ("http://nothing.invalid:1", f"http://127.0.0.1:{at['refusing']}", f"https://127.0.0.1:{at['grpc']}"):
        failing(type("Lost", (Calls,), {"host": host})(environment).channel.unary_unary("/lost"), b"")
    failing(once, b"die")
    hosts = ("shop", "http://[::1]", "https://me@shop", "http://[::1]:50051")
    told["targets"] = [type("At", (Calls,), {"host": host})(environment).channel.target for host in hosts]
    told["seen"] = SEEN.copy()
    return told


def main() -> None:
    environment = Environment(user_classes=[locust.User])
    environment.events.request.add_listener(on_request)
    print(json.dumps({"chat": chat(environment), "calls": calls(environment)}))  # noqa: T201 - this is how it is told


if __name__ == "__main__":
    main()
