"""Text to ids and back: `build` a tokenizer for a text, `save` it beside the model, `load` it again.

Look first at: `base.Tokenizer` (the interface), `KINDS` (the tokenizers there are), `load`.
"""

import json
import os
from pathlib import Path

from linearnexus.core.errors import UserError, unknown
from linearnexus.core.paths import write_atomic
from linearnexus.tokenizers.base import Stream, Tokenizer
from linearnexus.tokenizers.byte import ByteTokenizer
from linearnexus.tokenizers.char import CharTokenizer

__all__ = ["KINDS", "ByteTokenizer", "CharTokenizer", "Stream", "Tokenizer", "build", "load", "save"]

KINDS: dict[str, type[CharTokenizer] | type[ByteTokenizer]] = {"char": CharTokenizer, "byte": ByteTokenizer}


def build(name: str, text: str) -> Tokenizer:
    """The tokenizer of that kind for this text. Raises `UserError` for an unknown name."""
    if name not in KINDS:
        raise unknown("tokenizer", name, KINDS)
    return KINDS[name].train(text)


def save(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write the tokenizer as JSON, whole or not at all."""
    write_atomic(path, json.dumps(tokenizer.to_json(), indent=2) + "\n")


def load(path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that `save` wrote. Raises `UserError`, which names the file, if it is missing or broken."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(data, dict) or "kind" not in data:
            raise UserError('it has no "kind"')
        if data["kind"] not in KINDS:
            raise unknown("tokenizer", data["kind"], KINDS)
        return KINDS[data["kind"]].from_json(data)
    except OSError as error:
        raise UserError(
            f"Could not read the tokenizer file '{path}' ({error.strerror}); "
            "it belongs beside the model that was trained with it: restore it from a copy, or train a new run."
        ) from error
    except KeyError as error:
        reason = f"it has no {error}"
    except (ValueError, TypeError) as error:
        reason = str(error).rstrip(".")
    raise UserError(f"'{path}' is not a tokenizer file ({reason}); take it again from the run that it belongs to.")
