"""What `linearnexus data prepare` needs and survives, measured on text that this script makes.

    python -m benchmarks.prepare --gigabytes 2 --folder DIR                  memory, tokens/s, cores
    python -m benchmarks.prepare --gigabytes 0.3 --kills 10 --folder DIR     SIGKILL at random moments, then compare

The text is random words by Zipf's law: JSON lines, of which one in fifty is a copy, and one text file of a twentieth of
the size as a single long document. Memory is the sum of the resident sizes of all processes, sampled ten times a
second: pages that they share count once each, so the truth is below.

Look first at: `measure`, `kill`.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def generate(folder: Path, size: int) -> None:
    """Text of about `size` bytes."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    words = np.array(sorted(set(re.findall(r"[A-Za-z]+", " ".join(topics.values())))))
    words = draw.permutation(words)
    chances = 1 / np.arange(1, len(words) + 1)
    chances /= chances.sum()

    def document() -> str:
        length = int(draw.integers(30, 470))
        start = int(draw.integers(0, len(stream) - length))
        text = " ".join(stream[start : start + length])
        return text[:1].upper() + text[1:] + "."

    for number in range(7):
        stream = words[draw.choice(len(words), 2_000_000, p=chances)].tolist()
        kept: list[str] = []
        with (folder / f"{number}.jsonl").open("w") as file:
            while file.tell() < size * 0.95 / 7:
                copied = bool(kept) and draw.random() < 0.02
                text = kept[int(draw.integers(len(kept)))] if copied else document()
                if len(kept) < 5000:
                    kept.append(text)
                file.write(json.dumps({"text": text}) + "\n")
    with (folder / "long.txt").open("w") as file:
        while file.tell() < size * 0.05:
            file.write(document() + "\n")


def start(source: Path, output: Path, tokenizer: str, shard_tokens: int) -> subprocess.Popen[bytes]:
    words = ("data", "prepare", str(source), "--output", str(output), "--tokenizer", tokenizer)
    command = [sys.executable, "-m", "linearnexus.cli.main", *words, "--shard-tokens", str(shard_tokens)]
    # ignored: what multiprocessing's own process says of a kill
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore::UserWarning"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def tree(process: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(found for child in children for found in tree(int(child)))]


def resident(process: int) -> int:
    """Bytes of a process in memory."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def measure(source: Path, output: Path, tokenizer: str, shard_tokens: int) -> None:
    began, before = time.monotonic(), os.times()
    process = start(source, output, tokenizer, shard_tokens)
    peak, each = 0, 0
    while process.poll() is None:
        sizes = [resident(one) for one in tree(process.pid)]
        peak, each = max(peak, sum(sizes)), max(each, *sizes, 0)
        time.sleep(0.1)
    seconds, after = time.monotonic() - began, os.times()
    assert process.returncode == 0, process.returncode
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    manifest = json.loads((output / "manifest.json").read_text())
    tokens = manifest["train"]["tokens"] + manifest["validation"]["tokens"]
    documents = manifest["train"]["documents"] + manifest["validation"]["documents"]
    read = sum(entry["bytes"] for entry in manifest["sources"])
    print(
        f"{read:,} bytes, {documents:,} documents, {tokens:,} tokens ({tokenizer}) in {seconds:.1f} s: "
        f"{tokens / seconds:,.0f} tokens/s, {read / seconds / 1e6:.0f} MB/s; "
        f"{cpu / seconds:.2f} of {os.cpu_count()} cores busy; peak memory of all processes {peak / 1e6:.0f} MB "
        f"(of the largest {each / 1e6:.0f} MB)"
    )


def digest(folder: Path) -> str:
    """All files by name and content."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                parts.append(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def kill(source: Path, folder: Path, tokenizer: str, shard_tokens: int, kills: int, seed: int = 0) -> bool:
    """Kills a run `kills` times, lets it end, and compares it with one that was left alone."""
    began = time.monotonic()
    assert start(source, folder / "alone", tokenizer, shard_tokens).wait() == 0
    seconds = time.monotonic() - began
    draw = random.Random(seed)
    at: list[float] = []
    while len(at) < kills:
        process = start(source, folder / "killed", tokenizer, shard_tokens)
        end = time.monotonic() + draw.uniform(0.2, max(1.0, 2.2 * seconds / kills))
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            assert process.returncode == 0, process.returncode
            break
        workers = tree(process.pid)[1:]
        process.send_signal(signal.SIGKILL)
        process.wait()
        at.append(len(list((folder / "killed").glob("[0-9]*"))))
        gone = time.monotonic() + 10
        while any(resident(worker) for worker in workers) and time.monotonic() < gone:
            time.sleep(0.01)
        assert not any(resident(worker) for worker in workers), "a worker lives on"
    assert start(source, folder / "killed", tokenizer, shard_tokens).wait() == 0
    same = digest(folder / "alone") == digest(folder / "killed")
    print(f"killed {len(at)} times, with {at} groups written: {'the same bytes' if same else 'OTHER BYTES'}")
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.2)
    parser.add_argument("--tokenizer", default="byte")
    parser.add_argument("--shard-tokens", type=int, default=2**24)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="for text and tokens; must not exist; deleted after")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    try:
        source = options.folder / "source"
        generate(source, int(options.gigabytes * 1e9))
        if options.kills:
            ok = kill(source, options.folder, options.tokenizer, options.shard_tokens, options.kills)
            sys.exit(0 if ok else 1)
        measure(source, options.folder / "tokens", options.tokenizer, options.shard_tokens)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
