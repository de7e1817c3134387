"""A run as one HTML page that opens offline, on paper too: figures, curves, policy, preset.

There is no script in it, and its policy (CSP) lets a browser run none and load nothing. All text
that a run brings is escaped; styles are allowed by their digest only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine import presets
from engine.config.preset import LlmPreset, algorithm_name
from engine.core.errors import UserError
from engine.experiments.intervals import METHOD
from engine.exports import curves_svg, svg_grid
from engine.exports.about import versions
from engine.exports.figures import figures, shown
from engine.exports.grid import Grid, Grids
from engine.exports.tables import Exported
from engine.exports.words import escaped, percent
from engine.runs import stored

FIRST_CURVES = ("success_rate", "expected_return", "online_return", "expected_length", "loss")
OPEN_CURVES = 6
"""So many charts are shown at once; the others are folded away."""
STYLE = f"""
:root{{color-scheme:light dark}}
body{{max-width:60rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;
background:#fff;color:#1b1f24}}
h1{{line-height:1.2}}table{{border-collapse:collapse;margin:.5rem 0}}
caption{{text-align:left;padding:.3rem 0;color:#4a5561}}
th,td{{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #d5dde5;
vertical-align:top}}td.n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
pre{{overflow:auto;padding:1rem;background:#f2f5f8;border-radius:6px;white-space:pre-wrap;
overflow-wrap:anywhere}}figure{{margin:1rem 0}}svg{{max-width:100%;height:auto}}
figcaption{{color:#4a5561}}summary{{cursor:pointer;padding:.3rem 0}}
.warning,.error{{border-left:4px solid #b85000;padding-left:.7rem}}
{curves_svg.STYLE}{svg_grid.STYLE}
@media (prefers-color-scheme:dark){{body{{background:#10161d;color:#e8eef4}}
caption,figcaption{{color:#a9b7c4}}th,td{{border-color:#32404e}}pre{{background:#1a232d}}}}
@media print{{details>*{{display:block}}}}
"""
POLICY = "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"


def write(run: Exported, path: Path) -> None:
    """Write the page."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    title = escaped(run.info.preset.title)
    with path.open("w", encoding="utf-8") as file:
        file.write(
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(digest)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}: Ice Maze</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{title}</h1>\n"
        )
        for part in (_head, _figures, _policy, _curves, _notes, _preset, _versions):
            file.writelines(f"{line}\n" for line in part(run))
        file.write("</main>\n</body>\n</html>\n")


def _head(run: Exported) -> Iterator[str]:
    info, final = run.info, run.reader.final()
    preset, head = info.preset, run.reader.head()
    if preset.summary:
        yield f"<p>{escaped(preset.summary)}</p>"
    success = percent(final["success_rate"])
    if final["success_kind"] == "sampled" and (newest := run.reader.evaluation_at()):
        success += f" ± {percent(newest.success_stderr)} (standard error, sampled)"
    facts = {
        "Run": info.id,
        "State": f"{head.state} at {_axis(run, head.step)}, {head.seconds:,.1f} s of training",
        "Preset": info.preset_name,
        "Algorithm": algorithm_name(preset),
        "Agents": f"{preset.run.agents}, seed {preset.run.seed}",
        "Success": success,
        "Return": f"{shown('return', final['expected_return'])}, of the optimal policy "
        f"{shown('return', final['optimal_return'])}",
        "Begun": f"{info.created:%Y-%m-%d %H:%M} UTC",
    }
    if rule := final.get("success_rule"):
        facts["Success means"] = rule
    if error := run.reader.error():
        facts["Error"] = error
    yield "<table><caption>What this is</caption>"
    for name, text in facts.items():
        yield f'<tr><th scope="row">{name}</th><td>{escaped(text)}</td></tr>'
    yield "</table>"


def _axis(run: Exported, step: int | None = None) -> str:
    """The run's clock in words, or a moment of it."""
    if isinstance(run.info.preset, LlmPreset):
        unit, per = "update", ""
    elif run.reader.head().updates and not run.reader.head().env_steps:
        unit, per = "sweep", ""
    else:
        unit, per = "step", " per agent"
    if step is None:
        return f"{unit}s{per}"
    return f"{step:,} {unit}{'' if step == 1 else 's'}{per}"


def _figures(run: Exported) -> Iterator[str]:
    rows = figures(run)
    if not rows:
        return
    yield "<h2>Figures</h2>"
    yield f"<table><caption>Last figures. Intervals: {escaped(METHOD)}.</caption>"
    heads = ("figure", "statistic", "value", "95 % interval", "agents")
    yield "<tr>" + "".join(f'<th scope="col">{head}</th>' for head in heads) + "</tr>"
    for row in rows:
        yield (
            f'<tr><th scope="row">{escaped(row.name.replace("_", " "))}</th>'
            f'<td>{row.statistic}</td><td class="n">{escaped(row.value)}</td>'
            f'<td>{escaped(row.interval)}</td><td class="n">{escaped(row.agents)}</td></tr>'
        )
    yield "</table>"


def _policy(run: Exported) -> Iterator[str]:
    try:
        grid = Grids(run).newest()
    except stored.DamagedError:
        raise
    except UserError:
        return  # nothing learned yet, or no maze
    width, height = svg_grid.size(grid)
    yield "<h2>The policy on the maze</h2>"
    yield (
        f'<figure><svg role="img" width="{width}" height="{height}" viewBox="-1 -1 {width + 2} '
        f'{height + 2}" aria-label="The maze with the policy at step {grid.step:,}">'
    )
    yield svg_grid.elements(grid)
    yield f"</svg><figcaption>At step {grid.step:,}. {escaped(svg_grid.legend(grid))}</figcaption>"
    yield "</figure>"
    yield from _in_words(grid)


def _in_words(grid: Grid) -> Iterator[str]:
    """The likeliest action of each cell, for who cannot see the picture."""
    rows, columns = grid.maze.shape
    yield "<details><summary>The policy as a table</summary><table>"
    yield "<caption>The likeliest action in each cell, and V</caption>"
    for row in range(rows):
        cells = range(row * columns, min((row + 1) * columns, len(grid.tiles)))
        yield f'<tr><th scope="row">row {row + 1}</th>'
        yield "".join(f"<td>{escaped(_cell(grid, cell))}</td>" for cell in cells) + "</tr>"
    yield "</table></details>"


def _cell(grid: Grid, cell: int) -> str:
    action = grid.action(cell)
    if action < 0:
        return svg_grid.TILES.get(grid.tiles[cell], "")
    return f"{grid.maze.actions[action]} {shown('v', float(grid.values[cell]))}"


def _curves(run: Exported) -> Iterator[str]:
    curves = run.reader.curves()
    known = {name: c for name, c in curves.items() if np.isfinite(c.mean).any() and len(c.x) > 1}
    if not known:
        return
    held_out = run.reader.curves(split="test")
    names = [name for name in FIRST_CURVES if name in known]
    names += [name for name in known if name not in names]
    yield "<h2>Curves</h2>"
    yield "<p>Lines are means over the agents, bands go from the 10th to the 90th percentile.</p>"
    axis = _axis(run)
    for i, name in enumerate(names):
        if i == OPEN_CURVES:
            yield f"<details><summary>{len(names) - i} more curves</summary>"
        other = held_out.get(name)
        if other is not None and not np.isfinite(other.mean).any():
            other = None
        yield curves_svg.chart(name.replace("_", " "), known[name], other, axis)
    if len(names) > OPEN_CURVES:
        yield "</details>"


def _notes(run: Exported) -> Iterator[str]:
    tunes, notes = run.reader.tunes(), run.reader.notes()
    if not (tunes or notes):
        return
    yield "<h2>What happened</h2><ul>"
    for tune in tunes:
        yield f"<li>At step {tune.step:,} {escaped(f'{tune.key} became {tune.value}')}.</li>"
    for note in notes:
        text = escaped(f"{note.text} {note.remedy}".strip())
        yield f'<li class="{escaped(note.level)}">At step {note.step:,}: {text}</li>'
    yield "</ul>"


def _preset(run: Exported) -> Iterator[str]:
    yield "<h2>Preset</h2>"
    try:
        line = presets.share(run.info.preset)
    except UserError:
        line = ""
    if line:
        yield "<p>This line trains it again:</p>"
        yield f"<pre>icemaze train &quot;{escaped(line)}&quot;</pre>"
    yield "<details open><summary>All settings</summary>"
    yield f"<pre>{escaped(presets.dump(run.info.preset), lines=True)}</pre></details>"


def _versions(run: Exported) -> Iterator[str]:
    said = ", ".join(f"{name} {version}" for name, version in versions().items())
    yield f"<p><small>Written with {escaped(said)}.</small></p>"
