"""Bytes to text: UTF-8 without a byte order mark, lines that end in "\\n", and what is said of bytes that are not text.

Look first at: `decode`, `NotText`.
"""

import codecs
import os
from pathlib import Path

from linearnexus.core.errors import UserError
from linearnexus.data.files import COMPRESSIONS, could_not_read


class NotText(Exception):
    """Why something cannot be read as text, in words."""

    def __init__(self, reason: str, encoding: str | None = None) -> None:
        """encoding: what it should be converted from, probably; None where it is not a matter of the encoding."""
        super().__init__(reason)
        self.encoding = encoding

    def refusal(self, name: str, where: str = "", or_else: str = "", otherwise: str = "") -> UserError:
        """The error for a file, with a place such as " in line 3". or_else: what can be done in place of converting;
        otherwise: what to do where converting does not help."""
        what, fix = "text", otherwise
        if self.encoding is not None:
            what, fix, ending = "UTF-8 text", "convert it to UTF-8 first.", os.path.splitext(name)[1]
            if ending not in COMPRESSIONS:
                fix = f"{fix[:-1]}, for example: iconv -f {self.encoding} -t UTF-8 '{name}' > utf8{ending or '.txt'}"
        reason = str(self).rstrip(".")
        return UserError(f"'{name}' is not {what}{where} ({reason}); {or_else}{fix}")


def decode(data: bytes, start: int = 0) -> str:
    """The text of bytes that begin at byte `start` of a file. Raises NotText."""
    text = _checked(data, start)
    return (text.removeprefix("\ufeff") if start == 0 else text).replace("\r\n", "\n")


def clean(data: bytes, start: int = 0) -> bytes:
    """The same text as UTF-8. Raises NotText."""
    _checked(data, start)
    data = data.removeprefix(codecs.BOM_UTF8) if start == 0 else data
    return _plain(data)


def encode(text: str) -> bytes:
    """A text as UTF-8 with plain line ends. Raises NotText for half a character, and for what binary data has."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotText(f"U+{ord(text[error.start]):04X} is half a character") from None
    _refuse_zeros(data)
    return _plain(data)


def _checked(data: bytes, start: int) -> str:
    if start == 0 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise NotText("it begins with the mark of UTF-16", "UTF-16")
    _refuse_zeros(data, start)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotText(f"byte {start + error.start:,} is 0x{data[error.start]:02X}", "LATIN1") from None


def _refuse_zeros(data: bytes, start: int = 0) -> None:
    if (zero := data.find(b"\0")) >= 0:
        raise NotText(f"byte {start + zero:,} is 0, as in a binary file")


def _plain(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data


def read_text(path: Path, limit: int | None = None) -> str:
    """The text of a file, or of whole characters in its first `limit` bytes. Raises UserError, naming the file."""
    try:
        with path.open("rb") as file:
            data = file.read() if limit is None else file.read(limit)
    except OSError as error:
        raise could_not_read(path, error) from error
    if limit is not None and len(data) == limit:
        data = _without_half_a_character(data)
    try:
        return decode(data)
    except NotText as error:
        raise error.refusal(str(path), otherwise="give plain text files.") from None


def _without_half_a_character(data: bytes) -> bytes:
    """Bytes that were cut anywhere, up to the last character that may be cut in two."""
    for size in range(1, 4):
        if data[-size] & 0xC0 == 0xC0:
            return data[:-size]
    return data
