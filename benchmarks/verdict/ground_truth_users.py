"""The customer of the ground truth benchmark: one request, one answer."""

from locust import task

from harness.drivers.locust.fast import FastUser


class Customer(FastUser):
    """Asks for one thing; the host is the service's URL."""

    @task
    def ask(self) -> None:
        """Ask."""
        self.client.get("/")
