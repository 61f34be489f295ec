"""
What users talk to a service with: the fast HTTP client, WebSockets and gRPC.

`http`, `websocket` and `grpc` hold the User classes for locustfiles. Below them: `transport` is one connection, `wire`
turns requests into bytes and bytes into answers, `account` tells the pool (or Locust) what became of a request.
Nothing here paces or counts arrivals, and nothing is sent twice: what fails has failed.
"""
