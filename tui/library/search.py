"""What the filter line of the home screen finds: among runs, presets, challenges and terms.

The grammar is that of `engine.runs.lists.filters`; a preset has its settings as fields, and no
figures. The engine is imported on use, see `shelf`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tui import kinds
from tui.library.lab_shelf import LabCard
from tui.library.shelf import PresetCard, RunCard
from tui.ui.text import clean

if TYPE_CHECKING:
    from engine.config.preset import Preset
    from engine.runs.lists.filters import Filter


class Facts(NamedTuple):
    """What something is found by: words in small letters, and fields with their values."""

    words: str
    values: Mapping[str, Any]


class Search:
    """The filter line. What it says is asked for again whenever a list is shown."""

    def __init__(self) -> None:
        self.text = ""
        self.error = ""
        """What is wrong with the text; what was found before is still shown then."""
        self._filter: Filter | None = None
        self._presets: dict[str, Facts] = {}
        self._runs: dict[str, tuple[RunCard, Facts]] = {}

    @property
    def active(self) -> bool:
        """Whether anything is looked for."""
        return bool(self.text.strip())

    def look(self, text: str, presets: Iterable[PresetCard], runs: Collection[RunCard]) -> None:
        """Understand a text, about these presets and runs."""
        self.text = text
        if not self.active:
            self._filter, self.error = None, ""
            return
        # start-up time
        from engine.core.errors import UserError
        from engine.runs.lists import filters

        for preset in presets:
            if preset.name not in self._presets:
                self._presets[preset.name] = _of_preset(preset)
        self._runs = {run.summary.id: self._known(run) for run in runs}
        every = [facts.values for facts in self._presets.values()]
        every += [facts.values for _, facts in self._runs.values()]
        try:
            self._filter, self.error = filters.parse(text, filters.known_fields(every)), ""
        except UserError as error:
            self.error = clean(str(error))

    def _known(self, run: RunCard) -> tuple[RunCard, Facts]:
        # start-up time
        from engine.runs.lists import filters

        known = self._runs.get(run.summary.id)
        if known is not None and known[0] is run:
            return known
        values = filters.run_values(run.summary, run.progress)
        return run, Facts(f"{filters.run_words(run.summary)} {run.title.casefold()}", values)

    # ------------------------------------------------------------ what is found

    def has_run(self, run: RunCard) -> bool:
        """Whether a run is among what is looked for."""
        found = self._runs.get(run.summary.id)
        return self._filter is None or (found is not None and self._filter.fits(*found[1]))

    def has_preset(self, preset: PresetCard) -> bool:
        """Whether a preset is."""
        found = self._presets.get(preset.name)
        return self._filter is None or (found is not None and self._filter.fits(*found))

    def has_row(self, row: LabCard) -> bool:
        """Whether a row of the Lab is: by its own words and those of what it runs."""
        if self._filter is None:
            return True
        challenge = row.challenge
        own = " ".join((row.name, row.title, row.question, *(challenge.terms if challenge else ())))
        parts = [self._presets[p.name] for p in row.presets if p.name in self._presets]
        if not self._filter.only_words():
            return any(self._filter.fits(*facts) for facts in parts)
        return self._filter.fits(" ".join((own.casefold(), *(f.words for f in parts))), {})

    @property
    def wants_terms(self) -> bool:
        """Whether glossary entries may be looked for too: by words, which they are made of."""
        return self._filter is not None and not self.error and self._filter.only_words()


def _of_preset(card: PresetCard) -> Facts:
    import msgspec  # start-up time

    # start-up time
    from engine.runs.lists import filters

    own = (card.name, card.title, card.summary)
    if card.preset is None:
        return Facts(filters.words_of(*own), {})
    settings = filters.settings_of(msgspec.to_builtins(card.preset))
    values = {**settings, "name": card.name, "title": card.title}
    values["algorithm"] = str(settings.get("algorithm.name", ""))
    return Facts(filters.words_of(*own, *_method_words(card.preset, settings)), values)


def _method_words(preset: Preset, settings: Mapping[str, Any]) -> list[str]:
    """The words of how a preset learns: `ucb` finds what explores by it."""
    keys = ("algorithm.name", "algorithm.exploration.kind", "model.name", "maze.gymnasium")
    named = [str(settings[key]) for key in keys if key in settings]
    return [*named, kinds.of(preset).algorithm.title, kinds.of(preset).behaviour]
