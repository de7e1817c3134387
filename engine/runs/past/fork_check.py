"""Whether the state of a fork fits the learner that its preset makes: `… RUN_DIR`.

A process of its own, see `engine.runs.past.fork`. Exit status 0, or 1 with a sentence on stdout.
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine import factory, presets
from engine.runs import checkpoints, schema, stored


def main(run_dir: Path) -> int:
    """Load the fork's first checkpoint into a new learner."""
    preset = presets.parse(stored.read_text(run_dir / "preset.toml"), folder=run_dir)
    connection = schema.open_to_read(run_dir)
    saved = checkpoints.read(run_dir, connection, checkpoints.FIRST)
    try:
        factory.make_learner(preset).load(saved.state)
    except Exception as error:  # a state of another shape: of any kind
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
