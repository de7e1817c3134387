"""The tests of the lab share the fake learner and the tools of the tests of runs, a folder up."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
