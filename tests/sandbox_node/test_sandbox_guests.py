"""The sandbox's Prometheus scrapes whoever asks for it, for as long as they want."""

import http.server
import json
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from harness import sandbox

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"guests_here 7\n"
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_a_guest_is_scraped_with_its_labels_while_it_wants_to_be(client, until):
    def seen():
        url = f"{client.endpoints.prometheus_url}/api/v1/query?query={urllib.parse.quote('guests_here')}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return [(one["metric"], one["value"][1]) for one in json.load(answer)["data"]["result"]]

    folder = Path(client.endpoints.state_dir) / "prometheus/guests"
    left = folder / "4194399.json"  # of a process that was killed: no process has so high an id
    left.write_text("[]")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with sandbox.scraped(client.endpoints, address, {"job": "load", "instance": address}):
            assert not left.exists()
            until(seen, 20)  # discovery hands changes on every five seconds
            labels = {"__name__": "guests_here", "job": "load", "instance": address}
            assert seen() == [(labels, "7")]
        server.shutdown()
    assert list(folder.glob("*.json")) == []
