"""Writing with a published model, beside llama.cpp: SmolLM2-135M-Instruct, the same GGUF file (Q4_1), the same cores.

    python -m benchmarks.llama_cpp FOLDER [--peer .venv-peers/bin/python] [--rounds 7]    # after benchmarks.smollm2

FOLDER is that of `benchmarks.smollm2`, with the file and the run made of it. The peer's Python has `xllamacpp`, a
binding of llama.cpp. Each side is a process of its own, and they take turns: 128 tokens at temperature 0.8, top-k 50,
top-p 0.95. Here the weights are those of the file as float32, bfloat16 or
int8; llama.cpp computes with the file's four bits.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import get_args

from linearnexus.models.config import Weights

PROMPT, TOKENS = "Once upon a time", 128
PEER = f"""
import os, resource, sys, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.n_parallel, settings.verbosity = sys.argv[1], 512, 1, -1
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
server = xllamacpp.Server(settings)
for line in sys.stdin:
    answer = server.handle_completions(dict(
        prompt={PROMPT!r}, n_predict={TOKENS}, max_tokens={TOKENS}, temperature=0.8, top_k=50, top_p=0.95,
        seed=int(line), ignore_eos=True, stream=False,
    ))
    times = answer["timings"]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print("speed", times["predicted_n"] / times["predicted_ms"] * 1000, memory, flush=True)
"""


def serve(folder: str, weights: str) -> None:
    """A side of ours: for each line, a seed, the tokens a second and the process's peak memory in MiB."""
    from linearnexus.core.machine import prepare

    prepare()
    import resource

    import linearnexus as ln
    from linearnexus.generation.config import SamplingConfig

    generator = ln.load(folder, weights=weights).generator
    for line in sys.stdin:
        sampling = SamplingConfig(top_k=50, top_p=0.95, seed=int(line))
        began = time.perf_counter()
        made = generator.generate(PROMPT, TOKENS, sampling)[0].tokens
        seconds = time.perf_counter() - began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print("speed", len(made) / seconds, memory, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer", default=".venv-peers/bin/python")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", metavar="WEIGHTS", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    run = str(chosen.folder / "runs" / "smol")
    if chosen.serve:
        serve(run, chosen.serve)
        return
    (file,) = chosen.folder.glob("**/*.gguf")
    commands = {"llama.cpp, Q4_1": [chosen.peer, "-c", PEER, str(file)]}
    for weights in get_args(Weights):
        commands[weights] = [sys.executable, "-m", "benchmarks.llama_cpp", str(chosen.folder), "--serve", weights]
    sides = {
        name: subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for name, command in commands.items()
    }
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in sides}
    for number in range(chosen.rounds + 1):
        for name, side in sides.items():
            assert side.stdin and side.stdout
            side.stdin.write(f"{number}\n")
            side.stdin.flush()
            words = next(line.split() for line in side.stdout if line.startswith("speed"))
            if number:  # the first compiles
                found[name].append((float(words[1]), int(words[2])))
    for side in sides.values():
        side.communicate()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{date.today()}, {cores} cores ({platform.machine()}), JAX {version('jax')}, {chosen.rounds} rounds")
    print("| weights | tokens/s | of llama.cpp's | peak memory, MiB |\n|---|---:|---:|---:|")
    peer = [speed for speed, _ in found["llama.cpp, Q4_1"]]
    for name, rows in found.items():
        speeds = [speed for speed, _ in rows]
        ratio = statistics.median(a / b for a, b in zip(speeds, peer, strict=True))
        print(f"| {name} | {statistics.median(speeds):.1f} | {ratio:.2f} | {max(memory for _, memory in rows):,} |")


if __name__ == "__main__":
    main()
