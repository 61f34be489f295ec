"""
The data-loss audit: a child process that writes to a service while a run lasts, and reads everything back at the end.

`driver` is what the conductor sees, `child` the process, `target` the HTTP contract, `writing` and `reading` what it
does, `ledger` the record of what was acknowledged, `counting` what follows from it.
"""
