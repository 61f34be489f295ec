"""
Faults: playing Chaos Toolkit experiments so that every one of them is undone.

`driver` (in the conductor's process, which never imports chaoslib) plays one `child` process per fault and holds
one `watchdog` process for all of them. Whoever plays an undo writes it down in the `ledger`; what is left in it,
`heal` undoes later.

What dies, and what then undoes the fault: an action - Chaos Toolkit's rollbacks in the child · the child - a fresh
child started by the driver · the conductor - the child itself, which sees its stdin end, and behind it the watchdog,
which sees the same · all of them - `heal`, before the next run. An undo may therefore be played twice: it has to be
idempotent.
"""
