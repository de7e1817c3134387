"""What the model is told: mazes and states in words.

Everything that states share (instructions, map) comes first, in the chat template; what differs
stands last, in an answer already begun: "At row 2, column 3 I move". The next token is the action.
Prompts are tokenised whole; which tokens they share is found out afterwards (`packing`).

`observation_text` decides what is told besides the rules: "map" the rows of the map and the cell,
"local" the four neighbours and where the prize lies, "map+local" both. A maze with another
`observation` than "cell" never tells the cell, nor more of the prize than that says.

Shapes: `W` worlds, `O` observations, `N` distinct prompts, `A` actions.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.core.errors import UserError
from engine.env.build_mdp import observation_text
from engine.env.maze import OPEN_DOOR, Maze
from engine.env.mdp import MDP, reachable
from engine.env.observation import held_in_words
from engine.llm.models.tokenizer import first_line

ObservationText = Literal["map", "local", "map+local"]

NO_PROMPT = -1  # in `CellPrompts.row`: nothing is ever decided there
TILE_WORDS = {
    "S": "ice", "F": "ice", "H": "hole", "G": "prize", "g": "lesser prize", "#": "wall",
    "B": "bonus", "k": "key", "D": "door", OPEN_DOOR: "ice",
}  # fmt: skip
LONGEST_TEXT = 4_000_000  # characters of a prompt: more than any model reads
LEGEND = "S start, F ice, H hole, G prize"


@dataclass(frozen=True, eq=False)
class CellPrompts:
    """The prompts of all states of some worlds, each distinct text once.

    A prompt ends where an action word follows; `action_tokens` are the first tokens of those words,
    and all a prompt's probability is shared among them.
    """

    texts: tuple[str, ...]  # [N]
    tokens: tuple[tuple[int, ...], ...]  # [N] token ids
    row: NDArray[np.int64]  # [W, O] the prompt of each observation, or NO_PROMPT
    words: tuple[str, ...]  # [A] how the model says each action: " left"
    action_tokens: tuple[int, ...]  # [A]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class RoutePrompt:
    """A prompt that asks for a whole route from one start, and the words routes are made of."""

    text: str
    tokens: tuple[int, ...]
    words: tuple[str, ...]  # [A] as `CellPrompts.words`
    word_tokens: tuple[tuple[int, ...], ...]  # [A] token ids of each word

    def completion(self, route: Sequence[int], end: int) -> tuple[int, ...]:
        """The tokens that answer with the actions of `route` and the end token: a warm start's."""
        return (*(token for action in route for token in self.word_tokens[action]), end)


def cell_prompts(
    mazes: Sequence[tuple[Maze, MDP]], tokenizer: Any, told: ObservationText = "map"
) -> CellPrompts:
    """The prompts for every observation of a reachable state in which something can be decided.

    The worlds must have the same actions and observations. Raises UserError when the tokenizer
    cannot tell the actions apart.
    """
    if len({maze.actions for maze, _ in mazes}) != 1:
        raise ValueError("the mazes must have the same actions")
    problem = ""
    for words in _vocabularies(mazes[0][0].actions):
        try:
            return _cell_prompts(mazes, tokenizer, told, words)
        except _AmbiguousError as error:
            problem = problem or str(error)
    raise UserError(
        f"model.name: this model's tokenizer cannot tell the actions "
        f"{', '.join(mazes[0][0].actions)} apart by one token ({problem}), nor as letters or "
        "numbers; choose another model."
    )


def route_prompt(
    maze: Maze, mdp: MDP, tokenizer: Any, state: int, told: ObservationText = "map"
) -> RoutePrompt:
    """The prompt that asks for the route from `state` in one completion, moves in words.

    What is asked for: the actions' names, each with a space before it, then the end of the turn.
    Of what lies around only `state`'s is told: a route is written without looking again. Raises
    UserError when the tokenizer melts a word into what stands before it.
    """
    words = tuple(f" {name}" for name in maze.actions)
    question = "Write the whole route as moves separated by spaces."
    shown = _map_text(maze) if told != "local" else ""
    opening = _opening(tokenizer, _rules(maze, words), f"{shown}\n{question}".lstrip())
    text = f"{opening.text}From {_seen(maze, mdp, state, told)} to the prize:"
    try:
        word_tokens = tuple(_appended(opening.encode, text, word) for word in words)
    except _AmbiguousError as error:
        raise UserError(
            f"model.name: with this model's tokenizer routes cannot be asked for ({error}); choose "
            "another model, or model.policy = 'action'."
        ) from error
    return RoutePrompt(text, opening.encode(text), words, word_tokens)


def request_prompt(request: str, tokenizer: Any) -> tuple[str, tuple[int, ...]]:
    """A request in the model's chat template, up to where its answer begins: text and token ids.

    Models without a template continue the text behind the request and a line break.
    """
    if not getattr(tokenizer, "chat_template", None):
        text = f"{request}\n"
        return text, _encode(tokenizer, text, special=True)
    text = _render(tokenizer, [{"role": "user", "content": request}])
    return text, _encode(tokenizer, text, special=False)


class _AmbiguousError(Exception):
    """Two actions begin with the same token, or a word melts into what stands before it."""


def _cell_prompts(
    mazes: Sequence[tuple[Maze, MDP]],
    tokenizer: Any,
    told: ObservationText,
    words: tuple[str, ...],
) -> CellPrompts:
    row = np.full((len(mazes), mazes[0][1].n_observations), NO_PROMPT, dtype=np.int64)
    number: dict[str, int] = {}
    tokens: list[tuple[int, ...]] = []
    action_tokens: tuple[int, ...] = ()
    for w, (maze, mdp) in enumerate(mazes):
        with_map = told != "local" or not maze.rows
        opening = _opening(tokenizer, _rules(maze, words), _map_text(maze) if with_map else "")
        for state in deciding_states(mdp):
            text = opening.text + _place(maze, mdp, int(state), told)
            if text not in number:
                if not tokens:
                    action_tokens = _first_tokens(opening.encode, text, words)
                number[text] = len(tokens)
                tokens.append(opening.encode(text))
            row[w, mdp.observation[state]] = number[text]
    if len(set(tokens)) < len(tokens):
        raise UserError(
            "model.name: this model's tokenizer reads different cells as the same tokens, so the "
            "model could not know where it is; choose another model."
        )
    return CellPrompts(tuple(number), tuple(tokens), row, words, action_tokens)


def deciding_states(mdp: MDP) -> NDArray[np.int64]:
    """The states an episode can be in with something to decide, in order.

    Cells that end in themselves (holes, goals, walls) are no such states.
    """
    own = np.arange(mdp.n_states)[:, None, None]
    stays = (mdp.probability == 0) | ((mdp.next_state == own) & mdp.terminal)
    return np.flatnonzero(reachable(mdp) & ~stays.all(axis=(1, 2)))


def _vocabularies(actions: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Ways to name the actions, the best first; a leading space makes a word of its own."""
    yield tuple(f" {name}" for name in actions)
    if len(actions) <= len(string.ascii_uppercase):
        yield tuple(f" {letter}" for letter in string.ascii_uppercase[: len(actions)])
        yield tuple(string.ascii_uppercase[: len(actions)])
    yield tuple(f" {n}" for n in range(1, len(actions) + 1))


def _first_tokens(
    encode: Callable[[str], tuple[int, ...]], text: str, words: Sequence[str]
) -> tuple[int, ...]:
    """[A] the token that follows `text` when each word is appended. They must differ."""
    first = [_appended(encode, text, word)[0] for word in words]
    for a, token in enumerate(first):
        if token in first[:a]:
            raise _AmbiguousError(f"{words[first.index(token)]!r} and {words[a]!r} begin alike")
    return tuple(first)


def _appended(encode: Callable[[str], tuple[int, ...]], text: str, word: str) -> tuple[int, ...]:
    """The tokens that `word` adds behind `text`, at least one."""
    before, after = encode(text), encode(text + word)
    if after[: len(before)] != before or len(after) == len(before):
        raise _AmbiguousError(f"{word!r} melts into the text before it")
    return after[len(before) :]


@dataclass(frozen=True)
class _Opening:
    """A chat up to where the model's own answer begins."""

    text: str
    tokenizer: Any
    special_tokens: bool  # does encoding add them? A chat template has written them already

    def encode(self, text: str) -> tuple[int, ...]:
        return _encode(self.tokenizer, text, self.special_tokens)


def _opening(tokenizer: Any, rules: str, question: str) -> _Opening:
    """The chat that states the rules and the map, in the model's own template.

    Templates without a system role get one message; models without a template get plain text.
    """
    if not getattr(tokenizer, "chat_template", None):
        return _Opening(f"{rules}\n{question}\n", tokenizer, special_tokens=True)
    user = question or "Where do you move?"
    system = [{"role": "system", "content": rules}, {"role": "user", "content": user}]
    single = [{"role": "user", "content": f"{rules}\n{question}".rstrip()}]
    try:
        text = _render(tokenizer, system)
    except UserError:  # "System role not supported", or it drops that message without a word
        text = _render(tokenizer, single)
    return _Opening(text, tokenizer, special_tokens=False)


def _render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    """The messages in the model's own chat template, up to where its answer begins. Raises
    UserError for a template that refuses them, or leaves one out."""
    try:
        text: str = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,  # Qwen 3 and others; templates that do not know it ignore it
        )
    except Exception as error:  # a template is a program, and fails as it likes
        raise UserError(
            f"model.name: this model's chat template refuses what it is to be told: "
            f"{first_line(error)} Mend chat_template.jinja, or choose another model."
        ) from error
    if len(text) > LONGEST_TEXT:
        raise UserError(
            f"model.name: this model's chat template writes {len(text):,} characters for one "
            "question. Mend chat_template.jinja, or choose another model."
        )
    if not all(message["content"].strip() in text for message in messages):
        raise UserError(
            "model.name: this model's chat template leaves out what it is to be told, so it would "
            "answer a question it never saw. Mend chat_template.jinja, or choose another model."
        )
    if text.rstrip().endswith("<think>"):  # a template that always thinks: the thought is empty
        text = f"{text.rstrip()}\n\n</think>\n\n"
    return text


def _encode(tokenizer: Any, text: str, special: bool) -> tuple[int, ...]:
    """The token ids of a text. Raises UserError when there are none."""
    try:
        tokens = tuple(tokenizer.encode(text, add_special_tokens=special))
    except Exception as error:  # of a library in another language
        raise UserError(
            f"model.name: this model's tokenizer cannot read the prompts: {first_line(error)} "
            "Choose another model."
        ) from error
    if not tokens:
        raise UserError(
            "model.name: this model's tokenizer makes no tokens of the prompts, so there is "
            "nothing it could be told; choose another model."
        )
    return tokens


def _rules(maze: Maze, words: tuple[str, ...]) -> str:
    """The rules of the game and the words to answer with, the same for every state."""
    named = ",".join(words).strip()
    if tuple(word.strip() for word in words) != maze.actions:
        named = ", ".join(
            f"{word.strip()} for {name}" for word, name in zip(words, maze.actions, strict=True)
        )
    if not maze.rows:
        return f"You choose actions to reach the prize. Actions: {named}."
    rules = "You walk on ice to the prize. Holes lose."
    if maze.slip:
        rules += f" The ice is slippery: {maze.slip:.0%} of the moves go sideways."
    if any(maze.wind):
        rules += " The wind blows upward."
    if maze.n_keys:
        rules += " A door opens when all keys are taken."
    return f"{rules} Moves: {named}."


def _map_text(maze: Maze) -> str:
    """The rows of the map, a space between cells so that each cell is one token."""
    if not maze.rows:
        return ""
    more = "".join(
        f", {tile} {TILE_WORDS[tile]}" for tile in "#BgkD" if any(tile in row for row in maze.rows)
    )
    rows = "\n".join(" ".join(row) for row in maze.rows)
    return f"Map ({LEGEND}{more}):\n{rows}"


def _place(maze: Maze, mdp: MDP, state: int, told: ObservationText) -> str:
    """Where one stands, in an answer already begun, up to the action."""
    seen = _seen(maze, mdp, state, told)
    if not maze.rows:
        return f"In {seen} I choose"
    around = maze.observation != "cell" or told == "local"
    return f"{'With' if around else 'At'} {seen} I move"


def _seen(maze: Maze, mdp: MDP, state: int, told: ObservationText) -> str:
    """What is told of a state. Mazes that hide the cell tell no more than they show."""
    seen = observation_text(maze, mdp, int(mdp.observation[state]))
    if not maze.rows or maze.observation != "cell" or told == "map":
        return seen
    around = _neighbours(maze, mdp, state) + _offset(maze, mdp, state)
    if told == "map+local":
        return f"{seen} with {around}"
    if maze.n_keys:
        around += f", {held_in_words(maze, int(mdp.held[state]))}"
    return around


def _neighbours(maze: Maze, mdp: MDP, state: int) -> str:
    """`ice left, hole below, wall right, ice above`; the edge of the map is a wall."""
    height, width = maze.shape
    row, column = divmod(int(mdp.cell[state]), width)
    tiles = maze.tiles_with(int(mdp.held[state])).reshape(height, width)
    around = {
        "left": (row, column - 1),
        "below": (row + 1, column),
        "right": (row, column + 1),
        "above": (row - 1, column),
    }
    return ", ".join(
        f"{TILE_WORDS[tiles[r, c]] if 0 <= r < height and 0 <= c < width else 'wall'} {side}"
        for side, (r, c) in around.items()
    )


def _offset(maze: Maze, mdp: MDP, state: int) -> str:
    """Where the nearest prize lies: `, prize 2 down 1 right`. Nothing on a map without a prize."""
    row, column = divmod(int(mdp.cell[state]), maze.shape[1])
    prizes = [maze.cell(int(cell)) for cell in np.flatnonzero(maze.tiles == "G")]
    if not prizes:  # a Gymnasium map whose success is something else
        return ""
    down, right = min(
        ((r - row, c - column) for r, c in prizes), key=lambda gap: abs(gap[0]) + abs(gap[1])
    )
    parts = []
    if down:
        parts.append(f"{abs(down)} {'down' if down > 0 else 'up'}")
    if right:
        parts.append(f"{abs(right)} {'right' if right > 0 else 'left'}")
    return f", prize {' '.join(parts)}"
