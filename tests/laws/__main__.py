"""Measures the law for every mixer and every preset, in both precisions, and prints the errors as Markdown.

    python -m tests.laws                          all of it: several minutes on two cores
    python -m tests.laws --only mamba gla         rows whose name has one of these texts
    python -m tests.laws --write docs/laws.md     also into a file

Exits with 1 if any error is above the law's tolerance (and, of a preset in float32, above twice what rounding does).
"""

import argparse
import datetime as dt
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.laws.table import OPERATIONS, TEXT, keeps, measure, measure_operation, operations_table, table


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.laws", description="Measure every mixer's and preset's errors."
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there too")
    parser.add_argument("--only", nargs="*", default=[""], metavar="TEXT", help="rows whose name has one of these")
    options = parser.parse_args()

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if cores > 1:
        os.environ["NPROC"] = "1"  # XLA's threads: each process has one core
    import jax

    from tests.laws import law, operations, subjects

    names = [("mixer", name) for name in subjects.mixer_examples()] + [
        ("preset", name) for name in subjects.presets.presets()
    ]

    def wanted(name: str) -> bool:
        return any(text in name for text in options.only)

    names = [(kind, name) for kind, name in names if wanted(name)]
    jobs = [(kind, name, dtype) for kind, name in names for dtype in law.TOLERANCE]
    families = [(name, dtype) for name in operations.FAMILIES for dtype in law.TOLERANCE if wanted(name)]
    begin = time.perf_counter()
    results = {}
    # spawned, not forked: JAX has threads; a fresh process a job, so that compiled code is freed
    with ProcessPoolExecutor(cores, get_context("spawn"), max_tasks_per_child=1) as pool:
        waiting = {pool.submit(measure, *job): job for job in reversed(jobs)}  # the long ones first
        extremes = {family: pool.submit(measure_operation, *family) for family in families}
        for done in as_completed(waiting):
            job = waiting[done]
            label, found, leaks, seconds = done.result()
            results[job] = label, found, leaks
            print(
                f"{len(results)}/{len(jobs)}  {label}, {job[2]}: {seconds:.0f} s", *leaks, sep="\n  ", file=sys.stderr
            )

        extreme = {family: future.result()[0] for family, future in extremes.items()}

    lines = [TEXT]
    command = "python -m tests.laws" + (f" --only {' '.join(options.only)}" if any(options.only) else "")
    lines.append(
        f"`{command}`, Python {platform.python_version()}, JAX {jax.__version__}, CPU ({platform.machine()}), "
        f"{cores} cores, {dt.date.today().isoformat()}, {(time.perf_counter() - begin) / 60:.1f} minutes."
    )
    for dtype, tolerance in law.TOLERANCE.items():
        rows = [results[kind, name, dtype] for kind, name in names]
        lines += ["", f"## {dtype}, tolerance {tolerance:.0e}", "", *table(rows, tolerance)]
    if extreme:
        lines.append(OPERATIONS)
    for dtype, tolerance in law.TOLERANCE.items():
        found = {name: errors for (name, of), errors in extreme.items() if of == dtype}
        lines += [f"{dtype}, tolerance {tolerance:.0e}:", "", *operations_table(found, tolerance), ""] if found else []
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    fine = all(not leaks and keeps(found, job[2]) for job, (_, found, leaks) in results.items())
    fine = fine and all(
        max(errors) < law.TOLERANCE[dtype]
        for (_, dtype), found in extreme.items()
        for errors in found.values()
        if errors
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
