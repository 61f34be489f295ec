"""
Judging: from a recorded run to its verdict.

`judge.judge` is a pure function of the run and never raises; `judge.tripped` applies the same rules to the phase in
force while a run goes on. Knows the plan, the history and the schedule's arithmetic; no clock, no I/O, no randomness.
"""
