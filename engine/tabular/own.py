"""Your own algorithm: one Python file beside the preset, named by `name = "file:my_q.py"`.

The file is trusted code: loading it runs it, with all that the user who started the program may
do. It ends in `ALGORITHM = …` like every file of the shelf, needs no registration, and its settings
need no tag. A file of the same content is run once, whatever folder it is in.
"""

from __future__ import annotations

import copy
import hashlib
import sys
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from engine.errors import UserError
from engine.settings import AlgorithmSettings
from engine.tabular.algorithm import Algorithm
from engine.tabular.compiling import OWN_SOURCE
from engine.tabular.registry import OWN

REQUIRED = (
    "title", "settings", "source", "family", "policy_type", "behaviour_policy", "target_policy",
    "formula", "kernel",
)  # fmt: skip
"""What an algorithm must say about itself."""


@dataclass(frozen=True, slots=True)
class OwnFile:
    """The file an algorithm came from, with the text that was run."""

    name: str
    """As the preset names it, with the prefix."""
    folder: Path
    """The preset's folder, to which the name is relative."""
    path: Path
    source: bytes

    @property
    def sha256(self) -> str:
        """The SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.source).hexdigest()


_modules: dict[str, types.ModuleType] = {}
"""By SHA-256. One module for one text: machine code refers to its types by the module's name."""
_algorithms: dict[OwnFile, Algorithm] = {}
_of_settings: dict[type[AlgorithmSettings], Algorithm] = {}


def load(name: str, folder: Path | None) -> Algorithm:
    """The algorithm of the file `name` (`file:my_q.py`), relative to the preset's `folder`.

    Its settings are those of the file, tagged with `name`. The file is read anew each time, and run
    only if its text has not been run before. Raises UserError saying what is wrong with it.
    """
    file = _read(name, folder)
    if file not in _algorithms:
        algorithm = copy.copy(_checked(_run(file), file.path))
        settings = _tagged(algorithm.settings, name)
        vars(algorithm).update(name=name, settings=settings, own_file=file)
        _algorithms[file] = algorithm
        _of_settings[settings] = algorithm
    return _algorithms[file]


def _tagged(settings: type[AlgorithmSettings], name: str) -> type[AlgorithmSettings]:
    """The same settings, for `[algorithm]` tables with this `name`."""
    tagged = msgspec.defstruct(
        settings.__name__,
        [],
        bases=(settings,),
        namespace={"__doc__": settings.__doc__},
        tag=name,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
    return cast(type[AlgorithmSettings], tagged)


def of_settings(settings: AlgorithmSettings) -> Algorithm | None:
    """The algorithm whose file declared these settings; None for those of the shelf."""
    return _of_settings.get(type(settings))


def _read(name: str, folder: Path | None) -> OwnFile:
    written = name.removeprefix(OWN)
    if folder is None:
        raise UserError(
            f"algorithm.name: {name} is a file beside the preset, and a preset of the library may "
            "not use one. Save the preset as a file of your own (`icemaze presets show NAME`), "
            "with the Python file beside it."
        )
    path = (folder / written).absolute()
    if path.suffix != ".py":
        raise UserError(
            f"algorithm.name: found {name!r}; expected a Python file, such as 'file:my_q.py'."
        )
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"algorithm.name: there is no file {path}. The name after 'file:' is relative to the "
            "preset's folder."
        ) from None
    except OSError as error:
        raise UserError(f"algorithm.name: {path} cannot be read ({error.strerror}).") from error
    return OwnFile(name, folder.absolute(), path, source)


def _run(file: OwnFile) -> types.ModuleType:
    """The module of the file. Raises UserError for whatever goes wrong in it."""
    if file.sha256 in _modules:
        return _modules[file.sha256]
    module = types.ModuleType(f"icemaze_own_{file.sha256[:16]}")
    module.__file__ = str(file.path)
    vars(module)[OWN_SOURCE] = file.source
    sys.modules[module.__name__] = module  # dataclasses and msgspec look annotations up there
    try:
        exec(compile(file.source, str(file.path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise UserError(
            f"{file.path}: your algorithm could not be loaded: {_where(error, file.path)}"
            f"{type(error).__name__}: {error}. Mend the file; it has to stand alone (it can import "
            "engine and NumPy)."
        ) from error
    _modules[file.sha256] = module
    return module


def _where(error: BaseException, path: Path) -> str:
    """The line of the file that was being run when it failed."""
    if isinstance(error, SyntaxError):
        return ""  # its message names the line
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""


def _checked(module: types.ModuleType, path: Path) -> Algorithm:
    """The module's `ALGORITHM`. Raises UserError when it is not one, or not a whole one."""
    algorithm = getattr(module, "ALGORITHM", None)
    if algorithm is None:
        raise UserError(
            f"{path}: your algorithm could not be loaded: the file has no ALGORITHM. End it with "
            "ALGORITHM = MyAlgorithm()."
        )
    if not isinstance(algorithm, Algorithm):
        if isinstance(algorithm, type) and issubclass(algorithm, Algorithm):
            found = f"the class {algorithm.__name__}; write ALGORITHM = {algorithm.__name__}()"
        else:
            found = f"of type {type(algorithm).__name__}; expected an engine.tabular Algorithm"
        raise UserError(f"{path}: your algorithm could not be loaded: ALGORITHM is {found}.")
    missing = [attribute for attribute in REQUIRED if not hasattr(algorithm, attribute)]
    if missing:
        raise UserError(
            f"{path}: your algorithm could not be loaded: {type(algorithm).__name__} does not say "
            f"its {', '.join(missing)}. Compare it with engine/tabular/q_learning.py."
        )
    settings = algorithm.settings
    if not (isinstance(settings, type) and issubclass(settings, AlgorithmSettings)):
        raise UserError(
            f"{path}: your algorithm could not be loaded: settings is {settings!r}; expected a "
            "class derived from engine.settings.AlgorithmSettings."
        )
    if not getattr(algorithm.kernel, "is_kernel", False):
        raise UserError(
            f"{path}: your algorithm could not be loaded: its kernel is no function marked with "
            "@kernel (from engine.tabular.compiling)."
        )
    return algorithm
