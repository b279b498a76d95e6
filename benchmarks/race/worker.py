"""One side of a race, a process that works only in its turns: commands come in as lines of JSON, answers go out so.

    {"work": i, "side": name} -> {"first": seconds, "second": seconds}     builds it and does two units of it
    {"seconds": s}            -> {"tokens": n, "seconds": s}                a turn: a unit, then timed ones for `s` s
    {}                        -> {"base": MiB, "peak": MiB}                 resident memory, before the work and at most

Look first at: `serve`.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.race.works import WORKS, Work

Unit = Callable[[], int]  # does some of the work, waits for it, and returns how many tokens that was


def resident(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most (Linux)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def serve(build: Callable[[Work, str], Unit]) -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    base, unit = 0.0, None
    for line in sys.stdin:
        command = json.loads(line)
        if "work" in command:
            base = resident("VmRSS")
            times = [time.perf_counter()]
            unit = build(WORKS[command["work"]], command["side"])
            for _ in range(2):
                unit()
                times.append(time.perf_counter())
            answer = {"first": times[1] - times[0], "second": times[2] - times[1]}
        elif "seconds" in command and unit is not None:
            unit()  # not timed: systems take back the memory of a process that waits
            tokens, begin = 0, time.perf_counter()
            while (seconds := time.perf_counter() - begin) < command["seconds"]:
                tokens += unit()
            answer = {"tokens": tokens, "seconds": seconds}
        else:
            answer = {"base": base, "peak": resident("VmHWM")}
        print(json.dumps(answer), file=answers, flush=True)
