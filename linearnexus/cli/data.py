r"""`linearnexus data prepare|show|check`: from files of text to memory-mapped tokens.

linearnexus data prepare texts/*.jsonl --output tokens --tokenizer byte
linearnexus data show tokens
linearnexus data check tokens
"""

import os
import random
import time
from dataclasses import dataclass, fields
from pathlib import Path

import tyro

from linearnexus.cli.parse import parse
from linearnexus.core.errors import UserError, unknown
from linearnexus.data.prepare import PrepareProgress, prepare
from linearnexus.data.shards import SPLITS, Prepared, open_prepared
from linearnexus.data.writer import COUNTS, PrepareSettings

ACTIONS = {
    "prepare": "turn text into tokens on the disk, which `train --data FOLDER` reads",
    "show": "tell what a prepared folder holds, and show some of its documents",
    "check": "read all files of a prepared folder and compare their checksums",
}
PREPARE = """Turn documents into tokens. Killed at any moment, the same command goes on from the last whole group.

A source is a file, a folder, a pattern, an http(s) address or stories, python-docs, shakespeare. A line of .jsonl and a
row of .parquet is a document, and so is a text file unless --separator is given; .gz and .zst are unpacked. Training
and validation share no document: the hash of its text decides."""


@dataclass(frozen=True)
class PrepareOptions:
    output: str | None = None  # the folder to make; must be given
    tokenizer: str = "byte"  # char, byte, word, bpe, bpe:8192, gpt2, cl100k, o200k, or a tokenizer.json
    validation_fraction: float = 0.1  # share of the documents, never trained on
    drop_duplicates: bool = False  # leave out documents that came before, letter for letter
    text_field: str = "text"  # the key of JSON lines or the column of Parquet that holds the text
    separator: str | None = None  # what stands between documents in a text file, such as '\n\n' or '<|endoftext|>'
    skip_bad: bool = False  # leave out documents that are no text, in place of stopping at the first
    shard_tokens: int = PrepareSettings.shard_tokens  # tokens in a group of shards
    workers: int | None = None  # processes; 0: none beside this one; default: one a core


@dataclass(frozen=True)
class DataShowOptions:
    folder: tyro.conf.Positional[str]  # that `data prepare` made
    documents: int = 3  # how many to show
    seed: int | None = None  # which; default: others each time


@dataclass(frozen=True)
class CheckOptions:
    folder: tyro.conf.Positional[str]  # that `data prepare` made


def main(arguments: list[str]) -> None:
    action = arguments[0] if arguments else "--help"
    if action in ("--help", "-h", "help"):
        print("usage: linearnexus data ACTION ...\n")
        print("\n".join(f"  {name:<8} {text}" for name, text in ACTIONS.items()))
        print("\nlinearnexus data ACTION --help tells the options of an action.")
    elif action not in ACTIONS:
        raise unknown("action of data", action, ACTIONS)
    else:
        {"prepare": _prepare, "show": _show, "check": _check}[action](arguments[1:])


def _prepare(arguments: list[str]) -> None:
    # any number of sources come first; tyro would take them for the values of an option
    count = next((place for place, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    sources, rest = arguments[:count], arguments[count:]
    if rest and rest[0] in ("--help", "-h"):
        sources = sources or ["SOURCE"]
    if not sources:
        raise UserError("SOURCE is missing; write: linearnexus data prepare SOURCE... --output FOLDER")
    options = parse(PrepareOptions, rest, "data prepare SOURCE...", PREPARE)
    if options.output is None:
        raise UserError("--output is missing; write: linearnexus data prepare SOURCE... --output FOLDER")
    settings = PrepareSettings(**{field.name: getattr(options, field.name) for field in fields(PrepareSettings)})
    if options.workers is not None and options.workers < 0:
        raise UserError(f"workers is {options.workers}; give 0 (none beside this process) or more.")
    with _Bar() as bar:
        prepared = prepare(sources, Path(options.output), settings, options.workers, bar.update)
    _summary(prepared)
    print(f"Train on it: linearnexus train gpt-nano --data {options.output}")


class _Bar:
    """A bar in a terminal; elsewhere a line every ten seconds."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        console = Console(highlight=False)
        self.live = console.is_terminal
        self._bar = Rich(BarColumn(24), TextColumn("{task.description}"), TimeRemainingColumn(), console=console)
        self._task = self._bar.add_task("", total=None)
        self._began = self._last = time.monotonic()
        self._told = False

    def __enter__(self) -> "_Bar":
        if self.live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:  # else it would print an empty line
            self._bar.stop()

    def update(self, progress: PrepareProgress) -> None:
        if progress.resumed and not self._told:
            self._told = True
            self._bar.console.print(f"Going on after {progress.resumed:,} tokens.")
        now = time.monotonic()
        speed = (progress.tokens - progress.resumed) / max(now - self._began, 1e-9)
        text = f"{progress.documents:,} documents, {progress.tokens:,} tokens, {speed:,.0f} tokens/s"
        if self.live:
            self._bar.update(self._task, completed=progress.read, total=progress.total, description=text)
        elif now - self._last >= 10:
            self._last = now
            print(f"{progress.read / max(progress.total, 1):.0%} read: {text}", flush=True)


def _summary(prepared: Prepared) -> None:
    manifest = prepared.manifest
    tokenizer = manifest["tokenizer"]
    size = sum(file["bytes"] for group in manifest["groups"] for file in group["files"].values())
    print(
        f"{prepared.folder}: {len(manifest['groups']):,} groups of shards, {size:,} bytes, {manifest['dtype']} tokens"
    )
    print(f"tokenizer {tokenizer['name']}, vocabulary {tokenizer['vocab_size']:,}")
    for split in SPLITS:
        count = manifest[split]
        ratio = f", {count['bytes'] / count['tokens']:.2f} bytes a token" if count["tokens"] else ""
        print(f"{split}: {count['documents']:,} documents, {count['tokens']:,} tokens{ratio}")
    words = {name: name.replace("_", " ") for name in COUNTS}
    words |= {"dropped": "of these left out", "near_duplicates": "near duplicates (the same words)"}
    words |= {"empty": "empty documents left out", "bad": "documents that are no text left out"}
    order = ("exact_duplicates", "dropped", "near_duplicates", "empty", "bad", "inexact_cuts")
    print("; ".join(f"{words[name]}: {manifest[name]:,}" for name in order))


def _show(arguments: list[str]) -> None:
    import numpy as np

    options = parse(
        DataShowOptions, arguments, "data show", "Tell what a prepared folder holds, and show some documents."
    )
    prepared = open_prepared(options.folder)
    _summary(prepared)
    tokens = prepared.tokens("train")
    draw = random.Random(options.seed)
    columns = os.get_terminal_size().columns if os.isatty(1) else 100
    for number in sorted(draw.sample(range(tokens.documents), min(options.documents, tokens.documents))):
        start, end = tokens.document_starts(np.array([number, number + 1])).tolist()
        text = prepared.tokenizer.decode(tokens.read(start, min(end, start + 2000)).tolist())
        shown = text[: 4 * columns] + (" ..." if end - start > 2000 or len(text) > 4 * columns else "")
        print(f"\n--- document {number:,} of training, {end - start:,} tokens ---\n{shown}")


def _check(arguments: list[str]) -> None:
    options = parse(CheckOptions, arguments, "data check", "Compare the checksums of all files of a prepared folder.")
    prepared = open_prepared(options.folder)
    prepared.verify()
    count = sum(len(group["files"]) for group in prepared.manifest["groups"])
    print(f"All {count:,} files of {options.folder} are as they were written.")
