"""Your own algorithm: one Python file beside the preset, named by `name = "file:my_q.py"`.

Loading the file runs it, with all that the user who started the program may do: it is loaded only
when the user has said so, see `trust`. It ends in `ALGORITHM = …` like every file of the shelf,
needs no registration, and its settings need no tag. A file of the same content is run once,
whatever folder it is in.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import re
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from engine.config.algorithm import AlgorithmSettings
from engine.config.converting import converting
from engine.core.compiling import CUSTOM_SOURCE
from engine.core.errors import LastingError, UserError
from engine.learning.algorithm import Algorithm, Explanation
from engine.learning.custom_file import CustomFile, read
from engine.tabular.custom import errors as custom_errors
from engine.tabular.custom import recorded, trust

REQUIRED = (
    "title", "settings", "source", "family", "policy_type", "behaviour_policy", "target_policy",
    "formula", "kernel",
)  # fmt: skip
"""The attributes that an algorithm must have."""
WORDS = (
    "title", "source", "behaviour_policy", "target_policy", "update_name", "formula", "idea",
    "needs", "chosen_when",
)  # fmt: skip
"""The attributes that are shown as they are."""
CHOICES = {
    "family": ("planning", "prediction", "value", "policy"),
    "policy_type": ("on-policy", "off-policy", "none"),
    "model_based": (True, False),
}
"""The attributes that the screens decide by, and their values."""


_modules: dict[str, types.ModuleType] = {}
"""By SHA-256. One module for one text: machine code refers to its types by the module's name."""
_algorithms: dict[CustomFile, Algorithm] = {}
_of_settings: dict[type[AlgorithmSettings], Algorithm] = {}


class CustomFileError(LastingError):
    """Something went wrong in the user's file: only mending that helps."""


def load(name: str, folder: Path | None) -> Algorithm:
    """The algorithm of the file `name` (`file:my_q.py`), relative to the preset's `folder`.

    Its settings are those of the file, tagged with `name`. The file is read anew each time, and run
    only if its text has not been run before. Raises NotTrustedError for a file that may not be run,
    and UserError saying what is wrong with it. What the file's methods raise is a UserError too,
    see `_guarded`.
    """
    file = _read(name, folder)
    trust.check(file)
    if file not in _algorithms:
        algorithm, settings = _loaded(file)
        vars(algorithm).update(name=name, settings=settings, custom_file=file)
        vars(algorithm).update(_guarded(algorithm, file))
        _algorithms[file] = algorithm
        _of_settings[settings] = algorithm
    return _algorithms[file]


def _read(name: str, folder: Path | None) -> CustomFile:
    if folder is None:
        raise UserError(
            f"algorithm.name: {name} is a file beside the preset, and a preset of the library may "
            "not use one. Save the preset as a file of your own (`icemaze presets show NAME`), "
            "with the Python file beside it."
        )
    return read(name, folder)


def _loaded(file: CustomFile) -> tuple[Algorithm, type[AlgorithmSettings]]:
    """A checked copy of the file's algorithm, and its settings with the name of the file."""
    try:
        algorithm = copy.copy(_checked(_run(file), file.path))
        settings = _tagged(algorithm.settings, file.name)
        _check_settings(settings, file)
    except BaseException as error:
        if isinstance(error, CustomFileError) or custom_errors.is_ctrl_c(error):
            raise
        line = custom_errors.line_of(error)
        where = "" if line is None else f"line {line}: "
        raise _not_loaded(
            file.path,
            f"{where}{custom_errors.message_of(error)}. Mend the file; it has to stand alone (it "
            "can import engine and NumPy).",
        ) from error
    return algorithm, settings


def _not_loaded(path: Path, why: str) -> CustomFileError:
    return CustomFileError(f"{path}: your algorithm could not be loaded: {why}")


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


def of_run(name: str, run_dir: Path, table: dict[str, Any]) -> Algorithm:
    """The algorithm of a run as it is recorded there, see `recorded`: nothing is loaded."""
    algorithm = recorded.of_run(name, run_dir, table)
    _of_settings[algorithm.settings] = algorithm
    return algorithm


def _run(file: CustomFile) -> types.ModuleType:
    """The module of the file. Raises whatever goes wrong in it."""
    if file.sha256 in _modules:
        return _modules[file.sha256]
    module = types.ModuleType(f"icemaze_own_{file.sha256[:16]}")
    module.__file__ = str(file.path)
    vars(module)[CUSTOM_SOURCE] = file.source
    sys.modules[module.__name__] = module  # dataclasses and msgspec look annotations up there
    try:
        with _ctrl_c_heard():
            exec(compile(file.source, str(file.path), "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[module.__name__]
        raise
    _modules[file.sha256] = module
    return module


@contextlib.contextmanager
def _ctrl_c_heard() -> Iterator[None]:
    """While a file is run for the first time: Ctrl-C interrupts it, and should it go on all the
    same, a second one ends the process. A process that hears Ctrl-C otherwise goes on doing so."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# ---------------------------------------------------------------- checking


def _checked(module: types.ModuleType, path: Path) -> Algorithm:
    """The module's `ALGORITHM`. Raises UserError when it is not one, or not a whole one."""
    algorithm = getattr(module, "ALGORITHM", None)
    if algorithm is None:
        raise _not_loaded(path, "the file has no ALGORITHM. End it with ALGORITHM = MyAlgorithm().")
    if not isinstance(algorithm, Algorithm):
        if isinstance(algorithm, type) and issubclass(algorithm, Algorithm):
            found = f"the class {algorithm.__name__}; write ALGORITHM = {algorithm.__name__}()"
        else:
            found = f"of type {type(algorithm).__name__}; expected an engine.tabular Algorithm"
        raise _not_loaded(path, f"ALGORITHM is {found}.")
    missing = [attribute for attribute in REQUIRED if not hasattr(algorithm, attribute)]
    if missing:
        raise _not_loaded(
            path,
            f"{type(algorithm).__name__} does not say its {', '.join(missing)}. Compare it with "
            "engine/tabular/algorithms/q_learning.py.",
        )
    if wrong := _wrong(algorithm):
        raise _not_loaded(path, wrong)
    return algorithm


def _wrong(algorithm: Algorithm) -> str:
    """The first mistake in what the algorithm says about itself: one sentence, or nothing."""
    settings = algorithm.settings
    if not (isinstance(settings, type) and issubclass(settings, AlgorithmSettings)):
        return (
            f"settings is {settings!r}; expected a class derived from "
            "engine.config.algorithm.AlgorithmSettings."
        )
    if not getattr(algorithm.kernel, "is_kernel", False):
        return "its kernel is no function marked with @kernel (from engine.core.compiling)."
    for name in WORDS:
        if not isinstance(found := getattr(algorithm, name), str):
            return f"{name} is {found!r}; expected a text in quotes."
    for name, valid in CHOICES.items():
        if (found := getattr(algorithm, name)) not in valid:
            return f"{name} is {found!r}; expected one of {', '.join(map(repr, valid))}."
    names = getattr(algorithm, "figure_names", ())
    if not (isinstance(names, tuple) and all(isinstance(name, str) for name in names)):
        return f"figure_names is {names!r}; expected a tuple of texts, such as ('entropy',)."
    for name in _asked_for(algorithm):
        if not callable(found := getattr(algorithm, name)):
            return f"{name} is {found!r}; expected a method: def {name}(self, …)."
    return ""


def _asked_for(algorithm: Algorithm) -> list[str]:
    """The methods by which the engine asks an algorithm of its kind."""
    shelf = [kind for kind in type(algorithm).__mro__ if kind.__module__.startswith("engine.")]
    return sorted(
        {
            name
            for kind in shelf
            for name, value in vars(kind).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }
    )


def _check_settings(settings: type[AlgorithmSettings], file: CustomFile) -> None:
    """Raise UserError for a setting that no preset could give: msgspec would find it too late."""
    problem = _unreadable(settings)
    if problem is None:
        return
    where = ""
    for kind in settings.__mro__:
        for name, annotation in vars(kind).get("__annotations__", {}).items():
            probe = msgspec.defstruct("Probe", [(name, annotation)], module=kind.__module__)
            if CUSTOM_SOURCE in vars(sys.modules[kind.__module__]) and (
                found := _unreadable(probe)
            ):
                line = custom_errors.line_of_field(file.source, kind.__name__, name)
                problem, where = found, f"line {line}: the setting {name!r}: "
    # What msgspec says of unknown types is about how a programmer would make them known.
    why = re.sub("Generating JSON schema for .* type ", "type ", custom_errors.message_of(problem))
    raise _not_loaded(
        file.path,
        f"{where}{why}. A setting is what TOML can say: a number, a text, true or false, a list, "
        "or a table.",
    )


def _unreadable(kind: type[msgspec.Struct]) -> Exception | None:
    """Why msgspec cannot read such a thing from a preset, or say what it looks like."""
    # The settings may hold types of the engine's, which no two threads may take apart at once.
    with converting:
        try:
            msgspec.json.schema(kind)
            msgspec.convert({}, kind)
        except msgspec.ValidationError:
            return None  # it could be read, had it been there
        except Exception as error:
            return error
    return None


# ---------------------------------------------------------------- calling


def _guarded(algorithm: Algorithm, file: CustomFile) -> dict[str, Callable[..., Any]]:
    """The methods of the file, and what the app calls: whatever they raise is a UserError that
    names the line."""
    found = {}
    for name in _asked_for(algorithm):
        method = getattr(algorithm, name)
        function = inspect.unwrap(getattr(method, "__func__", method))
        mine = CUSTOM_SOURCE in getattr(function, "__globals__", {})
        if name == "explain":
            found[name] = _guard(_explaining(method), name, file)
        elif mine or name == "check":
            found[name] = _guard(method, name, file)
    return found


def _guard(method: Callable[..., Any], name: str, file: CustomFile) -> Callable[..., Any]:
    @functools.wraps(method)
    def guarded(*arguments: Any, **named: Any) -> Any:
        try:
            return method(*arguments, **named)
        except BaseException as error:
            if isinstance(error, UserError) or custom_errors.is_ctrl_c(error):
                raise
            told = custom_errors.describe(error, file.path.name, file.source)
            raise CustomFileError(f"{told} (in {name}).") from error

    return guarded


def _explaining(method: Callable[..., Any]) -> Callable[..., Explanation]:
    """The same method, but what it gives can be shown."""

    @functools.wraps(method)
    def explain(*arguments: Any, **named: Any) -> Explanation:
        found = method(*arguments, **named)
        if not isinstance(found, Explanation):
            raise TypeError(f"it gave {found!r}; expected an Explanation")
        for part in ("formula", "numbers", "words"):
            if not isinstance(text := getattr(found, part), str):
                raise TypeError(f"the {part} of its Explanation is {text!r}; expected a text")
        return found

    return explain
