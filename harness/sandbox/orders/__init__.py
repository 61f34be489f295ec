"""
The demo store: three replicas that keep what they have acknowledged when one of them is lost.

`python -m harness.sandbox.orders good|lossy` is one replica, listening on 127.0.0.1:$PORT. The lossy one acknowledges
before it replicates: it is there to be found out.
"""
