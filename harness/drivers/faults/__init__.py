"""
What can be done to a cluster, and how it is undone: Chaos Toolkit actions, for `harness run` and for plain `chaos run`.

`act` is what all of them share: a connection to a cluster that was named, the run's dead-man Job, and the frozen list
of what may be touched. `marks` writes onto every object that is changed how to change it back, in the same request;
what is created carries the run's label and goes with its dead-man Job. `sweep` undoes both, of any run, from labels and
annotations alone.
"""
