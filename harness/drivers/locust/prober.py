"""The locustfile of `harness doctor`: one short request per arrival."""

from locust import task

from harness.drivers.locust.fast import FastUser


class Prober(FastUser):
    """Asks the stub."""

    @task
    def probe(self) -> None:
        """Ask once."""
        self.client.get("/")
