"""
The local cluster: a Kubernetes-shaped sandbox of local processes with the demo shop and a real Prometheus.

Experiments, observers and `kubectl` work on it as on a real cluster. One process is the control plane (API server,
controllers, kubelets and network); pods and Prometheus are its children. It knows nothing of the rest of the harness.
"""

from __future__ import annotations

from harness.sandbox.files import Endpoints, Version
from harness.sandbox.guests import scraped
from harness.sandbox.supervisor import default_state_dir, down, status, up

__all__ = ["Endpoints", "Version", "default_state_dir", "down", "scraped", "status", "up"]
