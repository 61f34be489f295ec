"""The world as the conductor sees it: one driver each for load, faults, metrics and the cluster."""
