"""`--data stories` or `--data my_text.txt`: a corpus, a file, a folder or a pattern, read as one text.

The last part of the text is for validation.

Look first at: `TextKind`, `open_text`.
"""

import hashlib
from pathlib import Path

from linearnexus.core.errors import UserError
from linearnexus.data.batches import split
from linearnexus.data.corpora import check_corpus, is_corpus, load_corpus
from linearnexus.data.settings import DataSettings
from linearnexus.data.source import SourceKind, check_unchanged
from linearnexus.data.token_source import TokenSource
from linearnexus.tokenizers import build, load


class TextKind(SourceKind):
    """The name of a corpus, or a path."""

    def claims(self, data: str) -> bool:
        return is_corpus(data)

    def check(self, settings: DataSettings) -> None:
        _check_packing(settings)
        check_corpus(settings.data)

    def open(self, settings: DataSettings, tokenizer_file: Path | None, sha256: str | None) -> TokenSource:
        _check_packing(settings)
        corpus = load_corpus(settings.data)
        return open_text(settings, corpus.name, corpus.text, tokenizer_file, sha256)


def open_text(
    settings: DataSettings, name: str, text: str, tokenizer_file: Path | None, sha256: str | None
) -> TokenSource:
    """A text as a source, its last part for validation; see `SourceKind.open`. name: what a table shows."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    check_unchanged(settings, digest, sha256)  # before the old tokenizer meets a new character
    spec = settings.tokenizer or ("char" if tokenizer_file is None else str(tokenizer_file))
    tokenizer = build(spec, text) if tokenizer_file is None else load(tokenizer_file)
    train, validation = split(tokenizer.encode_array(text), settings.validation_fraction)
    info = {"name": name, "characters": len(text), "sha256": digest}
    return TokenSource(tokenizer, spec, spec, info, (train,), (validation,))


def _check_packing(settings: DataSettings) -> None:
    if settings.packing == "best-fit":
        raise UserError(
            f"packing is best-fit, which packs whole documents, and {settings.data} is one text; make documents of it "
            f"with `linearnexus data prepare {settings.data} --output FOLDER`, or leave --packing out."
        )
