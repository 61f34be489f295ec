"""`python -m harness.sandbox.shop good|bad`: one pod of the shop on 127.0.0.1:$PORT, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvloop

from harness.sandbox.http import Connection
from harness.sandbox.shop.service import Keep, Shop

KEEP_S = 0.35
"""How long an order waits for the store, where there is one ($STORE_URL); less than clients wait for the shop."""

DRAIN_S = 0.5
"""Served on after SIGTERM, so that nobody who still has this pod among its endpoints is refused."""


def keeping(store_url: str, proxy: str | None) -> Keep:
    """What writes orders to the store at `store_url`, by way of the pod's proxy."""
    from harness.sandbox.caller import Caller  # a second of start-up that a shop without a store does not need

    caller = Caller(proxy)

    async def keep(order: str) -> bool:
        answer = await caller.call("POST", f"{store_url}/entries", {"id": order}, timeout_s=KEEP_S)
        return answer is not None and 200 <= answer[0] < 300

    return keep


async def serve(version: str) -> None:
    """Serve until SIGTERM, then drain: unready at once, answering until DRAIN_S later and nothing is in flight."""
    store_url = os.environ.get("STORE_URL")
    keep = keeping(store_url, os.environ.get("http_proxy")) if store_url else None
    shop = Shop(version, os.environ.get("POD_NAME", "shop"), os.environ.get("ZONE", ""), keep)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(shop), "127.0.0.1", int(os.environ["PORT"]), backlog=512)
    sys.stdout.write(f"shop {version} listening on port {os.environ['PORT']}\n")
    sys.stdout.flush()
    await stop.wait()
    shop.draining = True
    await asyncio.sleep(DRAIN_S)
    while shop.metrics.inflight:
        await asyncio.sleep(0.01)
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
