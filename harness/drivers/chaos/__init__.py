"""
Faults: playing Chaos Toolkit experiments so that every one of them is undone.

`driver` (in the conductor's process, which never imports chaoslib) plays one `child` process per fault, holds one
`watchdog` process for all of them, and the cluster by a `keeper` process. Before anything begins, a child rehearses its
experiment. Whoever plays an undo writes it down in the `ledger`; what is left in it, `heal` undoes later. `halt` ends
live runs from another process.

What dies, and what then undoes the fault:

- an action: Chaos Toolkit's rollbacks, in the child;
- the child: the watchdog's `standby`, which has imported all that it takes, asked by the driver;
- the conductor: the child, which sees its stdin end; behind it the watchdog, which sees the same, kills a child that is
  not done at once, and has the standby undo;
- nobody, but the fault is not ended (a conductor that hangs): the watchdog, at the fault's deadline;
- all of them: the cluster, which the keeper no longer tells that the run lives; and `heal`, before the next run.

An undo may therefore be played twice, also at the same time: it has to be idempotent.
"""
