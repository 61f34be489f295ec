"""`python -m harness.sandbox.orders good|lossy`: one replica of the store on 127.0.0.1:$PORT, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys

import uvloop

from harness.sandbox.caller import Caller
from harness.sandbox.http import Connection
from harness.sandbox.orders.lease import LeaseBox
from harness.sandbox.orders.node import Node, Place
from harness.sandbox.orders.service import Service

DRAIN_S = 0.3
"""Served on after SIGTERM, when the Lease has been given back."""

NAME = "store"


async def serve(version: str) -> None:
    """Serve until SIGTERM; then give up the lead, if it is ours, before leaving."""
    given = os.environ
    pod, namespace = given["POD_NAME"], given["NAMESPACE"]
    api_url = f"http://{given['KUBERNETES_SERVICE_HOST']}:{given['KUBERNETES_SERVICE_PORT']}"
    peers, api = Caller(given.get("http_proxy")), Caller(None)
    place = Place(
        me=f"{pod}.{secrets.token_hex(4)}",
        pod=pod,
        url=f"http://{given['POD_IP']}:8080",
        pods=f"{api_url}/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{NAME}",
        lossy=version == "lossy",
    )
    node = Node(place, peers, api, LeaseBox(api, api_url, namespace, NAME))
    service = Service(node, peers, version)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(service), "127.0.0.1", int(given["PORT"]), backlog=512)
    sys.stdout.write(f"store {version} {place.me} listening on port {given['PORT']}\n")
    sys.stdout.flush()
    running = loop.create_task(node.run())
    await asyncio.wait([running, loop.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
    service.draining = True
    running.cancel()
    await asyncio.wait([running])
    await asyncio.sleep(DRAIN_S)
    server.close()
    await peers.close()
    await api.close()
    if not running.cancelled():
        running.result()  # a bug: let it be seen in the log


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
