"""Reads a service file: what all scenarios of one service share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from harness import units
from harness.plan import catalogue
from harness.plan.files import Files
from harness.plan.load import LoadFile, load_of
from harness.plan.model import IN_CLUSTER, Cluster, Load, Prometheus, Reach, Service, Sli
from harness.plan.nodes import At, Fields, quoted
from harness.plan.reach import is_selector, not_a_selector
from harness.plan.slis import health_of, slis_of

Demo = Literal["good", "bad", "store", "store-lossy"]
STORES = ("store", "store-lossy")  # with the demo store beside the shop

SANDBOX_URL = "sandbox:"
"""Stands for an address that only the running sandbox knows, until the plan is bound to it."""

KEYS = (("title", "load", "slis"), ("sandbox", "url", "cluster", "prometheus", "health", "audit_url"))
CLUSTER_KEYS = (
    ("namespace", "selector"),
    ("deployment", "max_pods", "max_share", "max_nodes", "also", "uid", "dead_man", "kubeconfig", "context"),
)
REACH_KEYS = (("namespace", "selector"), ())
DEAD_MAN_LEAST_S = 3.0  # it is renewed three times as often, over a network
PROMETHEUS_KEYS = (("scrape_interval", "selector"), ("timeout", "url", "headers", "ca_file", "verify"))

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")  # a DNS label
_URL = re.compile(r"https?://[^\s/]+\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """A service file as far as it could be read: what is None or missing here is wrong and recorded, or not given."""

    name: str
    given: frozenset[str]  # the file's top-level keys
    load: LoadFile | None
    cluster: Cluster | None
    prometheus: Prometheus | None
    slis: Mapping[str, Sli | None]  # None: defined, but wrongly
    service: Service | None  # the whole, when nothing is wrong; its load is that of `load`

    def with_load(self, load: Load) -> Service | None:
        """The whole with the load's baseline settled."""
        return replace(self.service, load=load) if self.service else None


def service_of(at: At, files: Files) -> ServiceFile | None:
    """The service that the document describes."""
    fields = at.fields(*KEYS)
    if fields is None:
        return None
    sandbox = cast("Demo | None", fields.choice("sandbox", get_args(Demo)))
    local = "sandbox" in fields.values
    url, audit_url = _address(fields, local=local), _audit_url(fields.get("audit_url"), sandbox)
    load_at = fields.get("load")
    load = load_of(load_at, files) if load_at else None
    cluster = _cluster(fields.get("cluster"), files, local=local)
    prometheus = _prometheus(fields.get("prometheus"), files, local=local)
    streams = load.streams if load else None
    slis = slis_of(fields.get("slis"), selector=prometheus.selector if prometheus else None, streams=streams)
    health = health_of(fields.get("health"), slis, prometheus="prometheus" in fields.values)
    name, title = catalogue.name_of(at.path), fields.text("title")
    service = None
    if load and load.load and title and url:
        service = Service(
            name=name,
            title=title,
            url=url,
            load=load.load,
            cluster=cluster,
            prometheus=prometheus,
            slis=tuple(sli for sli in slis.values() if sli),
            health=health,
            sandbox=sandbox,
            audit_url=audit_url,
            source=at.source,
        )
    return ServiceFile(
        name=name,
        given=frozenset(fields.values),
        load=load,
        cluster=cluster,
        prometheus=prometheus,
        slis=slis,
        service=service,
    )


def _address(fields: Fields, *, local: bool) -> str | None:
    """The `url` of a service or a Prometheus: given, unless the sandbox knows it."""
    at = fields.get("url")
    if local:
        if at is not None:
            at.wrong("comes from the sandbox at run time; remove it, or remove 'sandbox'")
        return SANDBOX_URL
    if at is None:
        fields.at.wrong("'url' is missing; give it, or write 'sandbox: good' in the service to use the local sandbox")
        return None
    return url_of(at)


def _audit_url(at: At | None, sandbox: Demo | None) -> str | None:
    """Where the data-loss audit writes: as given, or the sandbox's store."""
    if sandbox not in STORES:
        return url_of(at) if at else None
    if at is not None:
        at.wrong("comes from the sandbox at run time; remove it, or remove 'sandbox'")
    return SANDBOX_URL


def url_of(at: At) -> str | None:
    """The text as an address without a slash at its end; None, recorded, when it is none."""
    text = at.text()
    if text is not None and not _URL.fullmatch(text):
        at.wrong(f"{quoted(text)} is not an address; write e.g. http://127.0.0.1:8080")
        return None
    return text.rstrip("/") if text else None


def _cluster(at: At | None, files: Files, *, local: bool) -> Cluster | None:
    fields = at.fields(*CLUSTER_KEYS) if at else None
    if fields is None:
        return None
    kubeconfig = _kubeconfig(fields, files, local=local)
    reach = _reach(fields)
    max_pods, max_nodes = fields.whole("max_pods", 1, least=1), fields.whole("max_nodes", 0)
    max_share = _share(fields.get("max_share"))
    also = tuple(_reach(below) for item in fields.items("also") if (below := item.fields(*REACH_KEYS)))
    dead_man_s = fields.positive("dead_man", "s", 30.0)
    if dead_man_s is not None and dead_man_s < DEAD_MAN_LEAST_S:
        fields.values["dead_man"].wrong(f"must be at least {DEAD_MAN_LEAST_S:g}s; it is renewed every third of it")
    if reach is None or max_pods is None or max_nodes is None or max_share is None or dead_man_s is None:
        return None
    return Cluster(
        kubeconfig=kubeconfig,
        context=fields.text("context"),
        namespace=reach.namespace,
        selector=reach.selector,
        deployment=fields.text("deployment"),
        max_pods=max_pods,
        max_share=max_share,
        max_nodes=max_nodes,
        also=tuple(filter(None, also)),
        uid=fields.text("uid"),
        dead_man_s=dead_man_s,
    )


def _kubeconfig(fields: Fields, files: Files, *, local: bool) -> str | None:
    """The kubeconfig's path, `in-cluster`, or None for the sandbox's own."""
    inside = bool((at := fields.get("kubeconfig")) and at.says(IN_CLUSTER))
    for key in ("kubeconfig", "context"):
        value = fields.get(key)
        if local and value is not None:
            value.wrong("comes from the sandbox at run time; remove it, or remove 'sandbox'")
        elif inside and key == "context" and value is not None:
            value.wrong(f"is a kubeconfig's, and kubeconfig is {IN_CLUSTER}; remove it")
        elif not local and value is None and not inside:
            fields.at.wrong(f"'{key}' is missing; a fault must never reach a cluster that was not named")
    written = fields.text("kubeconfig")
    if written is None or inside or written.startswith("~"):  # the Kubernetes client knows the home folder
        return written
    return files.absolute(catalogue.beside(fields.at.path, written))


def _share(at: At | None) -> float | None:
    share = at.read(lambda text: units.quantity(text, "ratio")) if at else 0.8
    if at and share is not None and not 0 < share <= 1:
        at.wrong(f"{quoted(str(at.node.value))} is not a percentage above 0% and up to 100%")
        return None
    return share


def _reach(fields: Fields) -> Reach | None:
    """The namespace and the selector; None when one is missing or wrong, which is recorded."""
    namespace, selector = fields.text("namespace"), fields.text("selector")
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        what = "is not a namespace's name: small letters, digits and '-', not more than 63"
        fields.values["namespace"].wrong(f"{quoted(namespace)} {what}")
        namespace = None
    if selector is not None and not is_selector(selector):
        fields.values["selector"].wrong(not_a_selector(selector))
        selector = None
    return Reach(namespace=namespace, selector=selector) if namespace and selector else None


def _prometheus(at: At | None, files: Files, *, local: bool) -> Prometheus | None:
    fields = at.fields(*PROMETHEUS_KEYS) if at else None
    if fields is None:
        return None
    url = _address(fields, local=local)
    scrape_interval_s, timeout_s = fields.positive("scrape_interval", "s"), fields.positive("timeout", "s", 5.0)
    selector = fields.text("selector")
    headers_at, ca_at = fields.get("headers"), fields.get("ca_file")
    headers = {name: entry.at.text() for name, entry in ((headers_at.entries() if headers_at else None) or {}).items()}
    ca_file = files.referred(ca_at) if ca_at else None
    verify = fields.flag("verify", default=True)
    if url is None or scrape_interval_s is None or timeout_s is None or selector is None or verify is None:
        return None
    return Prometheus(
        url=url,
        headers=tuple((name, value) for name, value in headers.items() if value is not None),
        ca_file=ca_file,
        verify=verify,
        scrape_interval_s=scrape_interval_s,
        selector=selector,
        timeout_s=timeout_s,
    )
