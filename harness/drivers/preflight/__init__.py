"""
Before the run: what each fault may touch, and whether it may be played at all.

`look` reads the cluster once (`seen`), in a child process, and decides: `targets` freezes what may be touched, `checks`
has what must be so beside that. Nothing is changed. It knows the faults (what each action asks of the cluster); they do
not know it.
"""
