"""A locustfile is only looked for, never run, when a plan is read."""
