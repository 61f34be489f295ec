"""Marks on objects: made with the change, undone where the value is still ours, one fault of a run at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chaoslib.exceptions import ActivityFailed
from kube_doubles import kubeconfig
from pod_stage import NODES, Cluster, node

from harness.drivers.faults.act import Act, acting, restored
from harness.drivers.faults.marks import Change, marking, undoing
from harness.drivers.kubernetes.client import ApiClient
from harness.errors import DriverError
from harness.sandbox.api.patches import json_patch

NODE = f"{NODES}/node-a"
CORDON = Change(path=("spec", "unschedulable"), ours=True, role="drain")
TAINT = Change(path=("spec", "taints"), element={"key": "out", "effect": "NoExecute"}, role="zone")


def act_on(cluster: Cluster, run: str = "s_1") -> Act:
    return Act(api=cluster, namespace="shop", run=run, ttl_s=60, leased=False)


def told(cluster: Cluster) -> dict[str, Any]:
    """The node's specification, and what it carries of ours."""
    found = cluster.stored[NODE]
    ours = [key for part in ("labels", "annotations") for key in found["metadata"].get(part, {}) if "lch.dev" in key]
    return {"spec": found["spec"], "ours": ours}


def test_each_fault_of_a_run_undoes_its_own_changes() -> None:
    """The mark stays as long as one is left."""
    cluster = Cluster([(NODES, node("node-a"))])
    act = act_on(cluster)
    act.change(NODE, [CORDON])
    act.change(NODE, [TAINT])

    assert act.restore(NODE, "drain")
    assert told(cluster) == {
        "spec": {"taints": [{"key": "out", "effect": "NoExecute"}]},
        "ours": ["lch.dev/run", "lch.dev/undo"],
    }
    assert not act.restore(NODE, "drain")
    assert act.restore(NODE, "zone")
    assert told(cluster) == {"spec": {}, "ours": []}


def test_without_a_role_everything_of_the_run_is_undone_and_nothing_of_another() -> None:
    """As the sweep does."""
    cluster = Cluster([(NODES, node("node-a"))])
    act_on(cluster).change(NODE, [CORDON, TAINT])
    assert not act_on(cluster, "s_2").restore(NODE)
    with pytest.raises(DriverError, match=r"is being changed by run 's_1' already; heal that run first$"):
        act_on(cluster, "s_2").change(NODE, [CORDON])
    assert restored(cluster, NODE, None)
    assert told(cluster) == {"spec": {}, "ours": []}


def test_an_annotation_without_the_label_is_no_mark() -> None:
    """It came back from a ReplicaSet: the next change is marked anew."""
    stale = node("node-a")
    said = {"run": "old", "ttl_s": 1, "leased": False, "changes": [{"path": ["spec", "x"], "before": 1, "ours": 2}]}
    stale["metadata"] |= {"annotations": {"lch.dev/undo": json.dumps(said)}, "resourceVersion": "1"}

    marked = json_patch(stale, marking(stale, [CORDON], run="s_1", ttl_s=60, leased=False))

    assert json.loads(marked["metadata"]["annotations"]["lch.dev/undo"])["run"] == "s_1"
    after = json_patch(marked, undoing(marked))
    assert (after["spec"], after["metadata"]["annotations"]) == ({}, {})


def test_a_mark_of_another_run_than_the_label_says_is_none() -> None:
    """`kubectl rollout undo` put it in place of the run's own: what it says is long over."""
    mixed = node("node-a", unschedulable=True)
    said = {"run": "old", "ttl_s": 1, "leased": False, "changes": [{"path": ["spec", "x"], "before": 1, "ours": 2}]}
    mixed["metadata"] |= {"annotations": {"lch.dev/undo": json.dumps(said)}}
    mixed["metadata"]["labels"]["lch.dev/run"] = "s_1"
    cluster = Cluster([(NODES, mixed)])

    assert act_on(cluster).restore(NODE)
    assert told(cluster) == {"spec": {"unschedulable": True}, "ours": ["lch.dev/undo"]}
    assert not act_on(cluster).restore(NODE)


def test_a_mark_lasts_as_long_as_the_longest_of_its_changes() -> None:
    cluster = Cluster([(NODES, node("node-a"))])
    act_on(cluster).change(NODE, [CORDON])
    replace(act_on(cluster), ttl_s=30).change(NODE, [TAINT])

    assert json.loads(cluster.stored[NODE]["metadata"]["annotations"]["lch.dev/undo"])["ttl_s"] == 60


@pytest.mark.parametrize("change", ["1", "{}", '{"path":[1],"element":1}', '{"path":["spec"],"ours":1}'])
def test_a_mark_that_does_not_say_how_to_undo_a_change_is_told(change: str) -> None:
    """Before anything of it is undone."""
    torn = node("node-a")
    text = f'{{"run":"s_1","ttl_s":1,"leased":false,"changes":[{change}]}}'
    torn["metadata"] |= {"annotations": {"lch.dev/undo": text}}
    torn["metadata"]["labels"]["lch.dev/run"] = "s_1"

    with pytest.raises(DriverError, match=r"annotation lch.dev/undo cannot be read: .*; change it back by hand$"):
        act_on(Cluster([(NODES, torn)])).restore(NODE)


def test_a_label_without_the_annotation_is_taken_off() -> None:
    """`kubectl rollout undo` takes the annotation with it; what a run created keeps its label."""
    left = node("node-a")
    left["metadata"]["labels"] = {"lch.dev/run": "s_1"}
    cluster = Cluster([(NODES, left)])
    assert not act_on(cluster, "s_2").restore(NODE)
    assert act_on(cluster).restore(NODE)
    assert told(cluster)["ours"] == []

    left["metadata"] |= {"labels": {"lch.dev/run": "s_1", "lch.dev/role": "canary"}, "resourceVersion": "1"}
    assert undoing(left) == []


def test_an_action_fails_as_chaos_toolkit_wants_it(on: Callable[[Cluster], Cluster]) -> None:
    """Whatever the driver raises inside it."""
    on(Cluster([]))
    with pytest.raises(ActivityFailed, match=r"^broken$"), acting("shop", "s/1", 60, None):
        raise DriverError("broken")


class Recording(ApiClient):
    """Keeps what it would send."""

    def _json(self, method: str, path: str, **sent: Any) -> Any:
        self.sent = (method, path, sent)
        return {}


def test_a_rehearsed_deletion_says_so_in_its_body(tmp_path: Path) -> None:
    """Of a DELETE with a body, API servers do not read the query: it would delete for real."""
    api = Recording(kubeconfig(tmp_path, "http://127.0.0.1:1"), None, dry=True)
    api.delete("/x", grace_s=0, uid="u")
    assert api.sent[2]["body"] == {
        "propagationPolicy": "Background",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
        "dryRun": ["All"],
    }
