"""`python -m tests.sound --minutes 10`: a long call through PulseAudio's null sinks, looked at again and again.

Prints a line for each time, and a JSON object at the end; the exit code is 1 where a bound is broken: what is heard
stays understood and in time, neither buffer nor memory grows, and devices stumble a few times a minute at most.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.sound.line import NAMES, Line, heard_of, report, talk, warm_up
from tests.sound.pulse import Pulse, missing

EVERY_S = 30.0
MAX_GROWTH_MB = 10.0
MAX_XRUNS_A_MINUTE = 6.0
MAX_UNDERRUNS_A_MINUTE = 60.0
#: Where the machine keeps the codec thread from working, the sound card runs dry at each block: no fault of ours.
UNDERRUNS_A_STALLED_MS = 1 / 11.6
MIN_ESTOI = 0.7
MAX_P95_MS = 200.0
MAX_RISE_MS = 25.0


def main() -> int:
    """Hold the call and judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    if why_not := missing():
        sys.stdout.write(f"skipped: {why_not}\n")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pulse = Pulse(folder)
        try:
            line = Line(pulse, folder)
            try:
                line.wait_connected()
                looks = hold(line, pulse, options.minutes * 60)
                figures = line.hang_up()
            finally:
                line.close()
        finally:
            pulse.kill()
    faults = judge(looks, figures)
    sys.stdout.write(json.dumps({"looks": looks, "faults": faults}) + "\n")
    return 1 if faults else 0


def hold(line: Line, pulse: Pulse, seconds: float) -> list[dict[str, Any]]:
    """Talk every half minute; what was heard, and each end's memory, by the time of the call."""
    looks: list[dict[str, Any]] = []
    warm_up(pulse)
    start_s = time.monotonic()
    while (at_s := time.monotonic() - start_s) < seconds:
        look: dict[str, Any] = {"at_s": round(at_s)}
        try:
            heard = heard_of(talk(pulse))
        except AssertionError as error:  # go on: the figures at the end say whether the machine was at fault
            look["unheard"], heard = str(error), {}
        for name in heard:
            look[name] = {
                "estoi": heard[name].estoi,
                "p50_ms": heard[name].p50_ms,
                "p95_ms": heard[name].p95_ms,
                "resident_mb": round(line.resident_mb(name), 1),
            }
        looks.append(look)
        sys.stdout.write(json.dumps(look) + "\n")
        sys.stdout.flush()
        time.sleep(max(0.0, min(EVERY_S - (time.monotonic() - start_s - at_s), seconds - (time.monotonic() - start_s))))
    return looks


def judge(looks: list[dict[str, Any]], figures: dict[str, dict[str, Any]]) -> list[str]:
    """What was not as it should be."""
    report({}, figures)
    faults = [f"at {look['at_s']} s: {look['unheard']}" for look in looks if "unheard" in look]
    for name in NAMES:
        mine = [look[name] | {"at_s": look["at_s"]} for look in looks if name in look]
        for look in mine:
            if look["estoi"] < MIN_ESTOI or look["p95_ms"] > MAX_P95_MS:
                faults.append(
                    f"{name} at {look['at_s']} s: ESTOI {look['estoi']}, mouth to ear p95 {look['p95_ms']} ms"
                )
        if mine and mine[-1]["p50_ms"] > mine[0]["p50_ms"] + MAX_RISE_MS:
            faults.append(f"{name}: mouth to ear grew from {mine[0]['p50_ms']} to {mine[-1]['p50_ms']} ms")
        if mine and mine[-1]["resident_mb"] > mine[0]["resident_mb"] + MAX_GROWTH_MB:
            faults.append(f"{name}: memory grew from {mine[0]['resident_mb']} to {mine[-1]['resident_mb']} MB")
        end = figures[name]
        for key, most in (("device_xruns", MAX_XRUNS_A_MINUTE), ("underruns", MAX_UNDERRUNS_A_MINUTE)):
            if end[key] > most * max(1.0, end["seconds"] / 60) + UNDERRUNS_A_STALLED_MS * end["stalled_ms"]:
                stalled_s = end["stalled_ms"] / 1000
                faults.append(f"{name}: {end[key]} {key} in {end['seconds']:.0f} s, {stalled_s:.1f} s of them stalled")
    return faults


if __name__ == "__main__":
    sys.exit(main())
