"""The fast HTTP user, under the name that locustfiles import it by."""

from harness.drivers.locust.clients.answer import Answer
from harness.drivers.locust.clients.http import FastClient, FastUser

__all__ = ["Answer", "FastClient", "FastUser"]
