"""What happened: events, the load record, Prometheus samples, and folds over them. Pure; knows plans, not verdicts."""
