"""
A connection to one Kubernetes cluster: an explicit kubeconfig and context, explicit timeouts, plain JSON.

The Kubernetes client library reads kubeconfigs and holds credentials; its process-global configuration is never used
and there is no fallback to a server on localhost. Objects stay plain JSON, so that an object the library's model
does not know, or a field a small API server leaves out, breaks nothing. Thread-safe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
from kubernetes.client import ApiClient as LibraryClient
from kubernetes.client import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import KubeConfigMerger, load_kube_config
from yaml import YAMLError

from harness.drivers.kubernetes.objects import Obj
from harness.errors import DriverError
from harness.plan.model import IN_CLUSTER

CONNECT_S = 3.0
READ_S = 10.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where Kubernetes mounts it


class ApiError(DriverError):
    """
    The API server refused a request (`status` is its HTTP code) or did not answer (`status` is None).

    `retry_s` is how long it asked to be left alone, in seconds, where it did.
    """

    def __init__(
        self, message: str, status: int | None, *, hint: str | None = None, retry_s: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status, self.retry_s = status, retry_s


class ApiClient:
    """
    Requests to the API server that `context` of the file `kubeconfig` names (None: the file's current context).

    With IN_CLUSTER for a kubeconfig, to the API server of the pod that this runs in, as the pod's service account.
    Every request ends within the connect and read timeouts (seconds), which hold per socket operation; every failure
    is an ApiError that names the server. A `dry` client has every change checked by the server, and none made.
    """

    def __init__(
        self,
        kubeconfig: str,
        context: str | None,
        *,
        connect_s: float = CONNECT_S,
        read_s: float = READ_S,
        dry: bool = False,
    ) -> None:
        self._library = LibraryClient(configuration=_configuration(kubeconfig, context))
        self._connect_s, self._read_s = connect_s, read_s
        self._changing = {"dryRun": "All"} if dry else None
        self.dry = dry
        self.url = str(self._library.configuration.host)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Obj:
        """The object or list at `path`."""
        return self._json("GET", path, query=query)

    def items(self, path: str, query: Mapping[str, str] | None = None) -> list[Obj]:
        """The items of the list at `path`."""
        return list(self.get(path, query).get("items") or [])

    def create(self, path: str, body: Obj) -> Obj:
        """Create `body` in the collection at `path`; returns it as stored. ApiError of status 409 when it exists."""
        return self._json("POST", path, body=body, query=self._changing)

    def ask(self, path: str, body: Obj) -> Obj:
        """Post a review (SelfSubjectAccessReview and the like), which changes nothing; returns the answer."""
        return self._json("POST", path, body=body)

    def patch(self, path: str, body: Obj) -> Obj:
        """Merge `body` (RFC 7386: null removes) into the object at `path`; returns it as stored."""
        return self._json("PATCH", path, body=body, query=self._changing, content_type="application/merge-patch+json")

    def edit(self, path: str, operations: list[Obj]) -> Obj:
        """
        Apply a JSON Patch (RFC 6902) to the object at `path`, all of it or nothing; returns the object as stored.

        A `test` that does not hold is an ApiError of status 422 or, of resourceVersion, 409.
        """
        return self._json(
            "PATCH", path, body=operations, query=self._changing, content_type="application/json-patch+json"
        )

    def delete(self, path: str, grace_s: int | None = None, uid: str | None = None) -> bool:
        """
        Delete the object at `path`, its dependents in the background; False when it was not there.

        With `uid`, only the object of that UID: ApiError of status 409 when another has its name.
        """
        options: Obj = {"propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if self.dry:
            options["dryRun"] = ["All"]  # of a DELETE with a body, the server does not read the query
        try:
            self._json("DELETE", path, body=options)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def lines(self, path: str, query: Mapping[str, str], *, read_s: float) -> Iterator[bytes]:
        """
        The lines of a streamed answer (a watch, a followed log) as they arrive, until the server ends it.

        The request is sent before this returns. ApiError when nothing arrives for `read_s` seconds.
        """
        response = self._send("GET", path, query=query, read_s=read_s)
        return self._lines(response, path)

    def close(self) -> None:
        """Close all connections."""
        self._library.rest_client.pool_manager.clear()
        self._library.close()

    def _json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Obj | list[Obj] | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        response = self._send(method, path, query=query, body=body, content_type=content_type, read_s=self._read_s)
        try:
            found = json.loads(response.data)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise self._error(f"{method} {path}: {error}", None) from error
        if not isinstance(found, dict):
            raise self._error(f"{method} {path}: the answer is not a JSON object; is this a Kubernetes API?", None)
        return found

    def _send(
        self,
        method: str,
        path: str,
        *,
        read_s: float,
        query: Mapping[str, str] | None = None,
        body: Obj | list[Obj] | None = None,
        content_type: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "load-chaos-harness", "Content-Type": content_type}
        self._library.update_params_for_auth(headers, [], ["BearerToken"])  # refreshes the token where it expires
        pool: urllib3.PoolManager = self._library.rest_client.pool_manager
        try:
            response = pool.request(
                method,
                f"{self.url}{path}" + (f"?{urlencode(query)}" if query else ""),
                body=json.dumps(body) if body is not None else None,
                headers=headers,
                timeout=urllib3.Timeout(connect=self._connect_s, read=read_s),
                retries=False,
                preload_content=False,
            )
            if 200 <= response.status < 300:
                return response
            refused = response.data
        except urllib3.exceptions.HTTPError as error:
            raise self._error(f"{method} {path}: no answer: {error}", None) from error
        asked = response.headers.get("Retry-After", "")
        retry_s = float(asked) if asked.isdecimal() else None
        raise self._error(f"{method} {path}: {response.status} {_reason(refused)}", response.status, retry_s)

    def _lines(self, response: urllib3.BaseHTTPResponse, path: str) -> Iterator[bytes]:
        rest = b""
        try:
            for chunk in response.stream(amt=None, decode_content=False):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
        except urllib3.exceptions.HTTPError as error:
            raise self._error(f"GET {path}: the stream broke: {error}", None) from error
        finally:
            response.close()

    def _error(self, what: str, status: int | None, retry_s: float | None = None) -> ApiError:
        hint = "allow it to the kubeconfig's user (RBAC)" if status in {401, 403} else None
        return ApiError(f"kubernetes {self.url}: {what}", status, hint=hint, retry_s=retry_s)


def _configuration(kubeconfig: str, context: str | None) -> Configuration:
    """The connection settings that the context names, complete and on their own."""
    inside = kubeconfig == IN_CLUSTER
    if not inside and not Path(kubeconfig).is_file():
        raise DriverError(f"kubernetes: kubeconfig '{kubeconfig}' is not a file; give the path of one")
    # Calling the class would return a copy of the process-global default; its metaclass is passed by.
    configuration = type.__call__(Configuration)
    try:
        if inside:  # the token is read again when it is about to expire
            InClusterConfigLoader(str(SERVICE_ACCOUNT / "token"), str(SERVICE_ACCOUNT / "ca.crt")).load_and_set(
                configuration
            )
        else:
            _require_server(kubeconfig, context)
            load_kube_config(kubeconfig, context=context, client_configuration=configuration, persist_config=False)
    except (ConfigException, OSError, ValueError) as error:
        raise DriverError(f"kubernetes: kubeconfig '{kubeconfig}': {error}") from error
    except (YAMLError, TypeError) as error:  # TypeError: YAML that the library takes for a mapping, and that is none
        why = " ".join(str(error).split())
        raise DriverError(f"kubernetes: '{kubeconfig}' is no kubeconfig: {why}") from error
    if urlsplit(configuration.host).hostname in {"127.0.0.1", "::1", "localhost"}:
        configuration.proxy = None  # a proxy from the environment cannot reach this machine's loopback
    return configuration


def _require_server(kubeconfig: str, context: str | None) -> None:
    """Raise ConfigException unless the context's cluster names its server: the library would take localhost."""
    config: Any = KubeConfigMerger(kubeconfig).config
    if config is None:
        raise ConfigException("it is empty")
    wanted = context or config.safe_get("current-context")
    if not wanted:
        raise ConfigException("it names no current-context; name a context")
    cluster = config["contexts"].get_with_name(wanted)["context"]["cluster"]
    if not config["clusters"].get_with_name(cluster)["cluster"].safe_get("server"):
        raise ConfigException(f"cluster '{cluster}' names no server")


def _reason(refused: bytes) -> str:
    """What the API server says in its Status object, else the beginning of whatever it sent."""
    try:
        return str(json.loads(refused)["message"])
    except (ValueError, KeyError, TypeError):
        return refused[:200].decode(errors="replace").strip()
