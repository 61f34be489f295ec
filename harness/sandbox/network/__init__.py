"""
The sandbox's user-space network: who may reach whom, over which real sockets.

Pods have virtual addresses and real ports on 127.0.0.1. Every request between them, and every request from outside
to a service, is carried by a proxy of this package, which knows both ends. `policy` (NetworkPolicy), `chaos`
(NetworkChaos) and `balance` are pure; `lane`, `link` and `proxy` carry bytes; `fabric` keeps the tables in step with
the store. It serves HTTP/1.1, nothing else.
"""
