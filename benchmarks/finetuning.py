"""Models trained on `stories` for some minutes learn to answer questions about a story: LoRA, DoRA, full fine-tuning.

    python -m benchmarks.finetuning gpt-nano mamba-nano jamba-nano --results runs/finetuning.json
    python -m benchmarks.finetuning mamba-nano --tokenizer bpe:2048 --minutes 6 --methods full

Each training is a process of its own, by the real command line: its time and its peak memory are those of the process,
the import and compilation included. Runs that are there already are not trained again, so the parts may be made one by
one. Answers are greedy, to questions about new stories, and right where they are the answer to the letter.

Look first at: `one_model`, `right`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from linearnexus.data.story_questions import conversation

ASKED = 100
METHODS = ("lora", "dora", "full")


def command(*words: str) -> tuple[float, float]:
    """Seconds and peak MB of a command of `linearnexus`."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "linearnexus.cli.main", *words])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"linearnexus {' '.join(words)} ended with {status}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def right(run: Any) -> tuple[float, list[tuple[str, str, str]]]:
    """The share of first questions about new stories that are answered to the letter; (question, truth, answer)."""
    from linearnexus.generation.config import SamplingConfig
    from linearnexus.posttraining.templates import Message, encode, stop_text, template_of

    template = template_of(run.tokenizer)
    stop = stop_text(template, run.tokenizer)
    draw = random.Random(99)
    asked = [(talk[0]["content"], talk[1]["content"]) for talk in (conversation(draw) for _ in range(ASKED))]
    prompts = [encode(run.tokenizer, template.text([Message("user", question)], True)) for question, _ in asked]
    made = run.generator.generate(prompts, 40, SamplingConfig(temperature=0), stop)
    answers = [(*pair, generation.text.strip()) for pair, generation in zip(asked, made, strict=True)]
    return sum(truth == answer for _, truth, answer in answers) / ASKED, answers[:4]


def measure(run: Any, stories: str) -> dict[str, Any]:
    share, shown = right(run)
    held = [row["validation_loss"] for row in run.metrics() if "validation_loss" in row]
    score = run.evaluate(stories[-200_000:], part="all")  # of the last tenth, which no run was trained on
    return {"right": share, "shown": shown, "held_out": held, "stories": score.loss, "step": run.step}


def one_model(chosen: argparse.Namespace, name: str, results: dict[str, Any]) -> None:
    """Trains what is missing, and measures it."""
    import linearnexus as ln
    from linearnexus.data.stories import generate

    stories = generate()
    if not Path("runs", name).exists():
        length = ("--sequence-length", "256", "--max-minutes", str(chosen.minutes))
        command("train", name, "--data", "stories", "--tokenizer", chosen.tokenizer, *length, "--name", name)
    if f"{name} before" not in results:
        results[f"{name} before"] = measure(ln.load(name), stories)
    for method in chosen.methods:
        tuned = f"{name}-{method}"
        if not Path("runs", tuned).exists():
            length = ("--epochs", str(chosen.epochs), "--eval-batches", "10")
            seconds, peak = command(
                "sft", name, "--data", "story-questions", "--method", method, *length, "--name", tuned
            )
            run = ln.load(tuned)
            newest = max(run.folder.glob("checkpoints/*"))
            saved = sum(path.stat().st_size for path in newest.glob("*.safetensors"))
            speeds = sorted(row["tokens_per_second"] for row in run.metrics() if "tokens_per_second" in row)
            cost = {"seconds": seconds, "peak": peak, "saved": saved, "speed": speeds[len(speeds) // 2]}
            results[tuned] = cost | measure(run, stories)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training on stories")
    parser.add_argument("--tokenizer", default="char")
    parser.add_argument("--epochs", type=float, default=2.0, help="of fine-tuning")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--results", type=Path, default=Path("finetuning.json"))
    chosen = parser.parse_args()
    results = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    for name in chosen.models:
        one_model(chosen, name, results)
        chosen.results.write_text(json.dumps(results, indent=1))
    for name, row in results.items():
        losses = row["held_out"] if "seconds" in row else []
        told = f", held-out loss {losses[0]:.3f} -> {min(losses):.3f}" if losses else ""
        cost = f", {row['seconds']:.0f} s, {row['peak']:.0f} MB" if losses else ""
        print(f"{name}: {row['right']:.0%} right, stories {row['stories']:.3f}{told}{cost}")


if __name__ == "__main__":
    main()
