"""The command line: argv to one call, what comes back to an exit code; nothing else."""
