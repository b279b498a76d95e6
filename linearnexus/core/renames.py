"""Names that have changed, each accepted under its old name for one more version.

An old name that a person typed works, and a `RenamedWarning` says the new one in a sentence. An old name in a file that
an earlier version wrote works without a word. To rename something, rename it everywhere and add a row to a table below.

Look first at: the tables; `rename_fields`, `current_name`, `forward`.
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import ModuleType
from typing import Any, TypeVar, cast

from linearnexus.core.resolve import resolve

T = TypeVar("T", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
UNTIL = "0.3"  # the version that no longer knows the old names

# Fields of configs: type of the config, as JSON has it -> old field -> new field.
_TRAIN = {"accumulate": "gradient_accumulation_steps", "final_fraction": "min_lr_ratio"}
CONFIG_FIELDS: dict[str, dict[str, str]] = {
    "moe": {"balance": "aux_loss_weight"},
    "train": _TRAIN,
    "sft": _TRAIN,
}
# Fields that have moved into another field: type of the config -> MODULE:FUNCTION from the old values to today's, and
# what to say of it.
_OPTIMIZER = (
    "linearnexus.training.optimizers.optimizer_config:from_flat_fields",
    "{} of a run is now a field of its optimizer, as in optimizer=AdamWConfig(weight_decay=0.1); the old form works "
    "until version {}.",
)
MOVED_FIELDS: dict[str, tuple[str, str]] = {"train": _OPTIMIZER, "sft": _OPTIMIZER}
# What a run found out, in the "info" of its config.json: old name -> new name.
INFO: dict[str, str] = {"frequencies_loss": "unigram_loss"}
# Arguments: function or module, by its name -> old keyword -> new keyword. A module's attributes are renamed with them.
ARGUMENTS: dict[str, dict[str, str]] = {
    "vector": {"rate": "lr_multiplier"},
    "MatrixState": {"tail": "conv_state"},
    **{function: {"tell": "on_message"} for function in ("load", "compare")},
}
# Class attributes that subclasses set: base class -> old name -> new name.
CLASS_ATTRIBUTES: dict[str, dict[str, str]] = {"MixerConfig": {"shares": "shares_values"}}
# Parts of a tensor's name in checkpoints: blocks.0.mixer.w_select is now blocks.0.mixer.x_proj.
TENSORS: dict[str, str] = {"w_select": "x_proj"}
# Tensors, by the last part of their names, that had fewer dimensions: the same numbers in the same order.
RESHAPED_TENSORS: frozenset[str] = frozenset({"w_in", "w_gates", "gate_bias"})
# Tensors, by the last part of their names, that are now several: parts of the last dimension, side by side.
SPLIT_TENSORS: dict[str, tuple[str, ...]] = {"conv": ("conv_q", "conv_k", "conv_v")}
# Modules: old path -> new path.
MODULES: dict[str, str] = {
    "linearnexus.core.initial": "linearnexus.core.initializers",
    "linearnexus.data.opened": "linearnexus.data.compression",
    "linearnexus.mixers.base": "linearnexus.mixers.contract",
    "linearnexus.mixers.config": "linearnexus.mixers.configs",
    "linearnexus.posttraining.chat": "linearnexus.posttraining.session",
    "linearnexus.models.stored": "linearnexus.models.quantize",
    "linearnexus.tokenizers.base": "linearnexus.tokenizers.tokenizer",
    "linearnexus.training.base": "linearnexus.training.parent",
    "linearnexus.training.loop": "linearnexus.training.launch",
    "linearnexus.training.progress": "linearnexus.training.display",
    "linearnexus.training.source": "linearnexus.data.source",
    "linearnexus.training.validation": "linearnexus.training.objective",
}
# What a module defines: path (the new one) -> old name -> new name, or MODULE:NAME where it has moved.
NAMES: dict[str, dict[str, str]] = {
    "linearnexus.core.initializers": {"step_bias": "init_dt_bias"},
    "linearnexus.core.module": {"scale_rates": "apply_lr_multipliers"},
    "linearnexus.core.tokens": {"Tokens": "TokenLayout"},
    "linearnexus.data.source": {"Source": "DataSource", "Evaluation": "EvaluationPart"},
    "linearnexus.mixers.contract": {"Out": "MixerOutput"},
    "linearnexus.models.presets": {"add_mixers": "linearnexus.models.own_mixers:add_mixers"},
    "linearnexus.models.quantize": {"stored": "quantize", "keeper": "quantizer", "Keep": "Quantizer"},
    "linearnexus.ops.chunks": {
        "only": "mask_invalid",
        "fresh": "reset_at_starts",
        "before": "shift_right",
        "later": "shift_left",
    },
    "linearnexus.posttraining.session": {"Chat": "Session"},
    "linearnexus.ops.delta_rule": {f"low_rank_{form}": f"dplr_{form}" for form in ("step", "recurrent", "chunked")},
}


class RenamedWarning(FutureWarning):
    """Somebody used an old name."""


def rename_fields(type_name: str, values: Mapping[str, Any], tell: bool = True) -> dict[str, Any]:
    """The fields of a config under their current names. Where both names are given the old one counts: that is how
    `dataclasses.replace` passes it."""
    return _renamed(type_name, CONFIG_FIELDS.get(type_name, {}), values, tell)


def moved_fields(type_name: str, cls: type, values: Mapping[str, Any], tell: bool = True) -> dict[str, Any]:
    """The fields of a config with those that have moved in their new places."""
    if type_name not in MOVED_FIELDS:
        return dict(values)
    place, sentence = MOVED_FIELDS[type_name]
    made = resolve(place)(values, cls)
    if tell and (gone := sorted(values.keys() - made.keys())):
        _tell(sentence.format(" and ".join(gone), UNTIL))
    return made


def current_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A run's config.json under its current names, for whoever reads it as plain JSON."""
    made = rename_fields(str(values.get("type")), values, tell=False)
    if isinstance(info := made.get("info"), dict):
        made["info"] = {INFO.get(name, name): value for name, value in info.items()}
    return made


def rename_options(type_name: str, words: Sequence[str], tell: Callable[[str], None]) -> list[str]:
    """The words of a command line with the options of a config under their current names."""
    names = CONFIG_FIELDS.get(type_name, {})
    options = {f"--{old.replace('_', '-')}": f"--{new.replace('_', '-')}" for old, new in names.items()}
    made = []
    for word in words:
        option, equals, value = word.partition("=")
        old = option.replace("_", "-")
        if old in options:
            tell(_sentence(f"'{old}'", options[old]))
        made.append(options.get(old, option) + equals + value)
    return made


def old_arguments(function: F) -> F:
    """Makes a function take its keyword arguments under their old names too."""

    @wraps(function)
    def renaming(*arguments: Any, **keywords: Any) -> Any:
        return function(*arguments, **rename_arguments(function.__name__, keywords))

    return cast(F, renaming)


def rename_arguments(function: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a function under their current names."""
    return _renamed(function, ARGUMENTS[function], values)


def rename_class_attributes(cls: type, base: str) -> None:
    """Sets the new names of attributes that a subclass of `base` sets under their old ones."""
    for old, new in CLASS_ATTRIBUTES[base].items():
        if old in vars(cls):
            setattr(cls, new, vars(cls)[old])
            _tell(_sentence(f"'{old}' of {base}", new))


def accepts_old_names(cls: T, of: str | None = None) -> T:
    """Makes a dataclass take and have its fields under their old names too. `of`: the config type, for a config."""
    what = cls.__name__ if of is None else of
    names = ARGUMENTS[what] if of is None else CONFIG_FIELDS[of]
    init: Any = vars(cls)["__init__"]

    @wraps(init)
    def renaming_init(self: Any, *arguments: Any, **keywords: Any) -> None:
        keywords = _renamed(what, names, keywords)
        init(self, *arguments, **(keywords if of is None else moved_fields(of, cls, keywords)))

    def reader(old: str, new: str) -> property:
        def read(self: Any) -> Any:
            _tell(_sentence(f"'{old}' of {what}", new))
            return getattr(self, new)

        return property(read)

    setattr(cls, "__init__", renaming_init)  # noqa: B010 (a type checker forbids the assignment)
    for old, new in names.items():
        setattr(cls, old, reader(old, new))
    return cls


def current_name(name: str) -> str:
    """The current name of a tensor in a checkpoint's file."""
    return ".".join(TENSORS.get(part, part) for part in name.split("."))


def forward(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that has old names in NAMES."""

    def __getattr__(name: str) -> Any:
        if name not in NAMES[module]:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        new = NAMES[module][name]
        _tell(_sentence(f"'{name}' of {module}", new.replace(":", ".")))
        return resolve(new if ":" in new else f"{module}:{new}")

    return __getattr__


def keep_old_modules() -> None:
    """Lets `from OLD import NAME` find the old modules: each stands for its new one, which is imported when something
    is taken out of it."""
    for old in MODULES:
        sys.modules.setdefault(old, _OldModule(old))


class _OldModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks for these itself
            raise AttributeError(name)
        new = MODULES[self.__name__]
        _tell(_sentence(f"'{self.__name__}'", new))
        return forward(new)(name) if name in NAMES.get(new, {}) else resolve(f"{new}:{name}")


def _renamed(what: str, names: Mapping[str, str], values: Mapping[str, Any], tell: bool = True) -> dict[str, Any]:
    made = dict(values)
    for old in names.keys() & values.keys():
        made[names[old]] = made.pop(old)
        if tell:
            _tell(_sentence(f"'{old}' of {what}", names[old]))
    return made


def _sentence(old: str, new: str) -> str:
    return f"{old} is now called '{new}'; the old name works until version {UNTIL}."


def _tell(sentence: str) -> None:
    """Warns at the line of the first caller outside the package."""
    between = ("linearnexus", "abc", "dataclasses", "jaxtyping")
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in between:
        frame = frame.f_back
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(sentence, RenamedWarning, frame.f_code.co_filename, frame.f_lineno, registry=registry)
