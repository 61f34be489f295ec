"""The actions that ship with the harness, by name, and the arguments that an experiment gives them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

ROOM = "harness.drivers.faults."
"""What their modules' names begin with."""

_AT = ("namespace", "selector")
_IN = ("zone", "namespace", "selector")
_OF = ("deployment", "namespace", "selector")
_LIMITED = ("run", "ttl_s")

ACTIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "pods.delete_pods": (
            _AT,
            ("count", "share", "zone", "grace_s", "rounds", "every_s", "seed", "max_share", *_LIMITED),
        ),
        "leader.delete_leader": (("lease", *_AT), ("grace_s", *_LIMITED)),
        "rollouts.restart_rollout": (_OF, _LIMITED),
        "rollouts.set_image": (("image", *_OF), ("container", *_LIMITED)),
        "rollouts.undo_rollout": (("deployment", "namespace"), ("timeout_s", *_LIMITED)),
        "rollouts.scale": (_OF, ("replicas", *_LIMITED)),
        "rollouts.unscale": (("deployment", "namespace"), _LIMITED),
        "partition.partition_zone": (_IN, _LIMITED),
        "partition.heal_zone": (("zone", "namespace"), ("run",)),
        "partition.partition_zone_by_mesh": (_IN, _LIMITED),
        "partition.heal_zone_by_mesh": (("zone", "namespace"), ("run",)),
        "network.delay_zone": ((*_IN, "delay_ms"), ("jitter_ms", *_LIMITED)),
        "network.lose_packets_of_zone": ((*_IN, "loss"), _LIMITED),
        "network.restore_network": (("zone", "namespace"), ("run",)),
        "nodes.drain_nodes": (_AT, ("count", "node", "zone", "timeout_s", "seed", *_LIMITED)),
        "nodes.undrain_nodes": (("namespace",), _LIMITED),
        "zones.taint_zone": (_IN, _LIMITED),
        "zones.untaint_zone": (("zone", "namespace"), ("run",)),
        "zones.empty_zone": (_IN, _LIMITED),
        "zones.reopen_zone": (("zone", "namespace"), ("run",)),
        "zones.stop_zone": (_IN, ("stop", "start", *_LIMITED)),
        "zones.start_zone": (("zone", "namespace"), ("start", "run")),
    }
)
"""The required and the optional arguments of each, by its module and name within the room."""
