"""Load tests and chaos experiments in one run, judged by SLIs. The rooms are toured in docs/whats-here.md."""
