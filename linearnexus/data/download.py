"""Files from the network, kept in the cache folder.

Look first at: `download`.
"""

import hashlib
import http.client
import os
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from uuid import uuid4

from linearnexus.core.errors import UserError
from linearnexus.core.paths import cache_dir

DOWNLOAD_TIMEOUT = 20.0  # seconds without an answer
LARGEST_DOWNLOAD = 50 * 2**30  # bytes


def download(address: str, largest: int = LARGEST_DOWNLOAD) -> Path:
    """The file at an address, kept in the cache folder: whole or not at all, fetched once.

    Raises UserError where it cannot be had or is too large.
    """
    base = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name or "index.txt"
    path = cache_dir() / "downloads" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{base}"
    if path.exists():
        return path
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(address, timeout=DOWNLOAD_TIMEOUT) as answer, temporary.open("xb") as file:
            promised = int(answer.headers.get("Content-Length") or -1)
            if promised > largest:
                raise UserError(f"{address} has {promised:,} bytes, more than the {largest:,} that are downloaded.")
            while data := answer.read(2**20):
                file.write(data)
                if file.tell() > largest:
                    raise UserError(f"{address} has more than the {largest:,} bytes that are downloaded.")
            if promised not in (-1, file.tell()):
                raise UserError(
                    f"The download of {address} ended after {file.tell():,} of {promised:,} bytes; try again."
                )
            file.flush()
            os.fsync(file.fileno())
        shutil.move(temporary, path)
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"Could not download {address} ({getattr(error, 'reason', error)}); check it.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
