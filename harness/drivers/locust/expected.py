"""What locustfiles expect of Locust around a run, and Locust leaves to its command line and its own master."""

from __future__ import annotations

from typing import Any

from locust.argument_parser import get_parser

from harness.drivers.locust.clients import kept, names


def options() -> Any:
    """
    Locust's options at their defaults, with those that the locustfile adds.

    Their values come from where Locust looks besides the command line: environment variables, locust.conf.
    """
    return get_parser().parse_args([])


def prepare() -> None:
    """Make ready what clients need before the first of them is made."""
    kept.install()
    names.install()


def tell_when_spawned(environment: Any) -> None:
    """Wait until the first users were started, and say so to whoever listens for it."""
    environment.runner.spawning_greenlet.join()
    environment.events.spawning_complete.fire(user_count=environment.runner.user_count)
