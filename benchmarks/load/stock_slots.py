"""The locustfile of one_core.py's third part: Locust's own FastHttpUser, unchanged, as slots of the engine."""

from locust import FastHttpUser, task


class Fast(FastHttpUser):
    """One short request per arrival."""

    @task
    def get(self) -> None:
        """Ask once."""
        self.client.get("/")
