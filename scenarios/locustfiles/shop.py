"""The demo shop's customers: four look at the items for each one that orders."""

from locust import task

from harness.drivers.locust.fast import FastUser


class Customer(FastUser):
    """A customer; the host is the service's URL."""

    @task(4)
    def browse(self) -> None:
        """Look at the items."""
        self.client.get("/items")

    @task(1)
    def order(self) -> None:
        """Order one."""
        self.client.post("/orders", json={"item": 1, "quantity": 1})
