"""`linearnexus doctor`: what this machine can do, which form each op takes on it, and what is wrong.

linearnexus doctor
linearnexus doctor --json

Look first at: `examine`, `show`.
"""

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from linearnexus.cli.cache import files_text, size_text
from linearnexus.cli.parse import parse, with_value
from linearnexus.core import hardware
from linearnexus.core.cache import KINDS, foreign_programs, held
from linearnexus.core.lazy import LazyPackage
from linearnexus.core.machine import compute_in_turn
from linearnexus.core.paths import cache_dir

jax = LazyPackage("jax")
DESCRIPTION = """Tell what this machine can do: cores, memory, measured speed, devices, versions, which form each op
takes and why, caches, and what is wrong, in a few seconds."""
WIDTH = 80


@dataclass(frozen=True)
class DoctorOptions:
    json: bool = False  # print JSON, for programs


def main(arguments: list[str]) -> None:
    options = parse(DoctorOptions, with_value(arguments, "--json"), "doctor", DESCRIPTION)
    found = examine()
    print(json.dumps(found, indent=2)) if options.json else show(found)


def examine() -> dict[str, Any]:
    """Everything that is told, as data."""
    its = hardware.machine()
    kinds = {one.kind.name: {"bytes": one.size, "files": len(one.files)} for one in map(held, KINDS.values())}
    programs = foreign_programs() or str(KINDS["programs"].path)
    found = {
        **asdict(its),
        "cache": {"folder": str(cache_dir()), "programs": programs, "kinds": kinds},
        "devices": [],
        "product_flops": None,
        "reading_bytes": None,
        "forms": [],
    }
    try:
        compute_in_turn()
        devices = jax.devices()
    except (ImportError, RuntimeError, AssertionError) as error:
        said = " ".join(str(error).split()).rstrip(".") or "it finds no device"
        return found | {"concerns": [f"JAX does not work here: {said}.", *hardware.concerns(its, ())]}
    from linearnexus.core.layers import linear

    found["devices"] = [{"platform": device.platform, "kind": device.device_kind} for device in devices]
    found["forms"] = forms(devices[0])
    found["product_flops"] = hardware.product_rate(jax)
    found["reading_bytes"] = hardware.reading_rate(jax, linear, its.free_memory)
    return found | {"concerns": hardware.concerns(its, tuple(device.platform for device in devices))}


def forms(device: Any) -> list[dict[str, str]]:
    """The form of each op on a device, and why."""
    from linearnexus.core.forms import OPS, load_forms, refusal
    from linearnexus.ops import (  # noqa: F401 - their ops are in OPS once they are imported
        delta_rule,
        linear_attention,
        selective_scan,
        short_conv,
        softmax_attention,
    )

    load_forms()
    platform = device.platform
    if platform == "gpu":
        platform = "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"
    rows = []
    for name, op in sorted(OPS.items()):
        registered = op.forms.get(platform, [])
        taken = [form for form in registered if refusal(form) is None]
        if taken:
            row = {"op": name, "form": taken[0].name, "why": str(taken[0].can)}
        elif registered:
            row = {"op": name, "form": "XLA", "why": f"{registered[0].name} is not taken: {refusal(registered[0])}"}
        else:
            others = f", only for {', '.join(op.forms)}" if op.forms else ""
            row = {"op": name, "form": "XLA", "why": f"no other form is registered for {platform}{others}"}
        rows.append(row)
    return rows


def show(found: dict[str, Any]) -> None:
    """Prints it for a person, 80 columns wide."""
    vectors = "unknown" if found["vectors"] is None else ", ".join(found["vectors"]) or "none that matter"
    memory = "unknown" if found["memory"] is None else size_text(found["memory"])
    if found["free_memory"] is not None:
        memory += f", {size_text(found['free_memory'])} of them free"
    kinds = found["cache"]["kinds"].values()
    size, files = (sum(kind[what] for kind in kinds) for what in ("bytes", "files"))
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    _line("Machine", f"{found['processor']}, {found['system']}")
    _line("Cores", f"{found['usable_cores']} of {found['cores']} can be used here")
    _line("Vectors", f"{vectors}: instructions that compute on several numbers at once")
    _line("Memory", memory)
    _line("Devices", f"{_devices(found['devices']) or 'none'}: where JAX computes")
    if found["product_flops"] is not None:
        product, reading = found["product_flops"] / 1e9, found["reading_bytes"] / 1e9
        _line("Speed", f"{product:,.0f} GFLOP/s, a product of two float32 matrices: it limits training")
        what = "a row times a matrix larger than the processor's cache"
        _line("", f"{reading:,.1f} GB/s, {what}: it limits how fast a model writes one text")
    _line("Versions", f"Python {found['python']}, {versions}")
    _line("C++", found["compiler"] or "no compiler found; nothing here needs one")
    _line(
        "Cache", f"{found['cache']['folder']}: {size_text(size)} in {files_text(files)} (linearnexus cache lists them)"
    )
    if found["cache"]["programs"] == foreign_programs():
        _line("", f"compiled programs are kept in {foreign_programs()} (JAX_COMPILATION_CACHE_DIR)")
    _line("Disk", "unknown" if found["free_disk"] is None else f"{size_text(found['free_disk'])} free there")
    if found["forms"]:
        print("\nThe form that each op takes on this machine, and for what, or why no other\n")
    width = max((len(row["form"]) for row in found["forms"]), default=0)
    for row in found["forms"]:
        start = f"  {row['op']:<26}{row['form']:<{width}}  "
        print(textwrap.fill(row["why"], WIDTH, initial_indent=start, subsequent_indent=" " * len(start)))
    print()
    if not found["concerns"]:
        print("Nothing is wrong.")
    for sentence in found["concerns"]:
        print(textwrap.fill(sentence, WIDTH, initial_indent="Note: ", subsequent_indent="      "))


def _line(name: str, text: str) -> None:
    start = f"{name:<10}"
    print(textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start), break_long_words=False))


def _devices(devices: list[dict[str, str]]) -> str:
    kinds = list(dict.fromkeys((device["platform"], device["kind"]) for device in devices))
    counts = [sum((device["platform"], device["kind"]) == kind for device in devices) for kind in kinds]
    return ", ".join(
        f"{count} {platform.upper()}" + (f" ({kind})" if kind != platform else "")
        for count, (platform, kind) in zip(counts, kinds, strict=True)
    )
