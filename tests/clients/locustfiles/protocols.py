"""A WebSocket user and a gRPC user; the environment says where their servers are."""

from __future__ import annotations

import os

from locust import task

from harness.drivers.locust.clients.grpc import GrpcUser
from harness.drivers.locust.clients.websocket import WebSocketUser


class Chat(WebSocketUser):
    address = f"ws://127.0.0.1:{os.environ['WEBSOCKET_PORT']}"

    def on_start(self):
        self.client.connect("/chat", subprotocols=["soap"])

    @task(4)
    def ask(self):
        assert self.client.call("hello", name="ask").content == "hello"

    @task(1)
    def hang_up(self):
        self.client.call("close", name="hang up")


class Shop:
    """As protoc would make it."""

    def __init__(self, channel):
        self.once = channel.unary_unary("/shop.Shop/Once")


class Calls(GrpcUser):
    address = f"http://127.0.0.1:{os.environ['GRPC_PORT']}"
    stub_class = Shop

    @task(4)
    def order(self):
        assert self.stub.once(b"one") == b"one"

    @task(1)
    def fail(self):
        self.stub.once(b"abort NOT_FOUND")

    @task(1)
    def hang(self):
        self.stub.once(b"hang")
