"""
Conducting: the one place with a loop, which plays a schedule on the drivers and writes the history down.

`loop.conduct` runs a plan; `ending` says what the end of a run waits for, and for how long at most. Knows drivers by
their protocols only.
"""
