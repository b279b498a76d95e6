"""The one error a user can cause, and the sentence that names the nearest valid word."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake that the user can fix: one sentence with what was given, what is allowed, what to do.

    The command line prints the sentence without a traceback; in Python it is an ordinary `ValueError`.
    """


class UnknownNameError(UserError):
    """A name that nothing has; `kind` says what it should have named."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def unknown(kind: str, given: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a misspelt name: it names the nearest valid one, or lists them all."""
    names = sorted(known)
    near = get_close_matches(given, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}."
    return UnknownNameError(kind, f"There is no {kind} named '{given}'; {hint}")
