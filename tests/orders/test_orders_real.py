"""The demo store on a sandbox: its leader dies, it is cut in two, and it goes away and comes back."""

import json
import time
from itertools import count
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from harness import sandbox

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ZONE = "topology.kubernetes.io/zone"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/shop/leases/store"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
SCALE = "/apis/apps/v1/namespaces/shop/deployments/store/scale"
PODS = "/api/v1/namespaces/shop/pods"


def ask(method, url, body=None):
    """Status and JSON; status 0 without an answer."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, {"content-type": "application/json"}, method=method), timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        error.close()
        return error.code, {}
    except OSError:
        return 0, {}


def until(condition, what):
    until_s = time.monotonic() + 40
    while not (found := condition()):
        assert time.monotonic() < until_s, what
        time.sleep(0.05)
    return found


class Store:
    """A sandbox with the store, and questions about it."""

    def __init__(self, endpoints):
        self.url, self.shop, self.api = endpoints.store_url, endpoints.url, endpoints.api_url
        self._targets = Path(endpoints.state_dir) / "prometheus" / "targets.json"

    def leader(self):
        """The pod that holds the Lease, as soon as one does."""
        return until(lambda: ask("GET", self.api + LEASE)[1].get("spec", {}).get("holderIdentity"), "no leader")

    def next_leader(self, former):
        return until(lambda: (name := self.leader()) != former and name, "no new leader")

    def write(self, *names):
        """Each is written until it is acknowledged."""
        for name in names:
            until(
                lambda name=name: ask("POST", f"{self.url}/entries", {"id": name})[0] in (200, 201), f"{name}: no 2xx"
            )

    def ids(self, prefix):
        return until(lambda: ask("GET", f"{self.url}/entries?prefix={prefix}")[1].get("ids"), "no list")

    def status_of(self, name):
        """200 for an entry that is there, 404 for one that is not, as soon as a leader says so."""
        return until(
            lambda: (code := ask("GET", f"{self.url}/entries/{name}")[0]) in (200, 404) and code, f"{name}: no answer"
        )

    def pods(self):
        """Pod -> where it listens, past the network."""
        targets = json.loads(self._targets.read_text(encoding="utf-8"))
        return {
            one["labels"]["pod"]: f"http://{one['targets'][0]}" for one in targets if one["labels"]["job"] == "store"
        }

    def states(self):
        """Pod -> what it says of itself; {} of one that does not answer."""
        return {pod: ask("GET", f"{url}/state")[1] for pod, url in self.pods().items()}

    def whole(self):
        """Wait until three replicas have everything."""
        until(lambda: sum(state.get("member", False) for state in self.states().values()) == 3, "not three members")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    directory = tmp_path_factory.mktemp("store") / "sandbox"
    endpoints = sandbox.up("store", directory, owned=True)
    yield Store(endpoints)
    sandbox.down(directory)


def test_what_was_acknowledged_outlives_two_leaders_in_quick_succession(store):
    store.whole()
    names = [f"quick{number}" for number in range(20)]
    for _ in range(2):
        store.write(*names[:10])
        names = names[10:] + names[:10]
        leader = store.leader()
        assert ask("DELETE", f"{store.api}{PODS}/{leader}", {"gracePeriodSeconds": 0})[0] == 200
        store.next_leader(leader)
    assert sorted(store.ids("quick")) == sorted(names)


def test_lost_followers_are_replaced_although_nothing_is_written(store):
    """Those lost before have all there is, too, but must not take the place of one that lives."""
    for _ in range(4):
        store.whole()
        leader = store.leader()
        lost = next(pod for pod in store.pods() if pod != leader)
        assert ask("DELETE", f"{store.api}{PODS}/{lost}", {"gracePeriodSeconds": 0})[0] == 200
        until(lambda lost=lost: lost not in store.pods(), f"{lost} stays")
    store.whole()


def test_the_same_id_twice_is_stored_once_and_the_list_is_in_order(store):
    store.write("twice1", "twice2", "twice1", "twice3", "twice2")
    assert store.ids("twice") == ["twice1", "twice2", "twice3"]
    assert store.status_of("twice2") == 200
    assert store.status_of("twice4") == 404


def test_a_leader_that_is_cut_off_acknowledges_nothing(store):
    store.whole()
    leader = store.leader()
    zone = ask("GET", f"{store.api}{PODS}/{leader}")[1]["metadata"]["labels"][ZONE]
    inside = [{"podSelector": {"matchLabels": {ZONE: zone}}}]
    spec = {"podSelector": inside[0]["podSelector"], "policyTypes": ["Ingress", "Egress"]}
    spec |= {"ingress": [{"from": inside}], "egress": [{"to": inside}]}
    assert ask("POST", store.api + POLICIES, {"metadata": {"name": "cut"}, "spec": spec})[0] == 201
    try:
        old = store.pods()[leader]  # reached past the network, as by somebody on its side of the cut
        early = (f"early{number}" for number in count())
        until(lambda: ask("POST", f"{old}/entries", {"id": next(early)})[0] == 503, "the cut is not in force")
        codes = {ask("POST", f"{old}/entries", {"id": f"minority{number}"})[0] for number in range(3)}
        store.next_leader(leader)
        store.write("majority")
        codes |= {ask("POST", f"{old}/entries", {"id": f"minority{number}"})[0] for number in range(3)}
        assert codes == {503}
    finally:
        ask("DELETE", f"{store.api}{POLICIES}/cut", {})
    until(lambda: len({state.get("entries") for state in store.states().values()}) == 1, "the logs differ")
    assert store.ids("m") == ["majority"]  # what nobody else had is gone when the minority comes back


def test_the_shop_sells_on_without_its_store_and_takes_orders_when_it_is_back(store):
    scale = ask("GET", store.api + SCALE)[1]
    ask("PUT", store.api + SCALE, {**scale, "spec": {"replicas": 0}, "metadata": {"name": "store"}})
    until(lambda: not store.pods(), "the pods stay")
    until(lambda: ask("GET", f"{store.shop}/items")[0] == 200, "no items")
    assert ask("POST", f"{store.shop}/orders", {})[0] in (503, 504)
    ask("PUT", store.api + SCALE, {**scale, "spec": {"replicas": 3}, "metadata": {"name": "store"}})
    until(lambda: ask("POST", f"{store.shop}/orders", {})[0] == 201, "no orders")
    assert store.ids("order.")
