"""A module beside the locustfile, as test data often is."""

ROWS = [("ann", "secret"), ("bob", "hush")]
