"""
`python -m harness.sandbox.guard RECORDS`: the process that cleans up when the control plane was killed.

Its standard input is a pipe that only the control plane holds open. When that ends, however it ended, every process
that still has a record is killed. After an orderly end there is none.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.sandbox.files import end_recorded

if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_recorded(Path(sys.argv[1]))
