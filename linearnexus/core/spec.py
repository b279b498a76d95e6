"""A name with options in parentheses, as people write mixers and optimizers: `attention(window=64)`.

Look first at: `parse_spec`.
"""

import ast
import re
from typing import Any

from linearnexus.core.errors import UserError

_SPEC = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\(([^()]*)\))?\s*")


def parse_spec(text: str, kind: str, example: str) -> tuple[str, dict[str, Any]]:
    """(name, options) of a text such as `attention(window=64)`; a dash in the name counts as an underscore.

    Values are Python literals. Raises UserError, naming the `kind` of thing and an example, for anything else.
    """
    found = _SPEC.fullmatch(text)
    if found is None:
        raise UserError(f"'{text}' is not {'an' if kind[0] in 'aeiou' else 'a'} {kind}; write NAME, or {example}.")
    name = found[1].replace("-", "_")
    return name, parse_options(found[2] or "", name)


def parse_options(text: str, owner: str) -> dict[str, Any]:
    """The options of `window=64, bias=True`. Raises UserError that names the `owner`."""
    options: dict[str, Any] = {}
    for option in filter(None, map(str.strip, text.split(","))):
        field, equals, value = (part.strip() for part in option.partition("="))
        if not equals:
            raise UserError(f"'{option}' is not an option of {owner}; write NAME=VALUE, such as window=64.")
        try:
            options[field] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise UserError(
                f"{field}={value}: that is not a value; give a number, True, False, None or a 'text'."
            ) from None
    return options
