"""The glossary beside a run: it begins with what the run does, not with an empty page."""

from __future__ import annotations

from tui.glossary.entries import load
from tui.glossary.panel import GlossaryPanel
from tui.model.snapshot import Snapshot


class RunGlossary(GlossaryPanel):
    """A glossary whose first entry is the algorithm of the run that is shown."""

    def show(self, snapshot: Snapshot) -> None:
        """Refresh the value of the open entry; with the first moment, open one."""
        super().show(snapshot)
        if not self.slug:
            known = {entry.slug for entry in load()}
            name = snapshot.algorithm.name
            self.open(name if name in known else "algorithm")
