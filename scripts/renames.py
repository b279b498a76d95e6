"""Prints docs/renames.md: every name that has changed, from the compatibility table (linearnexus/core/renames.py).

python -m scripts.renames > docs/renames.md
"""

from collections.abc import Iterator

from linearnexus.core import renames

INTERNAL = (
    ("`keeps_base`", "`freezes_base`", "property of a run's config"),
    ("`whole`", "`merge_frozen`", "training.objective"),
    ("`Base`", "`ParentRun`", "training.parent"),
    ("`Ahead`", "`Prefetcher`", "data.prefetch"),
    ("`compiled_for`", "gone: see `training.optimizer.Optimizer`", ""),
    ("`going_on`, `continued`, `begun`", "`config_from_parent`, `resumed_config`, `with_parent_options`", "recipes"),
    ("`tuned`, `usual`", "`sft_config`, `default_sft_config`", "posttraining.recipes"),
    ("`give_back`", "`return_free_memory`", "core.machine"),
    ("`Progress` (three)", "`Display`, `DecodeState`, `PrepareProgress`", "training, generation, data"),
    ("`Place` (three)", "`TensorPlace`, `GGUFPlace`, `ReadPosition`", "core, interop, data"),
    ("`Settings` (three)", "`Settings`, `PublishedSettings`, `PrepareSettings`", "generation, interop, data"),
    ("`last_two_dimensions`", "`rows_and_columns`", "training.optimizers.roles"),
    ("`Task`, `Block` (two)", "`TextChunk`, `PackedBlock`; `Task`, `Block` keep one meaning", "data"),
)


def rows() -> Iterator[tuple[str, str, str]]:
    """(old, new, where) of every row of the table."""
    for type_name, names in renames.CONFIG_FIELDS.items():
        for old, new in names.items():
            yield f"`{old}`", f"`{new}`", f"field and option of `{type_name}`"
    for type_name in renames.MOVED_FIELDS:
        yield (
            "`weight_decay`, `beta1`, `beta2`, `matrix_learning_rate`",
            "fields of `optimizer`",
            f"config `{type_name}`",
        )
    for owner, names in {**renames.ARGUMENTS, **renames.CLASS_ATTRIBUTES}.items():
        for old, new in names.items():
            yield f"`{old}`", f"`{new}`", f"`{owner}`"
    for old, new in renames.TENSORS.items():
        yield f"`{old}`", f"`{new}`", "tensors in checkpoints"
    for old, parts in renames.SPLIT_TENSORS.items():
        yield f"`{old}`", ", ".join(f"`{new}`" for new in parts), "tensors in checkpoints of mixers with the new ones"
    for name in sorted(renames.RESHAPED_TENSORS):
        yield f"`{name}` with its parts side by side", f"`{name}` with a dimension for them", "tensors in checkpoints"
    for old, new in renames.INFO.items():
        yield f"`{old}`", f"`{new}`", "`info` in a run's config.json"
    for old, new in renames.MODULES.items():
        yield f"`{old}`", f"`{new}`", "module"
    for module, names in renames.NAMES.items():
        for old, new in names.items():
            yield f"`{old}`", f"`{new}`", f"`{module}`"


def table(lines: list[tuple[str, str, str]]) -> str:
    return "\n".join(["| old | new | where |", "| --- | --- | --- |", *(f"| {' | '.join(line)} |" for line in lines)])


def main() -> None:
    print(f"""# Names that have changed

Old options, fields of config.json, tensor names, recipes and imports keep working until version {renames.UNTIL}. An old
name that you type is answered with one sentence that has the new one; a file that an earlier version wrote is read
without a word. The table is `linearnexus/core/renames.py`; `python -m scripts.renames` prints this page.

{table(list(rows()))}

Names inside the package, which nothing outside should have used, have no old form:

{table(list(INTERNAL))}""")


if __name__ == "__main__":
    main()
