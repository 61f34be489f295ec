"""
The sandbox's Kubernetes REST API on loopback: what kubectl, client libraries and watchers speak to.

It knows the store and the kinds of objects; it decides nothing. What follows from an object is for the controllers
and kubelets, which see the same store.
"""

from __future__ import annotations

from harness.sandbox.api.server import ApiServer, PodLogs, kubeconfig, serve_api

__all__ = ["ApiServer", "PodLogs", "kubeconfig", "serve_api"]
