"""
A server that stands still for 2 s in 16 s at 500 arrivals/s, and what percentiles say of it.

    python benchmarks/load/stall.py

An arrival intended x seconds before the server goes on takes x: of 8,000 arrivals 500 (2 - t) are slower than t, so
p95 is 1.2 s, p99 is 1.84 s, and 11.9 % are slower than 100 ms. Timed from the send, with users that wait for each
other, the same stall shows as a p99 of some 30 ms. The server is stopped with SIGSTOP; its real length is what counts.
Target: within 2 % of that.
"""

from __future__ import annotations

import sys
import threading

from stage import S, Targets, cores, ms, nginx, phase, plan_of, play, stopped

from harness.drivers.base import LoadDriver

RATE = 500
SECONDS = 16
STALL_S = 2.0
FROM_S = 6.0
LIMIT_S = 0.1
WITHIN = 0.02


def main() -> int:
    """Measure, print, and say whether the targets are reached."""
    targets, lengths = Targets(), []
    with nginx(cores()[0]) as running:
        stall = threading.Thread(target=lambda: lengths.append(stopped(running.worker_pid, STALL_S)))

        def midway(_driver: LoadDriver, now_ns: int) -> None:
            if now_ns >= FROM_S * S and stall.ident is None:
                stall.start()

        plan = plan_of(running.url, RATE, (phase("steady", 0, SECONDS),), workers=2)
        played = play(plan, midway=midway)
        stall.join()
    total, (stall_s,) = RATE * SECONDS, lengths
    counts, response = played.totals(), played.response()
    print(f"      stalled for {stall_s:.4f} s; {dict(counts)}")
    targets.check("every arrival answered", f"{counts['ok']} of {total}", kept=counts["ok"] == total)
    expected = {q: stall_s - (1 - q) * SECONDS for q in (0.95, 0.99)}
    for q, wanted_s in expected.items():
        found_s = ms(response, q) / 1000
        error = found_s / wanted_s - 1
        targets.check(f"p{q * 100:g} is {wanted_s:.3f} s", f"{found_s:.3f} s, {error:+.1%}", kept=abs(error) <= WITHIN)
    share, wanted = response.count_above(LIMIT_S * 1e6)[1] / total, (stall_s - LIMIT_S) / SECONDS
    error = share / wanted - 1
    targets.check(f"{wanted:.2%} slower than 100 ms", f"{share:.2%}, {error:+.1%}", kept=abs(error) <= WITHIN)
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(main())
