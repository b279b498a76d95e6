"""`linearnexus chat RUN`: a conversation with a trained model.

linearnexus chat runs/latest
linearnexus chat runs/latest --system "You answer in one word." --temperature 0.3
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from linearnexus.cli.main import warn
from linearnexus.cli.parse import parse
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.machine import prepare
from linearnexus.generation.config import SamplingConfig
from linearnexus.models.config import Weights
from linearnexus.training import run_folder

if TYPE_CHECKING:
    from linearnexus.posttraining.session import Session

DESCRIPTION = "Talk with a trained model. Ctrl-C stops an answer, /help lists what else can be done."
COMMANDS = {
    "/undo": "take the last question and its answer back",
    "/retry": "another answer to the last question",
    "/fork": "keep this point: /fork NAME, and /load NAME returns to it",
    "/save": "write the conversation to a file: /save FILE",
    "/load": "resume from a fork or a file: /load NAME, /load FILE",
    "/reset": "forget the conversation",
    "/exit": "leave (so does Ctrl-D)",
    "/help": "this list",
}


@dataclass(frozen=True)
class ChatOptions:
    run: tyro.conf.Positional[str]  # a run folder, or runs/latest
    system: str | None = None  # what the model is told before the conversation
    sampling: SamplingConfig = SamplingConfig(temperature=0.5)
    max_tokens: int = 300  # of an answer, at most
    checkpoint: str = "best"  # best (lowest validation loss), last, or a step
    # bfloat16 takes half the memory, int8 a quarter, and a large model writes faster with it; each a little less exact
    weights: Weights = "float32"
    average: bool = False  # the moving average of the weights, of a run that was trained with --ema-decay


def main(arguments: list[str]) -> None:
    options = parse(ChatOptions, arguments, "chat", DESCRIPTION)
    run_folder.read_config(run_folder.find(options.run))  # a mistake is told before JAX is imported
    prepare(warn)
    from linearnexus import api
    from linearnexus.posttraining.session import Session

    run = api.load(options.run, options.checkpoint, warn, options.weights, options.average)
    sampling, forks = options.sampling, dict[str, Session]()
    session = Session(run.generator, options.system, sampling, options.max_tokens, warn, str(run.folder))
    person = sys.stdin.isatty()
    if person:
        import readline  # noqa: F401 (the keys that edit a line)

        print(f"Talking with {run.folder}. Ctrl-C stops an answer; /help lists commands.")
    while (line := _line(person)) is not None:
        try:
            if person and line.strip() in ("exit", "quit"):
                return
            if line.startswith("/"):
                if line.strip() == "/exit":
                    return
                session = _command(line.strip(), session, forks)
            elif line.strip():
                _show(session.ask(line))
        except UserError as error:  # of this line alone
            warn(str(error))


def _line(person: bool) -> str | None:
    """What is typed or piped in next; None at the end."""
    while True:
        try:
            return input("> " if person else "")
        except EOFError:
            return None
        except KeyboardInterrupt:
            if not person:
                raise
            print("\n(/exit or Ctrl-D leaves)")


def _show(pieces: Iterator[str]) -> None:
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print(" (stopped)", end="")
    print(flush=True)


def _command(line: str, session: "Session", forks: dict[str, "Session"]) -> "Session":
    """Does what the line says. Returns the session to resume with."""
    from linearnexus.posttraining.session import Session

    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if name in ("/fork", "/save", "/load") and not argument:
        what = "a name" if name == "/fork" else "a file" if name == "/save" else "a file or the name of a fork"
        raise UserError(f"{name} needs {what}, such as {name} first.")
    if name == "/help":
        print("\n".join(f"{name:<8} {what}" for name, what in COMMANDS.items()))
    elif name == "/reset":
        session.reset()
    elif name == "/undo":
        session.undo()
        print(_where(session))
    elif name == "/retry":
        _show(session.retry())
    elif name == "/fork":
        forks[argument] = session.fork()
        print(f"Kept as {argument}; /load {argument} returns here.")
    elif name == "/save":
        session.save(argument)
        print(f"Saved as {argument}.")
    elif name == "/load":
        session = forks[argument].fork() if argument in forks else Session.load(argument, session.generator, warn)
        print(_where(session))
    return session


def _where(session: "Session") -> str:
    """Where the conversation stands."""
    if not session.history:
        return "The conversation is empty."
    return f"The last question is: {session.history[-2].content}"
