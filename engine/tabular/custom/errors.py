"""Where in a user's own file something went wrong, and how that is said in one line."""

from __future__ import annotations

import ast
import dis
import re
import traceback

from engine.core.compiling import CUSTOM_SOURCE

LONGEST = 300
"""Characters of an error's own words that are repeated: the text may quote whole tables."""

RUNS_KERNEL = "_run_kernel"
"""The learners' method that does nothing but call a kernel."""


def describe(error: BaseException, name: str, source: bytes) -> str:
    """`my_q.py, line 40: NameError: …`; without a line where none is known."""
    line = _line_in_kernel(error, name, source) if is_numba(error) else line_of(error)
    where = "" if line is None else f", line {line}"
    if is_from_kernel(error):
        where = ", in the kernel (compiled code names no line)"
    return f"{name}{where}: {message_of(error)}"


def is_to_blame(error: BaseException) -> bool:
    """Whether the error came out of a user's file, or out of its kernel or compiling that."""
    return line_of(error) is not None or is_numba(error) or is_from_kernel(error)


def line_of(error: BaseException) -> int | None:
    """The innermost line of the user's file that was being run when it failed."""
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if CUSTOM_SOURCE in frame.f_globals
    ]
    return lines[-1] if lines else None


def line_of_field(source: bytes, owner: str, name: str) -> int | None:
    """The line where the class `owner` declares its field `name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name == owner:
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and getattr(field.target, "id", "") == name:
                    return field.lineno
    return None


def message_of(error: BaseException) -> str:
    """The error's type and words in one line. Foreign text: whoever shows it cleans it."""
    try:
        text = str(error)
    except Exception:  # an exception of the user's own may not even be able to say what it is
        text = ""
    if is_numba(error):
        text = _gist(text)
        if re.match(r"[A-Z]\w*Error: ", text):  # it repeats another one
            return text
    text = " ".join(text.split()).rstrip(".")
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def is_ctrl_c(error: BaseException) -> bool:
    """Whether somebody pressed Ctrl-C while the file was run, which no file's `raise` can mean."""
    trace = error.__traceback__
    if not isinstance(error, KeyboardInterrupt) or trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    instruction = dis.opname[frame.f_code.co_code[trace.tb_lasti]]
    return not (CUSTOM_SOURCE in frame.f_globals and instruction == "RAISE_VARARGS")


# ---------------------------------------------------------------- compiling


def is_numba(error: BaseException) -> bool:
    """Whether Numba could not compile something. Numba is not imported to find out."""
    return type(error).__module__.startswith("numba.")


def is_from_kernel(error: BaseException) -> bool:
    """Whether compiled code raised it: nothing is deeper than the call of the kernel."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code.co_name == RUNS_KERNEL


def _gist(text: str) -> str:
    """The gist of Numba's message: its first paragraph, without the passes of Numba it names."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if not line.startswith(("Failed in ", "During: "))]
    first, *rest = [line for line in kept if line] or [""]
    if first.endswith(":") and rest:
        first += f" {rest[0]}"
    return first


def _line_in_kernel(error: BaseException, name: str, source: bytes) -> int | None:
    """The line Numba speaks of; for a name it does not know, where that name stands."""
    text = str(error)
    if found := re.search(rf'File "(?:[^"]*/)?{re.escape(name)}", line (\d+)', text):
        return int(found[1])
    if found := re.search(r"NameError: (?:global )?name '(\w+)' is not defined", text):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Name) and node.id == found[1]:
                return node.lineno
    return None
