"""
The demo shop: the service that the sandbox's pods run, with a known capacity and Prometheus metrics.

`python -m harness.sandbox.shop good|bad` listens on 127.0.0.1:$PORT. It knows nothing of the rest of the sandbox
but the HTTP server protocol.
"""
