"""A recorded run that the tests of exports read, made once, its kernel run as plain Python."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from engine import factory, presets
from engine.core import compiling
from engine.runs import launch
from engine.runs.session import Session
from engine.runs.store import RunWriter

LAKE = """
title = "Across <the> ice & \\"back\\""
[maze]
map = '''
SFFF
FHFH
FFFH
HFFG
'''
[algorithm]
name = "q-learning"
learning_rate = 0.5
gamma = 0.95
exploration = {kind = "epsilon-greedy", start = 0.5, end = 0.05, steps = 200}
[budget]
env_steps = 300
[run]
agents = 4
seed = 1
"""


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four agents; read it only."""
    preset = presets.parse(LAKE)
    path = launch.create_run(preset, "lake", runs_dir=tmp_path_factory.mktemp("recorded"))
    writer = RunWriter(path)
    with mock.patch.object(compiling, "compiled", lambda function: function):
        try:
            assert Session(writer, factory.make_learner).run()
        finally:
            writer.close()
    return path
