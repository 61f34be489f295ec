# Read by nobody: only that it exists matters.
