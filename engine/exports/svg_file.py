"""The maze of a run with what was learned on it last, as an SVG file."""

from __future__ import annotations

from pathlib import Path

from engine.exports import svg_grid
from engine.exports.grid import Grids
from engine.exports.tables import Exported
from engine.exports.words import escaped

BELOW = 44
"""Height of the lines of text below the maze."""
LEAST_WIDTH = 340


def write(run: Exported, path: Path) -> None:
    """Draw it. Raises UserError when the run has no policy on a maze."""
    grid = Grids(run).newest()
    width, height = svg_grid.size(grid)
    across = max(width, LEAST_WIDTH)
    title = escaped(f"{run.info.preset.title}: step {grid.step:,}")
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title legend" '
        f'width="{across}" height="{height + BELOW}" viewBox="-1 -1 {across + 2} '
        f'{height + BELOW + 2}">\n'
        f'<title id="title">{title}</title>\n'
        f'<desc id="legend">{escaped(svg_grid.legend(grid))}</desc>\n'
        f"<style>{svg_grid.STYLE}</style>\n{svg_grid.elements(grid)}\n"
        f'<text x="2" y="{height + 18}">{title}</text>\n'
        f'<text x="2" y="{height + 36}" class="v">{escaped(run.info.id)}</text>\n</svg>\n'
    )
    path.write_text(text, "utf-8")
