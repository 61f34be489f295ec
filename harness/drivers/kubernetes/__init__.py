"""
A Kubernetes cluster: the connection to it, what its objects say, and the eyes on it.

`driver` is what the conductor uses; it starts the `observer` as a child process, which sees what becomes of pods,
endpoints, nodes, rollouts and zones. Only child processes import the Kubernetes client library.
"""
