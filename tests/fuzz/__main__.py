"""`python -m tests.fuzz datagrams|files --count N --seed S`: damaged input by the million, by hand.

Prints a line every 10 s and a JSON line at the end: how many, how fast, and how much memory grew. The first input that
breaks a promise ends it with a traceback; the same seed finds it again.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from .datagrams import Targets
from .files import Readers

EVERY = 1_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("datagrams", "files"))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="voicelink-fuzz-") as scratch:
        made = Targets(options.seed) if options.what == "datagrams" else Readers(options.seed, Path(scratch))
        run(made, options.count, vars(options))
    return 0


def run(made: Targets | Readers, count: int, options: dict[str, object]) -> None:
    start_s = shown_s = time.monotonic()
    early: dict[str, int] | None = None
    slowest_s = 0.0
    while made.sent < count:
        before_s = time.monotonic()
        for _ in range(EVERY):
            made.strike()
        now_s = time.monotonic()
        slowest_s = max(slowest_s, now_s - before_s)
        if early is None and made.sent >= count // 10:
            early = memory()
        if now_s - shown_s > 10:
            shown_s = now_s
            sys.stderr.write(f"{made.sent} in {now_s - start_s:.0f} s, {resident_kib()} KiB\n")
    seconds = time.monotonic() - start_s
    figures = {"sent": made.sent, "per_s": round(made.sent / seconds), "slowest_thousand_s": round(slowest_s, 2)}
    grown = {"at_a_tenth": early, "at_the_end": memory(), "kib_peak": peak_kib()}
    sys.stdout.write(json.dumps(options | figures | grown) + "\n")
    sys.stdout.flush()


def memory() -> dict[str, int]:
    """Resident, which holes in the heap make grow for a while, and Python's objects, which only a leak makes grow."""
    gc.collect()
    return {"kib": resident_kib(), "blocks": sys.getallocatedblocks()}


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
