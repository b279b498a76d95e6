"""The command line: `linearnexus VERB ...`. Each verb is a file in this folder, imported when it is asked for.

Look first at: `VERBS`, `main`.
"""

import importlib
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from linearnexus.core.renames import RenamedWarning

VERBS = {
    "train": "train a model, from a preset or a recipe, on a text",
    "compare": "train models of one size on the same data, and see which learns what",
    "generate": "let a trained model write",
    "chat": "talk with a trained model",
    "sft": "teach a trained model to answer, from conversations",
    "inspect": "see how a model reads a prompt and what it would write next, before and after sampling",
    "explain": "see a concept of the guide on your own model, text and machine",
    "eval": "tell how well a model predicts a text: loss, perplexity, bits per byte",
    "data": "turn large texts into tokens on the disk",
    "info": "see how a preset or a run is built, and what it costs",
    "convert": "open a published model as a run, or take a run to Hugging Face's layout",
    "tokenizer": "train a tokenizer, or see how tokenizers cut a text",
    "doctor": "see what this machine can do, and what is wrong with it",
    "cache": "list what is kept on the disk, or delete it",
}
HELP = """\
LinearNexus trains, runs, compares and explains language models.

  linearnexus train gpt-nano --data stories --max-minutes 3
  linearnexus generate runs/latest "Once upon a time there was a princess"

{verbs}

linearnexus VERB --help tells the options of a verb.
"""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line. A user's mistake ends in one sentence and exit code 2, never in a traceback."""
    from linearnexus.core.errors import UserError, unknown

    arguments = sys.argv[1:] if arguments is None else arguments
    verb = arguments[0] if arguments else "--help"
    if verb in ("--help", "-h", "help"):
        print(HELP.format(verbs="\n".join(f"  {name:<10} {text}" for name, text in VERBS.items())))
        return
    if verb in ("--version", "-V"):
        print(f"linearnexus {version('linearnexus')}")
        return
    try:
        if verb not in VERBS:
            raise unknown("verb", verb, VERBS)
        with warnings.catch_warnings():
            warnings.showwarning = renames_told(warnings.showwarning)
            importlib.import_module("linearnexus.models.own_mixers").load_own_mixers()
            importlib.import_module(f"linearnexus.cli.{verb}").main(arguments[1:])
    except UserError as error:
        fail(str(error), 2)
    except KeyboardInterrupt:
        fail("Stopped.", 130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stdout = None
        sys.exit(0)
    except OSError as error:
        fail(f"{error.filename or 'The system'}: {error.strerror or error}.", 1)


def renames_told(usual: Callable[..., None]) -> Callable[..., None]:
    """A `warnings.showwarning` that tells each renamed thing in a sentence, once, and leaves the rest to the usual
    one."""
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *more: Any) -> None:
        if not issubclass(category, RenamedWarning):
            usual(message, category, *more)
        elif str(message) not in told:
            told.add(str(message))
            warn(str(message))

    return show


def fail(sentence: str, code: int) -> None:
    """Ends the program with a sentence."""
    print(f"linearnexus: {sentence}", file=sys.stderr)
    sys.exit(code)


def warn(sentence: str) -> None:
    """Tells a sentence beside the output."""
    print(f"linearnexus: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
