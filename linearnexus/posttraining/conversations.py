"""Conversations from JSON lines, in the forms that are usual.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}        OpenAI
    {"instruction": "...", "input": "...", "output": "..."}                  Alpaca; the input may be empty or absent
    {"prompt": "...", "completion": "..."}

Look first at: `read`, `messages_of`.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from linearnexus.core.errors import UserError
from linearnexus.data import story_questions
from linearnexus.posttraining.templates import ROLES, Message

LARGEST = 2**30  # bytes of a file: it is held in memory


class Conversation(NamedTuple):
    line: int  # from 1
    messages: tuple[Message, ...]


def read(path: Path) -> tuple[bytes, list[Conversation]]:
    """The content of a file of JSON lines, or of story-questions, and its conversations; empty lines are skipped.

    Raises UserError, naming the line, for what is none."""
    if str(path) == story_questions.NAME and not path.exists():
        text = story_questions.generate()
        return text.encode(), _conversations(path, text)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise UserError(
                f"{path} has {size:,} bytes, more than the {LARGEST:,} of conversations; give a part of it."
            )
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); give a file of JSON lines, or {story_questions.NAME}."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start:,}); save it as UTF-8.") from error
    return data, _conversations(path, text)


def _conversations(path: Path, text: str) -> list[Conversation]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append(Conversation(number, messages_of(json.loads(line))))
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}, line {number} is not JSON ({error.msg} at column {error.colno}); put one object on each "
                    "line."
                ) from error
            except (UserError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: {error}") from error
    if not found:
        raise UserError(f"{path} holds no example; put one JSON object on each line.")
    return found


def messages_of(example: Any) -> tuple[Message, ...]:
    """The messages of an example. Raises UserError for one of another form, or without an answer."""
    if not isinstance(example, dict):
        raise UserError(f"the example is no object but {type(example).__name__}; put one in braces.")
    if "messages" in example:
        turns = example["messages"]
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise UserError('"messages" is no list of objects; write [{"role": ..., "content": ...}, ...].')
        messages = [Message(_text(turn, "role"), _text(turn, "content")) for turn in turns]
    elif "instruction" in example:
        asked = [_text(example, "instruction"), _text(example, "input") if example.get("input") else ""]
        messages = [Message("user", "\n\n".join(filter(None, asked))), Message("assistant", _text(example, "output"))]
    elif "prompt" in example:
        messages = [Message("user", _text(example, "prompt")), Message("assistant", _text(example, "completion"))]
    else:
        raise UserError(
            f"the example has the keys {', '.join(map(repr, example)) or '(none)'}; give messages, or instruction and "
            "output, or prompt and completion."
        )
    for role, content in messages:
        if role not in ROLES:
            raise UserError(f"the role is '{role}'; it is one of {', '.join(ROLES)}.")
        if role == "assistant" and not content.strip():
            raise UserError("an answer of the assistant is empty; write one, or leave the example out.")
    if all(message.role != "assistant" for message in messages):
        raise UserError("it has no turn of the assistant, so there is nothing to learn from it; leave it out.")
    return tuple(messages)


def _text(example: dict[str, Any], key: str) -> str:
    if not isinstance(example.get(key), str):
        raise UserError(f'"{key}" is {"missing" if key not in example else "no text"}; give it a text.')
    return example[key]
