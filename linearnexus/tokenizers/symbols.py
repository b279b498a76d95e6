"""The tokenizer of a task: one id per symbol, its name with a space before it.

Look first at: `SymbolTokenizer`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, SupportsIndex

import numpy as np

from linearnexus.core.errors import UserError, unknown
from linearnexus.tokenizers.tokenizer import check_id, id_dtype


@dataclass(frozen=True)
class SymbolTokenizer:
    """The id of a symbol is its place in `symbols`, which must be distinct and without white space."""

    symbols: tuple[str, ...]
    special_tokens: ClassVar[Mapping[str, int]] = {}
    end_token: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if len(self._table) != len(self.symbols) or any(len(symbol.split()) != 1 for symbol in self.symbols):
            raise UserError("A symbol tokenizer needs distinct symbols without white space")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "SymbolTokenizer":
        symbols = data["symbols"]
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise UserError('"symbols" is not a list of text')
        return cls(tuple(symbols))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "symbols", "symbols": list(self.symbols)}

    @property
    def vocab_size(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The ids of the symbols, which stand apart."""
        for symbol in text.split():
            if symbol not in self._table:
                raise unknown("symbol of this task", symbol, self.symbols)
        return [self._table[symbol] for symbol in text.split()]

    def encode_array(self, text: str) -> np.ndarray:
        return np.array(self.encode(text), id_dtype(self.vocab_size))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        return "".join(f" {self.symbols[check_id(token, self.vocab_size)]}" for token in ids)

    def stream(self) -> "SymbolStream":
        return SymbolStream(self)

    @cached_property
    def _table(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}


@dataclass(frozen=True)
class SymbolStream:
    """Every id is a whole symbol, so nothing is ever held back."""

    tokenizer: SymbolTokenizer

    def add(self, token: SupportsIndex) -> str:
        return self.tokenizer.decode([token])

    def finish(self) -> str:
        return ""
