"""`linearnexus chat RUN`: a conversation with a trained model.

linearnexus chat runs/latest
linearnexus chat runs/latest --system "You answer in one word." --temperature 0.3
"""

import sys
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
    from linearnexus.posttraining.chat import Chat

DESCRIPTION = "Talk with a trained model. Ctrl-C stops an answer, /help lists what else can be done."
COMMANDS = {
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
    from linearnexus.posttraining.chat import Chat

    run = api.load(options.run, options.checkpoint, warn, options.weights, options.average)
    chat = Chat(run.generator, options.system, options.sampling, options.max_tokens, warn)
    person = sys.stdin.isatty()
    if person:
        import readline  # noqa: F401 (the keys that edit a line)

        print(f"Talking with {run.folder}. Ctrl-C stops an answer; /help lists commands.")
    while (line := _line(person)) is not None:
        try:
            if person and line.strip() in ("exit", "quit"):
                return
            if line.startswith("/"):
                if _command(line.strip(), chat):
                    return
            elif line.strip():
                _say(chat, line)
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


def _say(chat: "Chat", question: str) -> None:
    pieces = chat.ask(question)
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print(" (stopped)", end="")
    print(flush=True)


def _command(line: str, chat: "Chat") -> bool:
    """Does what the line says. Is the conversation over?"""
    if line not in COMMANDS:
        raise unknown("command", line, COMMANDS)
    if line == "/help":
        print("\n".join(f"{name:<8} {what}" for name, what in COMMANDS.items()))
    elif line == "/reset":
        chat.reset()
    return line == "/exit"
