"""The connection: what it refuses to guess, and how it says what went wrong."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_doubles import kubeconfig

from harness.drivers.chaos.driver import _environment
from harness.drivers.kubernetes import client
from harness.drivers.kubernetes.client import ApiClient, ApiError
from harness.drivers.kubernetes.objects import pods_path, run_hash, run_label, selects
from harness.errors import DriverError


def test_a_missing_kubeconfig_is_refused(tmp_path: Path) -> None:
    """A list of paths, which other tools accept, is not one path either."""
    path = f"{tmp_path}/a:{tmp_path}/b"

    with pytest.raises(DriverError) as caught:
        ApiClient(path, None)

    assert str(caught.value) == f"kubernetes: kubeconfig '{path}' is not a file; give the path of one"


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Kubernetes puts into a pod: the account's token and the API server's address."""
    (tmp_path / "token").write_text("secret")
    (tmp_path / "ca.crt").write_text("a certificate")
    monkeypatch.setattr(client, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return tmp_path


def test_in_a_pod_its_service_account_is_used(service_account: Path) -> None:
    """Its token, and the certificate authority that comes with it, for no server but its own."""
    api = ApiClient("in-cluster", None)
    headers: dict[str, str] = {}
    api._library.update_params_for_auth(headers, [], ["BearerToken"])

    assert (api.url, headers) == ("https://10.0.0.1:443", {"authorization": "bearer secret"})
    assert api._library.configuration.ssl_ca_cert == str(service_account / "ca.crt")
    assert api._library.configuration.verify_ssl


def test_actions_of_others_find_the_same_service_account() -> None:
    """By the variable that the Kubernetes actions of Chaos Toolkit know."""
    inside, outside = (_environment("s/1", kubeconfig, None) for kubeconfig in ("in-cluster", "/k"))

    assert (inside["KUBECONFIG"], inside["CHAOSTOOLKIT_IN_POD"]) == ("in-cluster", "true")
    assert "CHAOSTOOLKIT_IN_POD" not in outside


def test_outside_a_pod_there_is_no_service_account(service_account: Path) -> None:
    """A pod without a token is told so, rather than served by another server."""
    (service_account / "token").unlink()

    with pytest.raises(DriverError, match=r"^kubernetes: kubeconfig 'in-cluster': Service token file does not exist"):
        ApiClient("in-cluster", None)


@pytest.mark.parametrize(
    ("server", "current", "context", "message"),
    [
        (None, "here", None, "cluster 'c' names no server"),
        ("http://127.0.0.1:1", None, None, "it names no current-context; name a context"),
        ("http://127.0.0.1:1", "here", "there", "Expected object with name there in"),
    ],
)
def test_nothing_is_guessed(
    tmp_path: Path, server: str | None, current: str | None, context: str | None, message: str
) -> None:
    """No server, no context or an unknown one: there is no default to fall back to."""
    path = kubeconfig(tmp_path, server, current=current)

    with pytest.raises(DriverError) as caught:
        ApiClient(path, context)

    assert message in str(caught.value)
    assert str(caught.value).startswith(f"kubernetes: kubeconfig '{path}': ")


@pytest.mark.parametrize("text", ["apiVersion: {", "[]", "just words", "\0"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, text: str) -> None:
    """In one line, not with the library's traceback."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)

    with pytest.raises(DriverError) as caught:
        ApiClient(str(path), None)

    assert str(caught.value).startswith(f"kubernetes: '{path}' is no kubeconfig: ")
    assert "\n" not in str(caught.value)


def test_a_proxy_from_the_environment_is_not_asked_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal comes from the port, not from a proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")

    with pytest.raises(ApiError, match=r"^kubernetes http://127.0.0.1:1: GET /api: no answer: .*refused"):
        ApiClient(kubeconfig(tmp_path, "http://127.0.0.1:1"), None).get("/api")


@pytest.mark.parametrize(
    ("run", "label"),
    [
        ("stress-150/20261121-010203-ab12", "stress-150_20261121-010203-ab12"),
        ("x" * 70 + "/1", "x" * 61 + "_1"),
        ("/run/", "run"),
    ],
)
def test_a_runs_name_becomes_a_label_value(run: str, label: str) -> None:
    """What is not allowed is replaced, the end is kept; a label value stays as it is."""
    assert run_label(run) == run_label(run_label(run)) == label
    assert run_hash(run) == run_hash(label)


def test_names_in_paths_are_quoted() -> None:
    """A name from a file cannot lead to another place."""
    assert pods_path("a/../b", "x?y") == "/api/v1/namespaces/a%2F..%2Fb/pods/x%3Fy"


def test_a_label_selector_must_hold_as_a_whole() -> None:
    """All labels and all expressions; an empty one matches everything."""
    labels = {"app": "shop", "tier": "web"}
    expressions = [
        {"key": "tier", "operator": "In", "values": ["web", "api"]},
        {"key": "tier", "operator": "NotIn", "values": ["db"]},
        {"key": "app", "operator": "Exists"},
        {"key": "beta", "operator": "DoesNotExist"},
    ]

    assert selects({}, labels)
    assert selects({"matchLabels": {"app": "shop"}, "matchExpressions": expressions}, labels)
    assert not selects({"matchLabels": {"app": "db"}, "matchExpressions": expressions}, labels)
    for one in expressions:
        opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}[one["operator"]]
        assert not selects({"matchExpressions": [one | {"operator": opposite}]}, labels)


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers GET with the Status its path names, DELETE with 404, and a stream that is cut short."""

    def do_GET(self) -> None:
        if self.path.startswith("/stream"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"6\r\none\ntw\r\n3\r\no\nt\r\n")
            return
        body = b'{"kind": "Status", "message": "pods is forbidden"}' if self.path == "/no" else b"<html>"
        self._answer(403 if self.path == "/no" else 200, body)

    def do_DELETE(self) -> None:
        self._answer(404, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[ApiClient]:
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        api = ApiClient(kubeconfig(tmp_path, f"http://127.0.0.1:{server.server_port}"), None)
        yield api
        api.close()
        server.shutdown()
        thread.join()


@pytest.mark.real
def test_a_refusal_says_what_the_server_said(refusing: ApiClient) -> None:
    """With its status and, where permission is missing, what to do."""
    with pytest.raises(ApiError) as caught:
        refusing.get("/no")

    assert str(caught.value) == f"kubernetes {refusing.url}: GET /no: 403 pods is forbidden"
    assert (caught.value.status, caught.value.hint) == (403, "allow it to the kubeconfig's user (RBAC)")


@pytest.mark.real
def test_an_answer_that_is_not_kubernetes_is_refused(refusing: ApiClient) -> None:
    """A login page answers 200 as well."""
    with pytest.raises(ApiError, match=rf"^kubernetes {refusing.url}: GET /html: Expecting value"):
        refusing.get("/html")


@pytest.mark.real
def test_deleting_what_is_not_there_is_no_error(refusing: ApiClient) -> None:
    """It says so."""
    assert refusing.delete("/x") is False


@pytest.mark.real
def test_a_stream_that_breaks_is_an_error_after_its_whole_lines(refusing: ApiClient) -> None:
    """A line without its end is not a line."""
    lines = refusing.lines("/stream", {}, read_s=5.0)

    assert [next(lines), next(lines)] == [b"one", b"two"]
    with pytest.raises(ApiError, match=r"GET /stream: the stream broke"):
        next(lines)


@pytest.mark.real
def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A dead link takes the read timeout, not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        api = ApiClient(kubeconfig(tmp_path, url), None, read_s=0.2)

        with pytest.raises(ApiError, match=rf"^kubernetes {url}: GET /api: no answer: .*[Rr]ead timed out") as caught:
            api.get("/api")

    assert caught.value.status is None
