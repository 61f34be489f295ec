"""
The load driver: open arrivals on Locust's own master/worker engine.

`driver` runs in the conductor and starts the engine; `master` and `worker` are the engine's entry modules and the
only ones, with what they load (`hooks`, `slots`, `pacing`, `fast`), that import locust or gevent. What they agree on,
`spec`, `stripes`, `accounts` and `tally`, is plain arithmetic. Users are capacity: a User is a slot that takes
arrivals, and the arrivals' times come from `harness.schedule.load` alone.

One arrival is one run of one task. It is recorded once, when it is settled, under the name of its first request: timed
from its intended start to the end of its last request, failed when any of its requests failed. Its lag and service
time count from the sending of its first request. A task without requests is recorded under its own name, an arrival
that no user took before its deadline under its User class.
"""
