"""Writes and checks the goldens: what LinearNexus computed at a commit, in goldens.json and in folders/.

    python -m tests.golden --check                     everything but the largest weights, in a few minutes
    python -m tests.golden --check losses samples      some parts
    python -m tests.golden --write options --because "..."   measures a part anew, where a difference is meant
    python -m tests.golden --folders                   makes the stopped runs in folders/ anew

On the machine and the versions that the goldens were made with, numbers are compared bit for bit; elsewhere within what
rounding does to them (TOLERANCE). Trace times and counts of programs are bounds: fewer and faster is fine.

Look first at: `differences`.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

from tests.golden import measure

GOLDENS = measure.HERE / "goldens.json"
TOLERANCE = 2e-3  # of a loss after 20 steps, where another machine rounds otherwise
LATER = ("large weights",)  # only on request: minutes, and gigabytes


def differences(golden: Any, now: Any, exact: bool, place: str = "") -> list[str]:
    """What two measurements do not have in common, each in a line."""
    if isinstance(golden, dict) and isinstance(now, dict):
        found = [f"{place}: {key} is missing" for key in golden.keys() - now.keys()]
        found += [f"{place}: {key} is new" for key in now.keys() - golden.keys()]
        for key in golden.keys() & now.keys():
            if key == "sha256" and not exact:
                continue  # the sums beside it are compared
            found += differences(golden[key], now[key], exact, f"{place} / {key}")
        return found
    if isinstance(golden, list) and isinstance(now, list):
        if len(golden) != len(now):
            return [f"{place}: {len(golden)} entries became {len(now)}"]
        return [
            line
            for number, (one, other) in enumerate(zip(golden, now, strict=True))
            for line in differences(one, other, exact, f"{place}[{number}]")
        ]
    if "trace seconds" in place or "compiled" in place:
        # other tests run beside this one, and take from its time
        limit = golden * (4 if "PYTEST_CURRENT_TEST" in os.environ else 1.5) + 0.5 if "trace" in place else golden
        return [f"{place}: {golden} became {now}"] if now > limit else []
    if isinstance(golden, float) and isinstance(now, float) and not exact:
        return [] if math.isclose(golden, now, rel_tol=TOLERANCE, abs_tol=1e-6) else [f"{place}: {golden} became {now}"]
    return [] if golden == now else [f"{place}: {golden!r} became {now!r}"]


def check(parts: list[str]) -> list[str]:
    """Measures the parts and compares. Ids are drawn by thresholds that rounding can cross, so only on the same machine
    must all of them be the same; elsewhere one setting in ten may differ."""
    kept = json.loads(GOLDENS.read_text())
    exact = kept["machine"] == measure.machine()
    print(f"The goldens are those of {kept['commit']}; compared {'bit for bit' if exact else 'within rounding'}.")
    found = []
    for part in parts:
        began = time.monotonic()
        golden, now = kept[part], json.loads(json.dumps(measure.PARTS[part]()))
        lines = differences(golden, now, exact, part)
        if not exact and part == "samples":
            same = sum(golden[name] == now[name] for name in golden)
            lines = [] if same >= 0.9 * len(golden) else [f"{part}: only {same} of {len(golden)} settings are the same"]
        print(f"{part}: {len(lines)} differences ({time.monotonic() - began:.0f} s)", flush=True)
        found += lines
    return found


def write(parts: list[str], because: str) -> None:
    """Measures parts anew. What differs from the golden before is kept with its reason, the rest stays."""
    kept = json.loads(GOLDENS.read_text())
    reasons = kept.setdefault("differences", {})
    for part in parts:
        golden, now = kept[part], json.loads(json.dumps(measure.PARTS[part]()))
        for key in sorted(golden.keys() | now.keys()):
            if key not in now:
                del golden[key]
            elif key in golden and not differences(golden[key], now[key], True, f"{part} / {key}"):
                continue
            else:
                golden[key] = now[key]
            reasons[f"{part} / {key}"] = because
            print(f"{part} / {key}: {because}", flush=True)
    GOLDENS.write_text(json.dumps(kept, separators=(",", ":"), sort_keys=True).replace("],", "],\n") + "\n")


def make_folders() -> None:
    """Runs that were stopped: three as a kill leaves them after the checkpoint of step 10, and one that got SIGTERM in
    the middle of an epoch. Their data is named relative to this folder."""
    from linearnexus import api
    from linearnexus.data import story_questions
    from linearnexus.data.stories import generate

    questions = story_questions.generate(40)
    measure.QUESTIONS.write_text(questions)
    spoken = [json.loads(line)["messages"] for line in questions.splitlines()]
    asked = "\n\n".join(f"{m['role'].title()}: {m['content']}" for messages in spoken for m in messages)
    measure.TEXT.write_text(generate()[:12_000] + "\n\n" + asked + "\n")
    os.chdir(measure.HERE)
    shutil.rmtree(measure.FOLDERS, ignore_errors=True)
    size = {"n_layer": 2, "hidden_size": 16, "n_head": 2, **measure.SHORT, "data": "text.txt", "quiet": True}
    with tempfile.TemporaryDirectory() as scratch:
        base = api.train("gpt-nano", name=f"{scratch}/base", **size)
        api.train("gpt-nano", name="folders/muon", **{**size, "optimizer": "muon", "seed": 3})
        deep = {**size, "n_layer": 14, "hidden_size": 8, "optimizer": "adamw", "accumulate": 2}
        api.train("gpt-nano", name="folders/deep", **deep)
        tuned = {
            "sequence_length": 256,
            "batch_size": 2,
            "max_steps": 20,
            "epochs": None,
            "log_interval": 1,
            "eval_interval": 10,
            "sample_tokens": 0,
        }
        api.sft(base.folder, "questions.jsonl", name="folders/lora", quiet=True, rank=2, **tuned)
    for name in ("muon", "deep", "lora"):
        folder = measure.FOLDERS / name
        shutil.rmtree(folder / "checkpoints" / "step_00000020")
        shutil.rmtree(folder / "checkpoints" / "step_00000000", ignore_errors=True)
        shutil.rmtree(folder / "adapter", ignore_errors=True)
    small = ("--hidden-size", "16", "--sequence-length", "32", "--batch-size", "4")
    command = [sys.executable, "-m", "linearnexus.cli.main", "train", "jamba-nano", "--n-layer", "4", *small]
    command += [
        "--n-head",
        "2",
        "--data",
        "text.txt",
        "--name",
        "folders/stopped",
        "--epochs",
        "2",
        "--tokenizer",
        "char",
    ]
    command += ["--sample-tokens", "0", "--optimizer", "sophia", "--log-interval", "7", "--eval-interval", "1000"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(measure.ROOT)}, stdout=subprocess.DEVNULL)
    log = measure.FOLDERS / "stopped" / "metrics.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_text().count("tokens_per_second") > 4):
        time.sleep(0.01)
    process.terminate()
    process.wait()
    for path in measure.FOLDERS.glob("*/report.html"):
        path.unlink()
    (measure.FOLDERS / "latest").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true")
    action.add_argument("--write", action="store_true")
    action.add_argument("--folders", action="store_true")
    parser.add_argument("--because", default="", help="why numbers of --write may differ from those before")
    parser.add_argument("parts", nargs="*", choices=[*measure.PARTS, []], help="default: all but the largest weights")
    given = parser.parse_args()
    parts = list(given.parts) or [part for part in measure.PARTS if part not in LATER]
    if given.folders:
        make_folders()
    elif given.write:
        if len(given.because) < 40:
            parser.error("--write asks for --because and a sentence that says why the numbers may differ")
        write(parts, given.because)
    else:
        found = check(parts)
        print("\n".join(found[:60]))
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
