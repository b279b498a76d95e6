"""`linearnexus cache [clear [KIND]]`: what is kept so that it need not be compiled or downloaded again.

linearnexus cache
linearnexus cache clear programs
"""

import sys
from dataclasses import dataclass

import tyro

from linearnexus.cli.parse import parse, with_value
from linearnexus.core.cache import KINDS, CacheKind, clear, foreign_programs, held
from linearnexus.core.errors import UserError, unknown
from linearnexus.core.paths import cache_dir

DESCRIPTION = f"""List what the cache folder holds, or delete it. Everything in it is compiled or downloaded again when
it is needed.

linearnexus cache clear asks before it deletes all kinds; a KIND is one of: {", ".join(KINDS)}."""


@dataclass(frozen=True)
class CacheOptions:
    action: tyro.conf.Positional[str] = "list"  # list or clear
    kind: tyro.conf.Positional[str] = ""  # the kind to list or delete; default: all
    yes: bool = False  # delete without asking


def main(arguments: list[str]) -> None:
    options = parse(CacheOptions, with_value(arguments, "--yes"), "cache", DESCRIPTION)
    if options.action not in ("list", "clear"):
        raise unknown("action of cache", options.action, ("list", "clear"))
    if options.kind and options.kind not in KINDS:
        raise unknown("kind", options.kind, KINDS)
    kinds = [KINDS[options.kind]] if options.kind else list(KINDS.values())
    (_list if options.action == "list" else _clear)(kinds, options.yes)


def _list(kinds: list[CacheKind], _: bool) -> None:
    print(f"{cache_dir()}\n")
    total = 0
    for kind in kinds:
        found = held(kind)
        total += found.size
        print(f"  {kind.name:<11}{size_text(found.size):>10} {files_text(len(found.files)):>14}  {kind.says}")
        if found.link:
            print(f"  {'':<11}{found.link}")
    if elsewhere := foreign_programs():
        print(
            f"\nJAX_COMPILATION_CACHE_DIR is set, so compiled programs are kept in {elsewhere}; it is left alone here."
        )
    print(
        f"\n{size_text(total)} in all. linearnexus cache clear [KIND] deletes it; it is made again when it is needed."
    )


def _clear(kinds: list[CacheKind], yes: bool) -> None:
    found = [held(kind) for kind in kinds]
    for one in found:
        if one.link:
            print(one.link)
    files, size = sum(len(one.files) for one in found), sum(one.size for one in found)
    if not files:
        print(f"There is nothing to delete in {cache_dir()}.")
        return
    names = ", ".join(one.kind.name for one in found if one.files)
    what = f"{size_text(size)} in {files_text(files)} of {cache_dir()} ({names})"
    if not yes and not _agreed(f"Delete {what}? [y/N] "):
        print("Nothing was deleted.")
        return
    freed = sum(clear(one) for one in found)
    print(f"Deleted {size_text(freed)}.")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError("There is nobody to ask before deleting; add --yes to delete without a question.")
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def files_text(number: int) -> str:
    """1 -> 1 file"""
    return "1 file" if number == 1 else f"{number:,} files"


def size_text(size: float) -> str:
    """1536 -> 1.5 KiB"""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
