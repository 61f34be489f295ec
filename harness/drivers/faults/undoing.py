"""Undoing that ends with a proof: steps are repeated until the cluster says that nothing is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from harness.drivers.faults import act as acts
from harness.drivers.faults.act import Act
from harness.drivers.kubernetes.client import ApiError
from harness.drivers.kubernetes.objects import RUN, dead_man_name, jobs_path, name_of, terminating
from harness.errors import DriverError

UNDO_S = 30.0

Path = Callable[[str, str], str]


def undone(act: Act, step: Callable[[], set[str]]) -> list[str]:
    """
    Repeat `step` until it finds nothing left to undo; the names of all that it found, sorted.

    `step` undoes what it finds and returns what that was, so that an empty set is the proof. In a rehearsal it is done
    once. Refusals that may pass are waited out; DriverError after UNDO_S seconds.
    """
    found: set[str] = set()
    deadline = time.monotonic() + UNDO_S
    while True:
        try:
            left = step()
            found |= left
            if not left or act.dry:
                return sorted(found)
            why = f"kubernetes {act.api.url}: still there after {UNDO_S:g} s: {', '.join(sorted(left))}"
        except ApiError as error:
            if error.status is not None and error.status < 500 and error.status not in {409, 422, 429}:
                raise
            why = str(error)
        if time.monotonic() > deadline:
            raise DriverError(why)
        time.sleep(acts.PAUSE_S)


def removing(act: Act, kind: str, path: Path, labels: dict[str, str]) -> set[str]:
    """Delete all objects with these labels, served at `path`(namespace, name); what was there, as `kind/name`."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    try:
        found = act.api.items(path(act.namespace, ""), {"labelSelector": selector})
    except ApiError as error:
        if error.status == 404:  # a cluster that does not know the kind has none of them
            return set()
        raise
    for obj in found:
        if not terminating(obj):
            act.api.delete(path(act.namespace, name_of(obj)))
    return {f"{kind}/{name_of(obj)}" for obj in found}


def restoring(act: Act, kind: str, listed: str, path: Callable[[str], str], role: str) -> set[str]:
    """Undo the changes of that role in the run's marked objects of the list `listed`; which, as `kind/name`."""
    marked = act.api.items(listed, {"labelSelector": f"{RUN}={act.run}"})
    return {f"{kind}/{name_of(obj)}" for obj in marked if act.restore(path(name_of(obj)), role)}


@contextmanager
def taken_back(undo: Callable[[], object]) -> Iterator[None]:
    """What fails inside is undone before it is told: an action that fails leaves nothing behind. Raises as it does."""
    try:
        yield
    except DriverError:
        undo()
        raise


def let_go(act: Act) -> None:
    """Delete the run's dead-man Job of this namespace, unless a keeper does that when the run ends."""
    if not act.leased:
        with suppress(ApiError):  # it ends by itself
            act.api.delete(jobs_path(act.namespace, dead_man_name(act.run)))
