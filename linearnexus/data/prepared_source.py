"""`--data tokens` or `--data a:0.7,b:0.3`: folders that `linearnexus data prepare` made, one or a mixture by weights.

Without weights, the shares of a mixture go by the sizes of the folders.

Look first at: `PreparedKind`.
"""

import hashlib
import math
import os
from pathlib import Path

from linearnexus.core.errors import UserError
from linearnexus.data.settings import DataSettings
from linearnexus.data.shards import Prepared, is_prepared, open_prepared
from linearnexus.data.source import SourceKind
from linearnexus.data.token_source import TokenSource


class PreparedKind(SourceKind):
    """FOLDER or FOLDER:WEIGHT,FOLDER:WEIGHT,..., where at least one is a prepared folder."""

    def claims(self, data: str) -> bool:
        return any(is_prepared(path) for path, _ in _parts(data))

    def check(self, settings: DataSettings) -> None:
        _folders(settings)

    def open(self, settings: DataSettings, tokenizer_file: Path | None, sha256: str | None) -> TokenSource:
        found = _folders(settings)
        folders = tuple(prepared for prepared, _ in found)
        for prepared in folders:
            if not prepared.manifest["validation"]["tokens"]:
                raise UserError(
                    f"{prepared.folder} has no validation documents; prepare it again with a --validation-fraction "
                    "above 0."
                )
        given = [weight for _, weight in found if weight is not None]
        weights = given or [float(prepared.manifest["train"]["tokens"]) for prepared in folders]
        name = ", ".join(str(prepared.folder) for prepared in folders)
        digest = folders[0].sha256
        if len(folders) > 1:
            digest = hashlib.sha256(" ".join(prepared.sha256 for prepared in folders).encode()).hexdigest()
        size = sum(prepared.manifest["train"]["bytes"] for prepared in folders)
        return TokenSource(
            folders[0].tokenizer,
            folders[0].manifest["tokenizer"]["name"],
            None,
            {"name": name, "bytes": size, "sha256": digest},
            tuple(prepared.tokens("train") for prepared in folders),
            tuple(prepared.tokens("validation") for prepared in folders),
            tuple(weight / sum(weights) for weight in weights),
            folders,
        )


def _folders(settings: DataSettings) -> list[tuple[Prepared, float | None]]:
    """The prepared folders that --data names, opened, and their weights. Raises UserError."""
    parts = _parts(settings.data)
    weights = [weight for _, weight in parts]
    if None in weights and any(weights):
        raise UserError(
            f"Some sources of --data {settings.data} have a weight and some have none; give all or none one."
        )
    if any(weight is not None and not 0 < weight < math.inf for weight in weights):
        raise UserError(f"A weight of --data {settings.data} is not above 0; give shares such as a:0.7,b:0.3.")
    found = []
    for path, weight in parts:
        if not is_prepared(path):
            raise UserError(
                f"'{path}' in --data {settings.data} is no prepared folder, and a mixture is of such folders; make one "
                f"with `linearnexus data prepare {path} --output FOLDER`."
            )
        found.append((open_prepared(path), weight))
    first = found[0][0]
    for prepared, _ in found:
        name = prepared.manifest["tokenizer"]["name"]
        if prepared.manifest["tokenizer"]["sha256"] != first.manifest["tokenizer"]["sha256"]:
            raise UserError(
                f"{prepared.folder} was prepared with another tokenizer ({name}) than {first.folder} "
                f"({first.manifest['tokenizer']['name']}); prepare both with the same tokenizer.json."
            )
        if settings.tokenizer not in (None, name):
            raise UserError(
                f"tokenizer is {settings.tokenizer}, but {prepared.folder} was prepared with the tokenizer {name}; "
                f"leave --tokenizer out, or prepare the data again with --tokenizer {settings.tokenizer}."
            )
    return found


def _parts(data: str) -> list[tuple[str, float | None]]:
    """(folder, weight) of "a:0.7,b:0.3"."""
    if is_prepared(os.path.expanduser(data)):
        return [(os.path.expanduser(data), None)]
    parts: list[tuple[str, float | None]] = []
    for part in data.split(","):
        path, _, weight = part.strip().rpartition(":")
        try:
            parts.append((os.path.expanduser(path), float(weight)) if path else (os.path.expanduser(weight), None))
        except ValueError:
            parts.append((os.path.expanduser(part.strip()), None))
    return parts
