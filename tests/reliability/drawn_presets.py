"""Presets drawn at random from the JSON Schema: whatever a preset may say, two or more at a time.

A setting that is added to a struct is drawn without a change here. Only what a schema cannot say is
known by name: maps are rows of tiles, a wind has a number for each column, changes ascend, and
environments have ids.
"""

from __future__ import annotations

import random
from typing import Any

from engine.algorithms import registry
from engine.config.preset import Preset
from engine.env.maze import TILES
from engine.env.registration import BAIRD, BANDIT, MAXIMIZATION_BIAS
from engine.learning.tuning import tunable
from engine.presets import toml
from engine.presets.schema import schema_of
from engine.presets.toml import MAZE_SOURCES

Node = dict[str, Any]

SIDE = 4
"""Rows and columns of drawn maps: all have one size, so that they can follow on one another."""
STEPS = 300
"""Steps a drawn run takes; counts of steps are drawn below it."""
AGENTS = 3
SMALL = 6
"""How far above their least value whole numbers are drawn: what is larger only takes longer."""
MOVES = (-1.0, -0.5, 0.0, 0.1, 0.25, 0.5, 0.9, 1.0, 2.0)
ENVIRONMENTS = ("FrozenLake-v1", "CliffWalking-v1", "Taxi-v4", MAXIMIZATION_BIAS, BANDIT, BAIRD)
OF_ONE_MOVE = ("bandit", "gradient-bandit")
"""Algorithms that only run where an episode is one move."""
TABLES = ("maze", "algorithm", "deploy", "budget", "run")
FEW = ("agents", "env_steps", "episodes", "updates", "seconds", "pace", "name")
"""Settings that say how long a run takes: `preset` gives them itself."""


class Draw:
    """Draws values of a preset's schema; the same seed draws the same."""

    def __init__(self, kind: type[Preset], seed: str) -> None:
        self.random = random.Random(seed)
        self.schema = schema_of(kind)

    # ------------------------------------------------------------ values of a schema

    def value(self, node: Node, key: str = "") -> Any:
        """A value that the schema allows; None stands for a key that is left out."""
        if (make := getattr(self, f"_draw_{key}", None)) is not None:
            return make()
        if "$ref" in node:
            return self.value(self._followed(node), key)
        if "anyOf" in node:
            return self.value(self.random.choice(node["anyOf"]), key)
        if "enum" in node:
            return self.random.choice(node["enum"])
        match node.get("type"):
            case "null":
                return None
            case "boolean":
                return self.random.random() < 0.5
            case "integer":
                low = node.get("minimum", 0)
                return self.random.randint(low, min(node.get("maximum", low + SMALL), low + SMALL))
            case "number":
                return self._number(node)
            case "array":
                return self._list(node, key)
            case "object":
                return self._table(node)
        return "word"

    def _number(self, node: Node) -> float:
        low, high = node.get("minimum", -2.0), node.get("maximum", 2.0)
        above, below = node.get("exclusiveMinimum", -2.0), node.get("exclusiveMaximum", 3.0)
        edges = [low, high, above + 1e-3, below - 1e-3, *MOVES]
        valid = [x for x in edges if low <= x <= high and above < x < below]
        return self.random.choice(valid or [low])

    def _list(self, node: Node, key: str) -> list[Any]:
        fixed = node.get("prefixItems")
        if fixed is not None:
            return [self.value(each, key) for each in fixed]
        size = self.random.randint(node.get("minItems", 0), node.get("minItems", 0) + 2)
        return [self.value(node["items"]) for _ in range(size)]

    def _table(self, node: Node) -> Node:
        required = node.get("required", ())
        drawn = {
            key: self.value(child, key)
            for key, child in node.get("properties", {}).items()
            if key in required or self.random.random() < 0.5
        }
        return {key: value for key, value in drawn.items() if value is not None}

    def _followed(self, node: Node) -> Node:
        found: Node = self.schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return found

    # ------------------------------------------------------------ what a schema cannot say

    def _draw_map(self) -> str:
        """Rows of a map, most often with a way through."""
        others = [tile for tile in TILES if tile not in "SG"]
        cells = ["F" if self.random.random() < 0.5 else self.random.choice(others)
                 for _ in range(SIDE * SIDE)]  # fmt: skip
        keys = [i for i, tile in enumerate(cells) if tile == "k"]
        for i in keys[self.random.randint(0, 2) :]:
            cells[i] = "."
        if "k" not in cells:
            cells = ["F" if tile == "D" else tile for tile in cells]
        start, goal = self.random.sample(range(SIDE * SIDE), 2)
        cells[start], cells[goal] = "S", "G"
        return "\n".join("".join(cells[r * SIDE : (r + 1) * SIDE]) for r in range(SIDE))

    def _draw_wind(self) -> list[int]:
        return [self.random.choice((0, 0, 1, -1, 2)) for _ in range(SIDE)]

    def _draw_changes(self) -> list[Node]:
        steps = sorted(self.random.sample(range(1, STEPS), self.random.randint(1, 2)))
        return [{"step": step, "map": self._draw_map()} for step in steps]

    def _draw_gymnasium(self) -> str:
        return self.random.choice(ENVIRONMENTS)

    def _draw_kwargs(self) -> Node:
        return self.random.choice([{}, {"is_slippery": False}, {"map_name": "8x8"}])

    def _draw_size(self) -> Any:
        return self.random.choice([SIDE, [SIDE, SIDE], [3, SIDE], 2])

    def _draw_policy(self) -> Any:
        return self.random.choice(["random", "optimal", {"left": 0.5, "down": 0.5}, {"right": 1.0}])

    _draw_behaviour = _draw_policy

    # ------------------------------------------------------------ whole presets

    def properties(self, table: str, algorithm: str) -> dict[str, Node]:
        """The keys of one table of a preset, of `[algorithm]` those of one algorithm."""
        node = self.schema["$defs"]["Preset"]["properties"][table]
        for branch in node.get("anyOf", [node]):
            if "$ref" in branch:
                found = self._followed(branch)
                name = found["properties"].get("name", {}).get("enum", [algorithm])
                if table != "algorithm" or name == [algorithm]:
                    properties: dict[str, Node] = found["properties"]
                    return properties
        raise AssertionError(f"[{table}] has no keys for {algorithm}")

    def _source(self, algorithm: str) -> Node:
        """Where the maze comes from: most often a map, for most settings are about one."""
        if algorithm in OF_ONE_MOVE:
            return {"gymnasium": BANDIT}
        luck = self.random.random()
        if luck < 0.6:
            return {"map": self._draw_map()}
        if luck < 0.8:
            return {"size": self._draw_size()}
        if luck < 0.9:
            return {"gymnasium": self._draw_gymnasium()}
        return {"train": {"count": 3, "size": SIDE}, "observation": "neighbourhood+prize"}

    def preset(self, algorithm: str, features: int) -> str:
        """A preset of one algorithm with so many settings drawn from all its tables, as TOML."""
        settings = [
            (table, key, node)
            for table in TABLES
            for key, node in self.properties(table, algorithm).items()
            if key not in FEW
        ]
        data: Node = {
            "title": "drawn",
            "maze": {**self._source(algorithm), "max_steps": 20},
            "algorithm": {"name": algorithm},
            "budget": self.random.choice(
                [{"env_steps": STEPS, "updates": STEPS}, {"episodes": 9, "updates": STEPS},
                 {"updates": STEPS}]
            ),
            "run": {"agents": self.random.randint(1, AGENTS), "seed": self.random.randint(0, 99)},
        }  # fmt: skip
        for table, key, node in self.random.sample(settings, features):
            value = self.value(node, key)
            if value is None:
                continue
            if table == "maze" and key in MAZE_SOURCES:
                for source in MAZE_SOURCES:
                    data["maze"].pop(source, None)
            data.setdefault(table, {})[key] = value
        return toml.write(data)

    def tune(self, algorithm: str) -> tuple[str, Any] | None:
        """A key of `[algorithm]` that may change while a run goes on, and a value for it."""
        names = tunable(registry.TABLES.get(algorithm).settings)
        if not names:
            return None
        name = self.random.choice(names)
        return f"algorithm.{name}", self.value(self.properties("algorithm", algorithm)[name], name)

    def map_text(self) -> str:
        """A map as text."""
        return self._draw_map()

    def map_rows(self) -> list[str]:
        """The rows of a map."""
        return self._draw_map().splitlines()
