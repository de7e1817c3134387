"""A lesson: pages of Markdown that ask, wait for live figures, and point at what they speak of.

`lesson.md` begins with an optional `# title`, and words below it that open the first page; each
page begins with `## heading`. Between its paragraphs a page may hold fenced blocks of TOML with one
directive each, or several in their order:

    ```lesson
    ask = "Which prize will it take?"
    choices = ["the near one", "the far one"]
    answer = 1
    because = "It never sees the far one."
    ```

`ask` with `choices` and `answer`, or with `exact` (a figure of the exact solver, see
`engine.experiments.lab.exact_figures`) or `metric` (a live figure), which
are answered by a number; `wait` for a live figure; `show` one; `point` at a glossary term;
`start` runs.

What stands below a question or a wait is not shown before it is answered or met. A question with
a wait below it on the same page is a **prediction**: any answer is taken, and what is right is told
when the figure is there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.core.errors import UserError, nearest

FAILING = "failing"
"""What a lesson calls the run that fails, whatever its preset is named."""
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*(\S*)")
TOO_MANY = 4
"""Runs that one lesson can start: as many as are shown side by side."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A directive, or a table in one: unknown keys are errors."""


class Wait(Table, frozen=True, kw_only=True):
    """Go on when a live figure passes a bound, or the run has ended without."""

    metric: Annotated[str, Meta(min_length=1)]
    run: str = FAILING
    at_least: float | None = None
    at_most: float | None = None
    otherwise: str = ""
    """What is said when the run ended and the figure had not passed."""

    def met_by(self, value: float) -> bool:
        """Whether a figure passes; NaN never does."""
        low = self.at_least is None or value >= self.at_least
        high = self.at_most is None or value <= self.at_most
        return low and high and value == value


class Ask(Table, frozen=True, kw_only=True):
    """A question: one of `choices` (`answer` counts from 1), or a number near a figure."""

    ask: Annotated[str, Meta(min_length=1)]
    choices: tuple[str, ...] = ()
    answer: int = 0
    because: str = ""
    exact: str = ""
    metric: str = ""
    run: str = FAILING
    tolerance: Annotated[float, Meta(ge=0.0)] = 0.0
    prediction: bool = False
    """Whether a wait stands below it on the page. The loader says so, not the file."""

    @property
    def numeric(self) -> bool:
        """Whether the answer is a number."""
        return not self.choices


class Show(Table, frozen=True, kw_only=True):
    """A live figure (`metric`) or one of the exact solver (`exact`), shown as it is now."""

    run: str = FAILING
    metric: str = ""
    exact: str = ""


class Point(Table, frozen=True, kw_only=True):
    """A glossary term, whose label on the screen the page speaks of."""

    point: Annotated[str, Meta(min_length=1)]


class _WaitBlock(Table, frozen=True, kw_only=True):
    wait: Wait
    otherwise: str = ""


class _ShowBlock(Table, frozen=True, kw_only=True):
    show: Show


class _StartBlock(Table, frozen=True, kw_only=True):
    start: Annotated[tuple[str, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Text:
    """Some Markdown."""

    markdown: str


Part = Text | Wait | Ask | Show | Point


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its heading, and its parts from top to bottom."""

    title: str
    parts: tuple[Part, ...]

    @property
    def words(self) -> int:
        """How much there is to read, questions and what is told after them included."""
        texts = [p.markdown for p in self.parts if isinstance(p, Text)]
        for ask in self.asks:
            texts += [ask.ask, *ask.choices, ask.because]
        return sum(len(text.split()) for text in texts)

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Its questions."""
        return tuple(part for part in self.parts if isinstance(part, Ask))


@dataclass(frozen=True, slots=True)
class Lesson:
    """A whole lesson."""

    name: str
    """The challenge's name, or that of the file for a page that belongs to none."""
    title: str
    pages: tuple[Page, ...]
    failing: str = ""
    """The preset that "failing" stands for; empty where there is none."""
    runs: tuple[str, ...] = ()
    """The presets that it starts: those of its `start` directives, else those of the challenge."""

    def preset_of(self, run: str) -> str:
        """The preset of a run as the lesson names it."""
        return self.failing if run == FAILING else run


def load_lesson(path: Path) -> Lesson:
    """Read a lesson. Raises UserError naming the file, the line, and what was expected.

    "failing" is resolved by the `challenge.toml` beside it, if there is one.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: the lesson cannot be read ({error}). Expected a UTF-8 Markdown file."
        ) from error
    name = path.parent.name if path.name == "lesson.md" else path.stem
    return parse_lesson(text, str(path), name, _presets_beside(path))


def _presets_beside(path: Path) -> tuple[str, ...]:
    """The failing preset and the remedies; a mistake in them is for the challenge's own loader."""
    try:
        data = tomllib.loads((path.parent / "challenge.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    remedies = data.get("remedies", [])
    named = [data.get("failing"), *(remedies if isinstance(remedies, list) else [])]
    return tuple(name for name in named if isinstance(name, str))


def parse_lesson(text: str, where: str, name: str, presets: tuple[str, ...] = ()) -> Lesson:
    """A lesson from its text. `where` names it in errors; `presets` are those of its challenge,
    the failing one first. Raises UserError."""
    return _Parser(where, name, presets).parse(text)


@dataclass(frozen=True, slots=True)
class _Block:
    """A directive's TOML, and the number of the line its fence is on."""

    toml: str
    line: int


class _Parser:
    """Takes a lesson apart line by line."""

    def __init__(self, where: str, name: str, presets: tuple[str, ...]) -> None:
        self.where, self.name, self.presets = where, name, presets
        self.failing = presets[0] if presets else ""
        self.starts: list[str] = []
        self.watched: list[tuple[str, int]] = []
        """The runs whose live figures are spoken of, with the lines."""

    def parse(self, text: str) -> Lesson:
        title, pages = "", list[Page]()
        before: list[Text | _Block] = []
        for heading, line, pieces in self._pages(text):
            if heading.startswith("# "):
                title = heading[2:].strip()
                if pages or not title or any(isinstance(piece, _Block) for piece in pieces):
                    raise self._error(line, "this is on no page; expected ## heading above it")
                before = pieces
                continue
            pages.append(self._page(heading[3:].strip(), line, [*before, *pieces]))
            before = []
        if not pages:
            raise self._error(1, "there is no page; expected a line that begins with ##")
        if not any(page.asks for page in pages):
            raise self._error(
                1, "the lesson asks nothing; expected at least one ```lesson block with ask"
            )
        return Lesson(self.name, title or self.name, tuple(pages), self.failing, self._runs())

    def _runs(self) -> tuple[str, ...]:
        """The runs it starts; those whose live figures are spoken of are among them."""
        runs = tuple(dict.fromkeys(self.starts)) or self.presets
        if len(self.starts) > TOO_MANY:
            raise self._error(1, f"it starts {len(runs)} runs; expected at most {TOO_MANY}")
        for run, line in self.watched:
            name = self.failing if run == FAILING else run
            if name not in runs:
                raise self._error(
                    line,
                    f"run = {run!r} is not among the runs of this lesson, "
                    f"{', '.join(runs) or 'which starts none'}; name one of them, or start it",
                )
        return runs

    def _pages(self, text: str) -> Iterator[tuple[str, int, list[Text | _Block]]]:
        """The headings with their line numbers and what stands below them."""
        heading, at, pieces = "# ", 1, list[Text | _Block]()
        prose: list[str] = []

        def finish() -> None:
            pieces.append(Text("\n".join(prose).strip()))
            prose.clear()

        lines = enumerate(text.splitlines(), start=1)
        for number, line in lines:
            if fence := FENCE.match(line):
                body, closed = [], False
                for _, inner in lines:
                    if closed := inner.strip().startswith(fence[1]) and not inner.strip(" `~"):
                        break
                    body.append(inner)
                if not closed:
                    raise self._error(number, f"the block is not closed; expected {fence[1]}")
                if fence[2] == "lesson":
                    finish()
                    pieces.append(_Block("\n".join(body), number))
                else:
                    prose += [line, *body, fence[1]]
            elif line.startswith(("# ", "## ")):
                finish()
                if not (heading == "# " and not any(_filled(piece) for piece in pieces)):
                    yield heading, at, pieces
                if not line.strip("# "):
                    raise self._error(number, "the heading is empty; expected words after ##")
                heading, at, pieces = line, number, []
            else:
                prose.append(line)
        finish()
        yield heading, at, pieces

    def _page(self, title: str, line: int, pieces: list[Text | _Block]) -> Page:
        parts: list[Part] = []
        for piece in pieces:
            if isinstance(piece, Text):
                parts += [piece] if piece.markdown else []
            else:
                parts += self._directives(piece)
        if not parts:
            raise self._error(line, f"the page {title!r} is empty; write what to look at")
        for i, part in enumerate(parts):
            if isinstance(part, Ask) and any(isinstance(p, Wait) for p in parts[i:]):
                parts[i] = msgspec.structs.replace(part, prediction=True)
        return Page(title, tuple(parts))

    # ------------------------------------------------------------ directives

    def _directives(self, block: _Block) -> list[Part]:
        """The parts a block stands for; none for `start`, which is of the whole lesson."""
        try:
            data = tomllib.loads(block.toml)
        except tomllib.TOMLDecodeError as error:
            raise self._error(block.line, f"not valid TOML: {error}") from error
        kinds = [key for key in data if key in _KINDS]
        if not kinds:
            found, near = ", ".join(data) or "nothing", nearest(next(iter(data), ""), list(_KINDS))
            raise self._error(
                block.line, f"found {found}; expected at least one of {', '.join(_KINDS)}.{near}"
            )
        parts = []
        for kind in kinds:
            others = {key for other in kinds if other != kind for key in _keys(other)}
            own = {key: value for key, value in data.items() if key not in others}
            parts.append(self._made(kind, own, block.line))
        return [part for part in parts if part is not None]

    def _made(self, kind: str, data: dict[str, Any], line: int) -> Part | None:
        try:
            made: Any = msgspec.convert(data, _KINDS[kind], strict=True)
        except msgspec.ValidationError as error:
            raise self._error(line, f"{kind}: {error}") from error
        return self._checked(made, line)

    def _checked(self, made: Any, line: int) -> Part | None:
        match made:
            case _StartBlock():
                self.starts += made.start
                return None
            case _WaitBlock():
                return self._checked_wait(made, line)
            case _ShowBlock():
                if bool(made.show.metric) == bool(made.show.exact):
                    raise self._error(line, "show: expected either metric or exact")
                self._check_run(made.show.run, line, live=bool(made.show.metric))
                return made.show
            case Ask():
                self._check_ask(made, line)
                return made
            case Point():
                return made
        raise AssertionError(made)

    def _checked_wait(self, block: _WaitBlock, line: int) -> Wait:
        wait = block.wait
        if wait.at_least is None and wait.at_most is None:
            raise self._error(line, "wait: no bound; expected at_least or at_most")
        self._check_run(wait.run, line, live=True)
        return msgspec.structs.replace(wait, otherwise=block.otherwise or wait.otherwise)

    def _check_ask(self, ask: Ask, line: int) -> None:
        if ask.prediction:
            raise self._error(line, "ask: prediction is not a key; a wait below makes it one")
        if ask.choices:
            if ask.exact or ask.metric:
                raise self._error(line, "ask: expected either choices, or exact, or metric")
            if not 2 <= len(ask.choices) <= 9:
                raise self._error(line, f"ask: {len(ask.choices)} choices; expected 2 to 9")
            if not 1 <= ask.answer <= len(ask.choices):
                raise self._error(
                    line,
                    f"ask: answer = {ask.answer}; expected the number of the right choice, "
                    f"1 to {len(ask.choices)}",
                )
            return
        if bool(ask.exact) == bool(ask.metric):
            raise self._error(line, "ask: expected choices with answer, or exact, or metric")
        self._check_run(ask.run, line, live=bool(ask.metric))

    def _check_run(self, run: str, line: int, live: bool) -> None:
        self.watched += [(run, line)] if live else []
        if run == FAILING and not self.failing:
            raise self._error(
                line, 'run: "failing" has no challenge here; expected the name of a preset'
            )

    def _error(self, line: int, message: str) -> UserError:
        end = "" if message.endswith((".", "?")) else "."
        return UserError(f"{self.where}, line {line}: {message}{end}")


def _filled(piece: Text | _Block) -> bool:
    return isinstance(piece, _Block) or bool(piece.markdown)


_KINDS: dict[str, type[msgspec.Struct]] = {
    "ask": Ask,
    "wait": _WaitBlock,
    "show": _ShowBlock,
    "point": Point,
    "start": _StartBlock,
}
"""The directives by the key that says which it is."""


def _keys(kind: str) -> tuple[str, ...]:
    """The keys that belong to a directive."""
    return _KINDS[kind].__struct_fields__
