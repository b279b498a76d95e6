"""Python files of the user's own, named in an environment variable, that add to what the package knows.

    LINEARNEXUS_MIXERS    mixers (docs/add_a_mixer.md)
    LINEARNEXUS_SOURCES   data sources (docs/add_a_data_source.md)
    LINEARNEXUS_PLUGINS   optimizers and jobs (docs/add_an_optimizer.md, docs/add_an_objective.md)
    LINEARNEXUS_FORMS     faster forms of ops (docs/add_a_backend_form.md)

A file is run when a name is met that nothing in the package has, or forms before the first computation, never by an
import.

Look first at: `run_files`, `load_plugins`.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from linearnexus.core.errors import UserError


def run_files(variable: str, paths: str) -> Iterator[ModuleType]:
    """Runs the Python files of a text of paths (with `os.pathsep` between two), which the environment variable
    `variable` holds, and yields each as a module.

    A file is the module VARIABLE_STEM, in lower case: the same in every process, so that what it defines can be found
    again by its name. Raises UserError for a missing file, two files of the same name, or an error in one, naming the
    line.
    """
    for path in filter(None, paths.split(os.pathsep)):
        file = Path(path).resolve()
        if not file.is_file():
            raise UserError(f"{variable} names {path}, which is not a file; give the path of a Python file.")
        name = f"{variable.lower()}_{file.stem}"
        loaded = getattr(sys.modules.get(name), "__file__", path)
        if Path(loaded).resolve() != file:
            raise UserError(f"{variable} names {loaded} and {path}; give the files different names.")
        try:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None and spec.loader is not None
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == file]
            line = error.lineno if isinstance(error, SyntaxError) else (lines or [None])[-1]
            said = error.msg if isinstance(error, SyntaxError) else str(error).rstrip(".")
            raise UserError(
                f"{path}, which {variable} names, failed in line {line} ({type(error).__name__}: {said}); correct it "
                "there."
            ) from error
        yield module


PLUGINS = "LINEARNEXUS_PLUGINS"
_loaded: set[str] = set()  # values of PLUGINS whose files have been run


def load_plugins() -> None:
    """Runs the files that LINEARNEXUS_PLUGINS names, unless they were run before. Raises UserError for an error in
    one."""
    paths = os.environ.get(PLUGINS, "")
    if paths not in _loaded:
        _loaded.add(paths)
        for _ in run_files(PLUGINS, paths):
            pass
