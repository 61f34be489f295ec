"""
The eyes on a Kubernetes cluster: which pods a fault may touch, and what becomes of pods, endpoints and zones.

`driver` and `preflight.resolve_in_child` are what the conductor uses; they start child processes. Only those children
import the Kubernetes client library.
"""
