"""The glossary's entries: read from `terms/*.toml`, looked up by name, searched by words.

Names are the slug, the title, the symbols and the aliases of an entry. Symbols are told apart by
case (`A` is the advantage, `a` an action), all other names are not. The field uses some names for
several things (`θ`, `temperature`): the entry that has it as slug or title comes first, then the
one taught first, and each says what else the name stands for.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache, cached_property
from importlib import resources

import msgspec

from engine.core.errors import UserError, nearest

PANELS = (
    "Home",
    "Algorithm map",
    "Start form",
    "Status line",
    "Timeline",
    "Agent-environment loop",
    "Compare",
    "Lesson",
    "Rating screen",
    "Ice Maze",
    "Trajectory log",
    "Explain",
    "Curves",
    "Notifications",
    "Command line",
)
"""The places an entry's `where` may name: what stands before the colon."""

MENTIONED = 7
"""The rank of an entry that speaks of what is searched for without being called so."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One term. `where` says where it is on screen ("panel: label"); `source` lists references
    to the lines that implement it (see `tui.glossary.source`)."""

    slug: str
    title: str
    group: str
    symbols: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    meaning: str
    formula: str
    where: tuple[str, ...]
    source: tuple[str, ...]
    related: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything the entry can be called."""
        return (self.slug, self.title, *self.symbols, *self.aliases)

    @property
    def heading(self) -> str:
        """The title with its first symbol: `Discount factor  γ`."""
        return f"{self.title}  {self.symbols[0]}" if self.symbols else self.title


class Glossary:
    """All entries, in the order they are taught."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self._by_slug = {entry.slug: entry for entry in entries}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def groups(self) -> dict[str, list[Entry]]:
        """The entries by group, both in order."""
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault(entry.group, []).append(entry)
        return groups

    def get(self, slug: str) -> Entry:
        """The entry of that slug, or of exactly that name. KeyError if there is none."""
        if entry := self._by_slug.get(slug):
            return entry
        return self._symbols.get(slug) or self._words[normal(slug)]

    def find(self, term: str) -> Entry:
        """The entry a user means by `term`: a name, or a part of one if no other has it.

        Raises UserError with what comes near when there is none.
        """
        if entry := self.for_label(term):
            return entry
        matches = self._ranked(term.strip()) if term.strip() else []
        named = [entry for rank, entry in matches if rank < MENTIONED]
        if len(named) == 1:
            return named[0]
        if matches:
            near = ", ".join(entry.slug for _, entry in matches[:6])
            raise UserError(f"There is no glossary entry {term!r}. Nearest: {near}.")
        names = [name.casefold() for entry in self.entries for name in entry.names]
        hint = nearest(term.casefold(), names)
        if not hint.startswith(" Did you mean"):
            hint = " `icemaze glossary` lists them all."
        raise UserError(f"There is no glossary entry {term!r}.{hint}")

    def for_label(self, text: str) -> Entry | None:
        """The entry of a label on the screen, however it is dressed: `γ`, `TD error δ:`, `ε 0.43`,
        `expected_return`, `Episodes`. None if no entry has that name."""
        text = text.strip()
        for candidate in _undressed(text):
            if entry := self._symbols.get(candidate) or self._words.get(normal(candidate)):
                return entry
        return None

    def search(self, text: str) -> list[Entry]:
        """The entries that fit all words of `text`, best first: by name, then by what they say.

        Nothing typed gives all entries in order.
        """
        text = text.strip()
        if not text:
            return list(self.entries)
        return [entry for _, entry in self._ranked(text)]

    def _ranked(self, text: str) -> list[tuple[int, Entry]]:
        ranks = [(_rank(entry, text), entry) for entry in self.entries]
        found = [(rank, entry) for rank, entry in ranks if rank is not None]
        return sorted(found, key=lambda item: item[0])

    def also(self, entry: Entry) -> dict[str, list[Entry]]:
        """What other entries are called by a name of this one: by that name."""
        words = {normal(name): name for name in (*entry.aliases, entry.title, entry.slug)}
        called = {name: self._by_symbol[name] for name in entry.symbols}
        called |= {name: self._by_word[word] for word, name in words.items()}
        shared = {name: [e for e in all_ if e is not entry] for name, all_ in called.items()}
        return {name: others for name, others in shared.items() if others}

    @cached_property
    def _symbols(self) -> dict[str, Entry]:
        return {symbol: entries[0] for symbol, entries in self._by_symbol.items()}

    @cached_property
    def _words(self) -> dict[str, Entry]:
        return {word: entries[0] for word, entries in self._by_word.items()}

    @cached_property
    def _by_symbol(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            for symbol in entry.symbols:
                found.setdefault(symbol, []).append(entry)
        return found

    @cached_property
    def _by_word(self) -> dict[str, list[Entry]]:
        """By name in the form of `normal`: first the entries that have it as slug or title."""
        found: dict[str, list[Entry]] = {}
        first = [(name, entry) for entry in self.entries for name in (entry.slug, entry.title)]
        then = [(name, entry) for entry in self.entries for name in entry.aliases]
        for name, entry in (*first, *then):
            entries = found.setdefault(normal(name), [])
            if entry not in entries:
                entries.append(entry)
        return found


def normal(name: str) -> str:
    """A name without what people leave out: case, underscores, hyphens, double spaces."""
    return " ".join(re.sub(r"[_\-–]+", " ", name.casefold()).split())


def _undressed(label: str) -> Iterator[str]:
    """The label itself, then without punctuation, value, brackets, plural, and last symbol."""
    yield label
    label = label.rstrip(":=? ")
    yield label
    label = re.sub(r"\s*[=:]?\s*[-+−]?\d[\d.,]*\s*%?$", "", label)
    yield label
    yield re.sub(r"\s*\([^)]*\)\s*$", "", label)
    if label.endswith("s"):
        yield label[:-1]
    head, _, last = label.rpartition(" ")
    if head and len(last) <= 6 and not last.isascii():  # "TD error δ"
        yield head
        yield last


def _rank(entry: Entry, text: str) -> int | None:
    """How well an entry fits, 0 best; None if it does not."""
    wanted = normal(text)
    if text in entry.symbols:
        return 0
    titles = [normal(entry.title), normal(entry.slug)]
    aliases = [normal(name) for name in (*entry.symbols, *entry.aliases)]
    for rank, names, fits in (
        (1, titles, wanted.__eq__),
        (2, aliases, wanted.__eq__),
        (3, titles, lambda name: name.startswith(wanted)),
        (4, aliases, lambda name: name.startswith(wanted)),
        (5, titles, lambda name: wanted in name),
        (6, aliases, lambda name: wanted in name),
    ):
        if any(fits(name) for name in names):
            return rank
    said = normal(" ".join([*titles, *aliases, entry.meaning, entry.formula, *entry.where]))
    if all(word in said for word in wanted.split()):
        return MENTIONED
    return None


@cache
def load() -> Glossary:
    """The glossary, read once, when somebody first asks for it: group by group."""
    entries = []
    folder = resources.files("tui.glossary") / "terms"
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if not file.name.endswith(".toml"):
            continue
        data = tomllib.loads(file.read_text("utf-8"))
        for raw in data["entry"]:
            raw["meaning"] = " ".join(raw["meaning"].split())
            entries.append(msgspec.convert({**raw, "group": data["group"]}, Entry))
    groups = list(dict.fromkeys(entry.group for entry in entries))
    return Glossary(tuple(sorted(entries, key=lambda entry: groups.index(entry.group))))
