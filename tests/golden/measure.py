"""The things that the goldens pin, each as a function that measures it now.

Every function returns plain JSON values. Losses are those of metrics.jsonl, so that a change of the trainer's inside
does not touch this file.

Look first at: `PARTS`.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from linearnexus.core.machine import prepare

prepare()  # as the command line does, before JAX computes

import jax  # noqa: E402
import jax.monitoring  # noqa: E402
import numpy as np  # noqa: E402

from linearnexus import api  # noqa: E402
from linearnexus.cli.main import VERBS  # noqa: E402
from linearnexus.models.presets import PRESETS, preset  # noqa: E402
from linearnexus.models.stacked import unstacked  # noqa: E402
from linearnexus.training.config import TrainConfig  # noqa: E402
from linearnexus.training.report import read_metrics  # noqa: E402
from linearnexus.training.step import random_state  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDERS = HERE / "folders"  # runs that were stopped, to be resumed
TEXT, QUESTIONS = HERE / "text.txt", HERE / "questions.jsonl"
STEPS = 20
OPTIMIZERS = ("adamw", "muon", "sophia", "lion")
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "attention": ("gpt-nano", {"n_layer": 2, "hidden_size": 32}),
    "mamba": ("mamba-nano", {"n_layer": 2, "hidden_size": 32}),
    "delta rule": ("gated-deltanet-nano", {"n_layer": 2, "hidden_size": 32}),
    "experts": ("jamba-moe-nano", {"hidden_size": 32}),
    "14 layers": ("gpt-nano", {"n_layer": 14, "hidden_size": 16}),
}
SHORT: dict[str, Any] = {
    "data": str(TEXT),
    "tokenizer": "char",
    "sequence_length": 32,
    "batch_size": 4,
    "max_steps": STEPS,
    "warmup_steps": 5,
    "log_interval": 1,
    "eval_interval": STEPS // 2,
    "sample_tokens": 0,
}
# Settings of a run that change what a step computes, or which step comes next.
VARIANTS: dict[str, dict[str, Any]] = {
    "two batches a step, dropout": {"accumulate": 2, "dropout": 0.1, "optimizer": "muon"},
    "wsd schedule, no clipping": {"schedule": "wsd", "final_fraction": 0.1, "gradient_clip": 0.0, "optimizer": "adamw"},
    "random order, untied": {"order": "random", "tie_embeddings": False, "seed": 7, "epochs": 0.4, "max_steps": None},
    "no decay, other betas": {"weight_decay": 0.0, "beta1": 0.8, "beta2": 0.99, "optimizer": "adamw"},
    "matrix rate": {"matrix_learning_rate": 0.005, "learning_rate": 0.001, "optimizer": "muon"},
    "a task": {"data": "recall:pairs=4", "tokenizer": None, "sequence_length": None, "optimizer": "muon"},
}
TUNINGS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "rank": 4},
    "dora": {"method": "dora", "rank": 2, "targets": ("wq", "channel_mixer")},
    "full": {"method": "full"},
    "lora with muon": {"method": "lora", "optimizer": "muon"},
}
SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "greedy, penalty": {"temperature": 0.0, "repetition_penalty": 1.3},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 0.8": {"temperature": 0.8},
    "temperature 1": {"temperature": 1.0, "seed": 1},
    "temperature 1.5": {"temperature": 1.5, "seed": 2},
    "top-k 1": {"top_k": 1},
    "top-k 5": {"top_k": 5, "seed": 3},
    "top-k 40": {"top_k": 40, "temperature": 1.0, "seed": 4},
    "top-p 0.5": {"top_p": 0.5, "temperature": 1.0, "seed": 5},
    "top-p 0.9": {"top_p": 0.9, "temperature": 1.0, "seed": 6},
    "min-p 0.1": {"min_p": 0.1, "temperature": 1.0, "seed": 7},
    "min-p 0.02": {"min_p": 0.02, "temperature": 1.3, "seed": 8},
    "penalty 1.2": {"repetition_penalty": 1.2, "seed": 9},
    "penalty 0.9": {"repetition_penalty": 0.9, "seed": 10},
    "top-k and top-p": {"top_k": 20, "top_p": 0.8, "temperature": 1.0, "seed": 11},
    "top-p and min-p": {"top_p": 0.95, "min_p": 0.05, "temperature": 1.2, "seed": 12},
    "everything": {"top_k": 30, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.1, "temperature": 0.9, "seed": 13},
    "large seed": {"temperature": 1.0, "seed": 2**31 + 5},
    "long": {"temperature": 0.7, "seed": 14},
}
PROMPTS = ("Once upon a time", "The fox", "One day, a little girl named Anna went to")
RESUMABLE = ("muon", "lora", "deep", "stopped")


def machine() -> dict[str, Any]:
    """What decides the last bits: the goldens are compared bit for bit where this is the same, within rounding where
    it is not."""
    flags = ""
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        flags = "" if found is None else hashlib.sha256(" ".join(sorted(found[1].split())).encode()).hexdigest()[:16]
    return {
        **{package: version(package) for package in ("jax", "jaxlib", "optax", "numpy")},
        "machine": f"{platform.system()} {platform.machine()}",
        "vector instructions": flags,
        "cores": os.cpu_count(),
    }


def weights(large: bool = False) -> dict[str, Any]:
    """A hash of each preset's initial weights, and sums that tell how far apart other weights are. Those of more than
    50 million parameters take minutes and gigabytes: `large` asks for them."""
    found = {}
    for name in PRESETS:
        config = preset(name)
        if (config.n_layer * config.hidden_size**2 > 4e6) != large:
            continue
        digest, total, squares = hashlib.sha256(), 0.0, 0.0
        model = unstacked(random_state(TrainConfig(model=config, optimizer="lion")).model)
        for leaf in jax.tree.leaves(model):
            array = np.asarray(leaf)
            digest.update(array.tobytes())
            total += float(array.sum(dtype=np.float64))
            squares += float(np.square(array, dtype=np.float64).sum())
        found[name] = {"sha256": digest.hexdigest(), "sum": total, "squares": squares}
        del model
    return found


def losses() -> dict[str, Any]:
    """The losses of short runs: each optimizer on each kind of model, and other settings."""
    plans = {
        f"{optimizer}, {name}": (start, {**size, "optimizer": optimizer})
        for name, (start, size) in MODELS.items()
        for optimizer in OPTIMIZERS
    }
    start, size = MODELS["attention"]
    plans |= {name: (start, {**size, **options}) for name, options in VARIANTS.items()}
    return {name: _train(start, options) for name, (start, options) in plans.items()}


def _train(start: str, options: dict[str, Any]) -> Any:
    """The rows of a short run, or the name of the error where it cannot be trained so: Sophia differentiates forward
    through the backward pass, which the delta rule's own backward pass does not allow."""
    given = {**SHORT, **options}
    given = {name: value for name, value in given.items() if value is not None or name in ("max_steps", "tokenizer")}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return _rows(api.train(start, name=f"{scratch}/run", quiet=True, **given).folder)
        except TypeError as error:
            return type(error).__name__


def tuning() -> dict[str, Any]:
    """The losses of fine-tuning a small model on a few questions, in each way."""
    with tempfile.TemporaryDirectory() as scratch:
        start, size = MODELS["attention"]
        api.train(start, name=f"{scratch}/base", quiet=True, **SHORT, **size)
        found = {}
        for number, (name, options) in enumerate(TUNINGS.items()):
            given = {"sequence_length": 256, "batch_size": 2, "max_steps": STEPS, "epochs": None, "log_interval": 1}
            given |= {"eval_interval": STEPS // 2, **options}
            run = api.sft(
                f"{scratch}/base", QUESTIONS, name=f"{scratch}/{number}", quiet=True, sample_tokens=0, **given
            )
            found[name] = _rows(run.folder)
    return found


def _rows(run: Path) -> list[dict[str, float]]:
    """The metrics without times."""
    kept = ("step", "loss", "validation_loss", "grad_norm", "learning_rate", "validation_accuracy")
    return [{name: row[name] for name in kept if name in row} for row in read_metrics(run / "metrics.jsonl")]


def samples() -> dict[str, Any]:
    """Ids under each way of sampling: the bundled model, prompts of different lengths, two samples each."""
    run = api.load("storyteller")
    found: dict[str, Any] = {}
    for name, options in SAMPLINGS.items():
        length = 120 if name == "long" else 24
        made = run.complete(PROMPTS, max_tokens=length, samples=2, **options)
        found[name] = [list(one.tokens) for one in made]
    return found


def resumed() -> dict[str, Any]:
    """Runs that were stopped are opened, write greedily, and are resumed to their end: text and metrics."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in RESUMABLE:
            folder = Path(scratch, name)
            shutil.copytree(FOLDERS / name, folder)
            text = api.load(folder, "last", lambda _: None).generate("The", 30, temperature=0.0)
            before = os.getcwd()
            os.chdir(HERE)  # their data is named relative to this folder
            try:
                run = api.train(resume=folder, quiet=True)
            finally:
                os.chdir(before)
            found[name] = {"text": text, "rows": _rows(folder), "after": run.generate("The", 30, temperature=0.0)}
    return found


def options() -> dict[str, list[str]]:
    """The options that each verb's --help lists."""
    found = {}
    for verb in VERBS:
        for sub in {"data": ("prepare",), "tokenizer": ("train", "show")}.get(verb, ("",)):
            words = [word for word in (verb, sub) if word]
            command = [sys.executable, "-m", "linearnexus.cli.main", *words, "--help"]
            environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
            shown = subprocess.run(
                command, capture_output=True, text=True, env=environment, cwd=ROOT, check=True
            ).stdout
            found[" ".join(words)] = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", shown)) - {"--help"})
    return found


def programs() -> dict[str, Any]:
    """How many programs a short run and a generation compile, and the seconds that tracing them took."""
    counts: dict[str, float] = {"compiled": 0, "trace seconds": 0.0}

    def heard(event: str, seconds: float, **_: Any) -> None:
        if event.endswith("backend_compile_duration"):
            counts["compiled"] += 1
        elif event.endswith("jaxpr_trace_duration"):
            counts["trace seconds"] += seconds

    jax.config.update("jax_enable_compilation_cache", False)
    jax.monitoring.register_event_duration_secs_listener(heard)
    found = {}

    def measured(name: str, work: Callable[[], Any]) -> Any:
        jax.clear_caches()
        counts.update({"compiled": 0, "trace seconds": 0.0})
        result = work()
        found[name] = {"compiled": counts["compiled"], "trace seconds": round(counts["trace seconds"], 3)}
        return result

    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, (start, size)) in enumerate(MODELS.items()):
            given = {**SHORT, **size, "optimizer": "muon"}
            run = measured(
                f"train, {name}",
                lambda start=start, given=given, number=number: api.train(
                    start, name=f"{scratch}/{number}", quiet=True, **given
                ),
            )
            measured(f"generate, {name}", lambda run=run: run.generate("The", 30, temperature=0.7))
        rates = (1e-3, 2e-3, 3e-3, 4e-3, 5e-3)
        start, size = MODELS["attention"]

        def sweep(optimizer: str) -> None:
            for rate in rates:
                given = {**SHORT, **size, "optimizer": optimizer, "learning_rate": rate, "max_steps": 2}
                api.train(start, name=f"{scratch}/{optimizer}-{rate}", quiet=True, **given)

        for optimizer in ("adamw", "muon"):
            measured(f"five rates, {optimizer}", lambda optimizer=optimizer: sweep(optimizer))
    return found


PARTS: dict[str, Callable[[], Any]] = {
    "weights": weights,
    "large weights": lambda: weights(large=True),
    "losses": losses,
    "tuning": tuning,
    "samples": samples,
    "resumed": resumed,
    "options": options,
    "programs": programs,
}
