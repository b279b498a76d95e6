"""Mistakes that people make on the command line, each typed for real, and the sentence that answers it.

    python -m tests.mistakes                            prints the table, in about a minute
    python -m tests.mistakes --write docs/mistakes.md

tests/test_mistakes.py makes each of them, and checks the answer and that nothing is left half-written.

Look first at: `MISTAKES`, `Mistake`, `make`.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (
    "".join(f"{cat} cat sat on a {mat} mat.\n" for cat in ("the", "one", "my") for mat in ("red", "big", "soft")) * 12
)
TALK = '{"prompt": "a cat", "completion": "sat"}\n'
# What `...` stands for in a command.
TINY = (
    "--data cats.txt --n-layer 1 --hidden-size 32 --n-head 2 --learned-positions 64 --sequence-length 32 "
    "--batch-size 4 --max-steps 4 --eval-batches 1 --sample-tokens 0 --optimizer adamw"
)
FIRST = "train gpt-nano ... --name tiny"  # the run that the others are about
OFFLINE = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "", "LINEARNEXUS_CACHE": "cache"}


class Impossible(Exception):
    """This machine has not what a mistake takes."""


@dataclass(frozen=True)
class Mistake:
    what: str
    command: str  # after `linearnexus`, as typed into a shell
    says: tuple[str, ...]  # parts of the answer: what was given, what is allowed or what to do
    prepare: Callable[[Path], None] = lambda folder: None  # makes what is wrong in the folder it is typed in
    code: int = 2  # 0: a warning, the program goes on
    on_run: bool = False  # needs runs/tiny
    writes: bool = False  # may leave something: `after` looks at it
    after: tuple[str, ...] = ()  # commands that work afterwards
    room: Callable[[Path], None] = lambda folder: None  # before these
    environment: dict[str, str | None] = field(default_factory=dict)  # None: unset
    largest_file: int | None = None  # bytes


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    told: str  # stderr
    changed: list[str]  # paths that the command made, changed or deleted
    later: list[subprocess.CompletedProcess[str]]  # of `after`


# --- what is wrong ----------------------------------------------------------------------------------------------------


def writes(name: str, content: str | bytes) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def replaces(name: str, old: str, new: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text, (name, old)
        (folder / name).write_text(text.replace(old, new))

    return prepare


def prepares(spoil: Callable[[Path], object]) -> Callable[[Path], None]:
    """Makes the folder tokens, and spoils it."""

    def prepare(folder: Path) -> None:
        texts = folder / "texts.jsonl"
        texts.write_text("".join(f'{{"text": "{line} {n}"}}\n' for n, line in enumerate(TEXT.splitlines())))
        done = linearnexus("data prepare texts.jsonl --output tokens", folder)
        assert done.returncode == 0, done.stderr
        spoil(folder / "tokens")

    return prepare


def flip(path: Path) -> None:
    """Changes a bit of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def cuts(*steps: int) -> Callable[[Path], None]:
    """Cuts the weights of checkpoints short."""

    def prepare(folder: Path) -> None:
        for step in steps:
            os.truncate(folder / f"runs/tiny/checkpoints/step_{step:08d}/model.safetensors", 1000)

    return prepare


def small_disk(kilobytes: int, run: bool) -> Callable[[Path], None]:
    """A disk of its own at small/, with that much room (beside the run), by tmpfs; `make` takes it away."""

    def prepare(folder: Path) -> None:
        disk = folder / "small"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
        try:
            if subprocess.run(command, capture_output=True).returncode:
                raise Impossible("needs root and mount")
        except OSError as error:
            raise Impossible("needs root and mount") from error
        if run:
            shutil.copytree(folder / "runs/tiny", disk / "tiny")
        with (disk / "filler").open("wb") as filler:
            filler.write(bytes(shutil.disk_usage(disk).free - 1024 * kilobytes))

    return prepare


def makes_room(folder: Path) -> None:
    (folder / "small/filler").unlink()


# --- the mistakes -----------------------------------------------------------------------------------------------------

RECIPE_HEAD = "from linearnexus.training.recipes import base_config\n\n\n"
MISTAKES = (
    # the text
    Mistake(
        "A file that is not there",
        "train gpt-nano --data nowhere.txt",
        ("'nowhere.txt'", "give a text file"),
    ),
    Mistake(
        "An empty file", "train gpt-nano --data empty.txt", ("'empty.txt' holds no text",), writes("empty.txt", "")
    ),
    Mistake(
        "A binary file",
        "train gpt-nano --data cat.png",
        ("'cat.png' is not text", "give plain text"),
        writes("cat.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    ),
    Mistake("A file of one character", "train gpt-nano --data a.txt", ("too short", "more text"), writes("a.txt", "a")),
    Mistake(
        "Text that is not UTF-8",
        "train gpt-nano --data latin.txt",
        ("'latin.txt' is not UTF-8", "0xE9", "iconv"),
        writes("latin.txt", b"caf\xe9 au lait\n"),
    ),
    Mistake(
        "A folder without texts",
        "train gpt-nano --data pictures",
        ("'pictures' holds no .txt or .md", "'pictures/*.py'"),
        writes("pictures/cat.png", b"\x89PNG"),
    ),
    Mistake(
        "A pattern that matches nothing",
        "train gpt-nano --data 'texts/*.txt'",
        ("No file matches the pattern 'texts/*.txt'", "check"),
    ),
    Mistake(
        "A context longer than the text",
        "train gpt-nano --data cats.txt --sequence-length 5000",
        ("--sequence-length 5000", "needs at least 5,001 tokens", "or less"),
    ),
    Mistake("A misspelt corpus", "train gpt-nano --data storys", ("'storys'", "did you mean 'stories'?")),
    Mistake(
        "Tiny Shakespeare without a network",
        "train gpt-nano --data shakespeare",
        ("Could not download", "--data stories"),
        environment=OFFLINE,
    ),
    # tokenizers
    Mistake("A misspelt tokenizer", "train gpt-nano --tokenizer gtp2", ("'gtp2'", "did you mean 'gpt2'?")),
    Mistake(
        "A vocabulary smaller than the bytes",
        "train gpt-nano --tokenizer bpe:100",
        ("'bpe:100'", "from 257", "bpe:4096"),
    ),
    Mistake(
        "A tokenizer file that is not there",
        "train gpt-nano --tokenizer mine.json",
        ("no tokenizer file 'mine.json'", "gpt2"),
    ),
    Mistake(
        "A damaged tokenizer.json",
        "train gpt-nano --tokenizer mine.json",
        ("'mine.json' is not a tokenizer file", "take it again"),
        writes("mine.json", '{"model": {"type": "BPE", "vocab": 5}}'),
    ),
    Mistake(
        "GPT-4's tokenizer without a network",
        "train gpt-nano --tokenizer cl100k",
        ("Could not download the table of the tokenizer cl100k", "gpt2, bpe"),
        environment={**OFFLINE, "TIKTOKEN_CACHE_DIR": None},
    ),
    Mistake(
        "A text that no word of occurs twice",
        "tokenizer train poem.txt --kind word",
        ("No word of the text occurs 2 times", "--tokenizer byte"),
        writes("poem.txt", "no word twice"),
    ),
    Mistake(
        "A tokenizer file that is there already",
        "tokenizer train cats.txt --output cats.txt",
        ("cats.txt exists", "another --output"),
    ),
    # prepared data
    Mistake(
        "Preparing without an output", "data prepare cats.txt", ("--output is missing", "SOURCE... --output FOLDER")
    ),
    Mistake(
        "Preparing one document",
        "data prepare cats.txt --output tokens",
        ("All of the 1 documents fell to", "--separator", "for a blank line"),
    ),
    Mistake(
        "Preparing JSON lines of other fields",
        "data prepare x.jsonl --output tokens",
        ("'x.jsonl' is not text in line 1", "fields that are text: body", "--text-field"),
        writes("x.jsonl", '{"body": "a cat", "id": 7}\n'),
    ),
    Mistake(
        "Mixed encodings",
        "data prepare cats.txt latin.txt --output tokens",
        ("'latin.txt' is not UTF-8 text (byte 3 is 0xE9", "iconv", "--skip-bad"),
        writes("latin.txt", b"caf\xe9 au lait\n"),
    ),
    Mistake(
        "NUL bytes",
        "data prepare cats.txt nul.txt --output tokens",
        ("'nul.txt' is not text (byte 5 is 0", "--skip-bad"),
        writes("nul.txt", b"a cat\0\n"),
    ),
    Mistake(
        "An output that holds something else",
        "data prepare cats.txt --output texts",
        ("texts is not empty", "another --output"),
        writes("texts/a.txt", "a"),
    ),
    Mistake("A misspelt action", "data prepar cats.txt", ("action of data named 'prepar'", "did you mean 'prepare'?")),
    Mistake(
        "A shard with a flipped byte",
        "train gpt-nano ... --data tokens",
        ("tokens/00000/train_tokens.npy is damaged", "restore", "prepare tokens again"),
        prepares(lambda folder: flip(folder / "00000/train_tokens.npy")),
    ),
    Mistake(
        "A shard cut short",
        "train gpt-nano ... --data tokens",
        ("tokens/00000/train_tokens.npy has 100 bytes instead of", "restore", "prepare tokens again"),
        prepares(lambda folder: os.truncate(folder / "00000/train_tokens.npy", 100)),
    ),
    Mistake(
        "A shard that is missing",
        "data check tokens",
        ("tokens/00000/validation_tokens.npy is missing", "restore"),
        prepares(lambda folder: (folder / "00000/validation_tokens.npy").unlink()),
    ),
    Mistake(
        "A manifest from another tokenizer",
        "train gpt-nano ... --data tokens",
        ("tokens/tokenizer.json is not the tokenizer", "restore it", "prepare the folder again"),
        prepares(lambda folder: (folder / "tokenizer.json").write_text('{"kind": "char", "characters": "abc"}')),
    ),
    Mistake(
        "Another tokenizer than the data's",
        "train gpt-nano ... --data tokens --tokenizer char",
        ("tokenizer is char", "prepared with the tokenizer byte", "leave --tokenizer out"),
        prepares(lambda folder: None),
    ),
    Mistake(
        "Data that is not prepared to the end",
        "train gpt-nano ... --data tokens",
        ("tokens is not finished", "the same `linearnexus data prepare` again"),
        prepares(lambda folder: (folder / "manifest.json").unlink()),
    ),
    Mistake(
        "A mixture with a plain text",
        "train gpt-nano ... --data tokens:0.7,cats.txt:0.3",
        ("'cats.txt'", "no prepared folder", "data prepare cats.txt --output FOLDER"),
        prepares(lambda folder: None),
    ),
    # words
    Mistake("A misspelt verb", "trian gpt-nano", ("'trian'", "did you mean 'train'?")),
    Mistake("A misspelt preset", "train gpt-naon", ("'gpt-naon'", "did you mean 'gpt-nano'?")),
    Mistake(
        "A misspelt mixer in a pattern",
        'train gpt-nano --pattern "7*mamb2,1*attention"',
        ("'mamb2'", "did you mean 'mamba2'?"),
    ),
    Mistake(
        "A pattern deeper than the model",
        'train gpt-nano --pattern "7*mamba2,1*attention" --n-layer 4',
        ("8 layers", "n_layer is 4", "give n_layer 8 or more"),
    ),
    Mistake("A pattern that is none", "train gpt-nano --pattern 7mamba2", ("'7mamba2'", "7*mamba2,1*attention")),
    Mistake("A misspelt option", "train gpt-nano --max-stpes 4", ("'--max-stpes'", "did you mean '--max-steps'?")),
    Mistake(
        "One dash for two", "generate tiny the -temperature 1", ("'-temperature'", "'--temperature'?"), on_run=True
    ),
    Mistake("A misspelt run", "generate tniy the", ("'tniy'", "did you mean 'tiny'?"), on_run=True),
    Mistake("A run where there is none", "generate runs/latest the", ("runs/latest", "make one with")),
    Mistake("A text in place of the preset", "train cats.txt", ("cats.txt is neither", "--data cats.txt")),
    Mistake(
        "A text behind the preset", "train gpt-nano cats.txt", ("'cats.txt' is one word too many", "--data cats.txt")
    ),
    Mistake("A prompt without quotes", "generate tiny the cat", ("'cat' is too much", "in quotes"), on_run=True),
    Mistake("No prompt", "inspect tiny", ("PROMPT is missing", "inspect RUN PROMPT"), on_run=True),
    # values
    Mistake("Text for a number", "train gpt-nano --max-steps many", ("--max-steps is 'many'", "give a whole number")),
    Mistake("A fraction for a whole number", "train gpt-nano --n-layer 2.5", ("--n-layer is '2.5'", "a whole number")),
    Mistake("No value", "train gpt-nano --data", ("--data has no value",)),
    Mistake("An optimizer that is not there", "train gpt-nano --optimizer adan", ("'adan'", "adamw")),
    Mistake("Another type of number", "train gpt-nano --dtype float8", ("'float8'", "float32, bfloat16")),
    Mistake("No steps", "train gpt-nano --max-steps 0", ("max_steps is 0", "give")),
    Mistake("Learning rate 0", "train gpt-nano --learning-rate 0", ("learning_rate is 0", "such as 0.001")),
    Mistake("Learning rate nan", "train gpt-nano --learning-rate nan", ("learning_rate is nan", "such as 0.001")),
    Mistake("Dropout over 1", "train gpt-nano --dropout 1.5", ("dropout is 1.5", "from 0 to below 1")),
    Mistake(
        "Two lengths of a run", "train gpt-nano --max-steps 4 --epochs 2", ("max_steps and epochs both", "one of them")
    ),
    Mistake(
        "A width that the heads do not divide",
        "train gpt-nano --hidden-size 32 --n-head 5",
        ("hidden_size 32", "n_head 5", "a divisor of 32"),
    ),
    Mistake(
        "An option of another architecture",
        "train mamba-nano --n-head 4",
        ("No layer of this model has", "n_head", "leave"),
    ),
    Mistake(
        "A context longer than the learned positions",
        "train gpt-nano --sequence-length 64 --learned-positions 32",
        ("sequence_length is 64", "32 learned positions", "at most 32"),
    ),
    # writing
    Mistake(
        "A prompt with an unknown character",
        "generate tiny 'the Zebra'",
        ("'Z'", "position 4", "leave it out", "--tokenizer byte"),
        on_run=True,
    ),
    Mistake(
        "An empty prompt, for a model without new lines",
        "generate tiny ''",
        ("The prompt is empty", "at least one character"),
        replaces("runs/tiny/tokenizer.json", "\\n", "%"),
        on_run=True,
    ),
    Mistake(
        "A negative temperature",
        "generate tiny the --temperature -1",
        ("temperature is -1", "0", "or more"),
        on_run=True,
    ),
    Mistake("Top-p of 0", "generate tiny the --top-p 0", ("top_p is 0", "above 0, up to 1"), on_run=True),
    Mistake("Top-p of 2", "generate tiny the --top-p 2", ("top_p is 2", "above 0, up to 1"), on_run=True),
    Mistake("A negative top-k", "generate tiny the --top-k -1", ("top_k is -1", "1 or more, or 0"), on_run=True),
    Mistake("No tokens", "generate tiny the --max-tokens 0", ("max_tokens is 0", "1 or more"), on_run=True),
    Mistake("No candidates", "inspect tiny the --top 0", ("top is 0", "1 or more"), on_run=True),
    Mistake(
        "More tokens than learned positions",
        "generate tiny the --max-tokens 100",
        ("3 tokens", "100", "64 learned positions", "at most 61"),
        on_run=True,
    ),
    Mistake(
        "A checkpoint that is not there", "generate tiny the --checkpoint 77", ("'77'", "best", "last"), on_run=True
    ),
    # the run's folder
    Mistake(
        "A name that is taken",
        "train gpt-nano ... --name tiny",
        ("runs/tiny exists", "another --name", "--resume runs/tiny"),
        on_run=True,
    ),
    Mistake("An empty name", "train gpt-nano ... --name ''", ("--name is ''", "give one")),
    Mistake("The name of the newest run", "train gpt-nano ... --name latest", ("'latest'", "choose another --name")),
    Mistake(
        "A folder that cannot be made",
        "train gpt-nano ... --name cats.txt/run",
        ("cats.txt/run cannot be made", "Not a directory", "another --name"),
    ),
    Mistake(
        "An empty folder for a run",
        "generate empty the",
        ("empty is not a run", "linearnexus train"),
        lambda folder: (folder / "empty").mkdir(),
    ),
    Mistake("A file for a run", "generate cats.txt the", ("cats.txt", "linearnexus train")),
    Mistake(
        "A damaged config.json",
        "generate tiny the",
        ("runs/tiny/config.json cannot be read", "line 2", "restore it"),
        writes("runs/tiny/config.json", '{"data":\n'),
        on_run=True,
    ),
    Mistake(
        "A config.json of something else",
        "generate tiny the",
        ("runs/tiny/config.json cannot be read", "restore it"),
        writes("runs/tiny/config.json", '["a", "b"]\n'),
        on_run=True,
    ),
    Mistake(
        "A width changed in config.json",
        "generate tiny the",
        ("model.safetensors", "config.json do not fit", "[19, 32]", "[19, 64]", "restore"),
        replaces("runs/tiny/config.json", '"hidden_size": 32', '"hidden_size": 64'),
        on_run=True,
    ),
    Mistake(
        "A tokenizer.json that was deleted",
        "generate tiny the",
        ("runs/tiny/tokenizer.json", "No such file", "restore it"),
        lambda folder: (folder / "runs/tiny/tokenizer.json").unlink(),
        on_run=True,
    ),
    Mistake(
        "A checkpoint cut short",
        "generate tiny the --max-tokens 3",
        ("step_00000004/model.safetensors is damaged", "using another checkpoint"),
        cuts(4),
        code=0,
        on_run=True,
    ),
    Mistake(
        "No checkpoint that is whole",
        "generate tiny the",
        ("runs/tiny/checkpoints has no good checkpoint", "step_00000004/model.safetensors is damaged", "restore"),
        cuts(3, 4),
        on_run=True,
    ),
    # going on
    Mistake(
        "To go on with a run that is not there", "train --resume tniy", ("'tniy'", "did you mean 'tiny'?"), on_run=True
    ),
    Mistake(
        "To go on as another preset",
        "train mamba-nano --resume tiny",
        ("trained as gpt-nano", "mamba-nano", "leave the preset out"),
        on_run=True,
    ),
    Mistake(
        "To go on with another depth",
        "train --resume tiny --n-layer 2",
        ("n_layer 2 changes the architecture", "leave it out"),
        on_run=True,
    ),
    Mistake(
        "To go on with another tokenizer",
        "train --resume tiny --tokenizer byte",
        ("another tokenizer (char)", "leave it out"),
        on_run=True,
    ),
    Mistake(
        "To go on with another context",
        "train --resume tiny --sequence-length 64",
        ("another sequence_length (32)", "leave it out"),
        on_run=True,
    ),
    Mistake(
        "To go on when the text has changed",
        "train --resume tiny --max-steps 8",
        ("The text of cats.txt has changed", "restore the text"),
        replaces("cats.txt", "red", "blue"),
        on_run=True,
    ),
    Mistake(
        "To go on when the text is gone",
        "train --resume tiny --max-steps 8",
        ("'cats.txt'", "give a text file"),
        lambda folder: (folder / "cats.txt").unlink(),
        on_run=True,
    ),
    Mistake(
        "To go on where no checkpoint is whole",
        "train --resume tiny --max-steps 8",
        ("runs/tiny/checkpoints has no good checkpoint", "step_00000003/model.safetensors is damaged", "restore"),
        cuts(3, 4),
        on_run=True,
    ),
    Mistake(
        "To go on under another name",
        "train --resume tiny --name two",
        ("'two'", "keeps its own", "leave"),
        on_run=True,
    ),
    # recipes
    Mistake("A recipe that is not there", "train mine.py", ("mine.py", "gpt-nano")),
    Mistake("A misspelt recipe", "train mien.py", ("mien.py", "did you mean mine.py?"), writes("mine.py", "")),
    Mistake(
        "A recipe without recipe()",
        "train mine.py",
        ("mine.py is not a recipe", "recipe() that returns a TrainConfig"),
        writes("mine.py", RECIPE_HEAD + "config = base_config('gpt-nano')\n"),
    ),
    Mistake(
        "A recipe that returns something else",
        "train mine.py",
        ("mine.py is not a recipe", "returns a TrainConfig"),
        writes("mine.py", "def recipe():\n    return 'gpt-nano'\n"),
    ),
    Mistake(
        "A recipe that fails",
        "train mine.py",
        ("mine.py, line 5", "did you mean 'gpt-nano'?", "correct it"),
        writes("mine.py", RECIPE_HEAD + "def recipe():\n    return base_config('gpt-naon')\n"),
    ),
    Mistake(
        "A recipe that is no Python",
        "train mine.py",
        ("mine.py, line 1", "SyntaxError: expected ':'", "correct it"),
        writes("mine.py", "def recipe()\n    return 1\n"),
    ),
    # the machine
    Mistake(
        "A cache folder that cannot be made",
        "generate tiny the --max-tokens 3",
        ("cats.txt/cache", "Not a directory", "set LINEARNEXUS_CACHE"),
        code=0,
        on_run=True,
        environment={"LINEARNEXUS_CACHE": "cats.txt/cache", "JAX_COMPILATION_CACHE_DIR": None},
    ),
    Mistake(
        "A learning rate far too large",
        "train gpt-nano ... --max-steps 100 --warmup-steps 0 --learning-rate 1e6 --name boom",
        ("The loss is not a number at step", "checkpoint of step 0", "--learning-rate", "0.003"),
        writes=True,
        after=("generate boom the --max-tokens 3",),
    ),
    Mistake(
        "A disk that is full at the start",
        "train gpt-nano ... --name small/run",
        ("could not be written to small/run", "No space left on device", "make room"),
        small_disk(0, run=False),
    ),
    Mistake(
        "A disk that fills up on the way",
        "train --resume small/tiny --max-steps 8",
        ("could not write to small/tiny", "No space left on device", "--resume small/tiny"),
        small_disk(80, run=True),
        on_run=True,
        writes=True,
        after=("train --resume small/tiny",),
        room=makes_room,
    ),
    Mistake(
        "A limit on the size of files",
        "train --resume tiny --max-steps 8",
        ("could not write to runs/tiny", "File too large", "--resume runs/tiny"),
        on_run=True,
        writes=True,
        after=("generate tiny the --max-tokens 3",),
        largest_file=60_000,
    ),
    Mistake(
        "An architecture for weights that have one",
        "train --from tiny --data cats.txt --n-layer 3",
        ("n_layer cannot be chosen", "runs/tiny", "leave it out"),
        on_run=True,
    ),
    Mistake(
        "Weights to begin with, and no text",
        "train --from tiny",
        ("--data is missing", "the model of tiny"),
        on_run=True,
    ),
    Mistake(
        "A line of conversations that is no JSON",
        "sft tiny --data talk.jsonl",
        ("talk.jsonl, line 2 is not JSON", "one object on each line"),
        writes("talk.jsonl", TALK + "{'prompt': 'a'}\n"),
        on_run=True,
    ),
    Mistake(
        "A conversation without an answer",
        "sft tiny --data talk.jsonl",
        ("talk.jsonl, line 3", "no turn of the assistant"),
        writes("talk.jsonl", TALK + '\n{"messages": [{"role": "user", "content": "a"}]}\n'),
        on_run=True,
    ),
    Mistake(
        "An adapter beside no matrix",
        "sft tiny --data talk.jsonl --targets wqq",
        ("no target named 'wqq'", "did you mean 'wq'"),
        writes("talk.jsonl", TALK),
        on_run=True,
    ),
    Mistake(
        "A chat in letters that the model does not know",
        "chat tiny",
        ("chat template needs", "'User:'", "--tokenizer byte"),
        on_run=True,
    ),
    Mistake(
        "Windows with gaps between them",
        "eval tiny cats.txt --stride 99",
        ("stride is 99", "windows of 32 tokens", "give 1"),
        on_run=True,
    ),
)


# --- making them ------------------------------------------------------------------------------------------------------


def first_run(folder: Path) -> None:
    """Trains runs/tiny in the folder."""
    (folder / "cats.txt").write_text(TEXT)
    done = linearnexus(FIRST, folder)
    assert done.returncode == 0, done.stderr


def make(mistake: Mistake, folder: Path, trained: Path | None) -> Answer:
    """Makes the mistake in an empty folder. `trained`: the folder of `first_run`. Raises Impossible."""
    (folder / "cats.txt").write_text(TEXT)
    if mistake.on_run:
        assert trained is not None
        shutil.copytree(trained / "runs", folder / "runs")
    with ExitStack() as stack:
        stack.callback(unmount, folder / "small")
        mistake.prepare(folder)
        before = snapshot(folder)
        done = linearnexus(mistake.command, folder, mistake.environment, mistake.largest_file)
        after = snapshot(folder)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        mistake.room(folder)
        later = [linearnexus(command, folder) for command in mistake.after]
    return Answer(done.returncode, done.stdout, done.stderr, changed, later)


def linearnexus(
    command: str, folder: Path, own: dict[str, str | None] | None = None, largest_file: int | None = None
) -> subprocess.CompletedProcess[str]:
    """The real command line in its own process."""
    words = [sys.executable, "-m", "linearnexus.cli.main", *shlex.split(command.replace("...", TINY))]
    changes = {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "NO_COLOR": "1", **(own or {})}
    environment = {name: value for name, value in {**os.environ, **changes}.items() if value is not None}
    limit = None
    if largest_file is not None:
        try:
            from resource import RLIMIT_FSIZE, setrlimit
        except ImportError:
            raise Impossible("needs resource.setrlimit") from None

        def limit() -> None:  # Python itself ignores the signal that comes with it
            setrlimit(RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, preexec_fn=limit
    )


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """What the folder holds: the bytes of files, and folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def unmount(disk: Path) -> None:
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


def faults(mistake: Mistake, answer: Answer) -> list[str]:
    """What is wrong with the answer; empty: nothing."""
    rules = (
        (answer.code == mistake.code, f"exit code {answer.code}, not {mistake.code}"),
        ("Traceback" not in answer.told + answer.out, "a traceback"),
        (answer.told.startswith("linearnexus: ") and answer.told.count("\n") == 1, "not one line"),
        *((part in answer.told, f"{part!r} is not in it") for part in mistake.says),
        (mistake.code == 0 or mistake.writes or not answer.out, "something on stdout"),
        (mistake.writes or not answer.changed, f"it changed {answer.changed}"),
        (not any(".tmp" in path for path in answer.changed), f"a temporary file is left: {answer.changed}"),
        *((later.returncode == 0 and not later.stderr, f"afterwards: {later}") for later in answer.later),
    )
    return [wrong for right, wrong in rules if not right]


# --- the table --------------------------------------------------------------------------------------------------------

HEAD = """\
# Mistakes and their answers

Each of these commands was typed for real, and this is what it answered: one line, never a traceback. The exit code is
2, and nothing is left behind. After a warning the program goes on, and the exit code is 0. Where training had begun,
its last good checkpoint still loads.

    {command}

{environment}. {date}.

`...` stands for `{tiny}`.

| Mistake | Command, after `linearnexus` | Answer |
|---|---|---|
"""


def row(mistake: Mistake, answer: Answer | Impossible) -> str:
    if isinstance(answer, Impossible):
        told = f"(not possible here: {answer})"
    else:
        told = ("Warning: " if mistake.code == 0 else "") + answer.told.removeprefix("linearnexus: ").strip()
        if wrong := faults(mistake, answer):
            told = f"WRONG ({'; '.join(wrong)}): {told}"
    told = told.replace("*", r"\*")  # no emphasis in Markdown
    return f"| {mistake.what} | `{mistake.command}` | {told} |"


@contextmanager
def cache() -> Iterator[None]:
    """Compiled programs are kept for the length of the program, unless the caller has a cache."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", temporary)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the file for the table, which is printed otherwise")
    chosen = parser.parse_args()
    with cache(), tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(os.cpu_count()) as pool:
        trained = Path(temporary) / "trained"
        trained.mkdir()
        first_run(trained)

        def answer(number: int) -> Answer | Impossible:
            folder = Path(temporary) / str(number)
            folder.mkdir()
            try:
                return make(MISTAKES[number], folder, trained)
            except Impossible as reason:
                return reason

        rows = [row(*pair) for pair in zip(MISTAKES, pool.map(answer, range(len(MISTAKES))), strict=True)]
    from linearnexus.training.run_folder import environment

    now = environment()
    shown = ("linearnexus", "python", "jax", "jaxlib", "numpy", "optax")
    head = HEAD.format(
        command=" ".join(["python -m tests.mistakes", *sys.argv[1:]]),
        environment=f"{now['machine']}; " + ", ".join(f"{name} {now[name]}" for name in shown),
        date=datetime.now(UTC).date(),
        tiny=TINY,
    )
    page = head + "\n".join(rows) + "\n"
    if chosen.write:
        chosen.write.write_text(page)
    else:
        print(page, end="")
    return 1 if "| WRONG (" in page else 0


if __name__ == "__main__":
    sys.exit(main())
