"""What the model is told: complete, last things last, actions told apart by one token."""

import numpy as np
import pytest
from policy_tools import MAPS, worlds
from tiny_models import build_tokenizer

from engine.core.errors import UserError
from engine.env.build_maze import build_mazes
from engine.env.build_mdp import build_mdp
from engine.env.maze import Maze
from engine.env.settings import MazeSettings
from engine.llm.forward.packing import TokenTree
from engine.llm.forward.prompts import NO_PROMPT, cell_prompts, deciding_states, route_prompt

AROUND = "ice left, ice below, hole right, ice above, prize 1 down 1 right"
STATES = [0, 1, 2, 3, 4, 6, 8, 9, 10, 13, 14]  # ice of MAPS[0]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_every_state_with_something_to_decide_has_a_prompt(tokenizer):
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer)
    assert np.flatnonzero(prompts.row[0] != NO_PROMPT).tolist() == STATES
    assert len(prompts) == len(STATES)
    assert [tokenizer.decode([token]) for token in prompts.action_tokens] == list(prompts.words)


def test_unreachable_and_final_cells_are_left_out():
    maze = Maze(rows=("SF#F", "HG#F"))
    assert deciding_states(build_mdp(maze)).tolist() == [0, 1]


def test_a_hole_that_sends_you_back_is_no_place_to_decide():
    maze = Maze(rows=("SF", "HG"), fall="restart")
    assert deciding_states(build_mdp(maze)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("told", "end", "has_map"),
    [
        ("map", "At row 3, column 3 I move", True),
        ("local", f"With {AROUND} I move", False),
        ("map+local", f"At row 3, column 3 with {AROUND} I move", True),
    ],
)
def test_the_three_ways_to_be_told(tokenizer, told, end, has_map):
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer, told)
    text = prompts.texts[prompts.row[0, 10]]
    assert text.endswith("<|im_start|>assistant\n" + end)
    assert ("\nF F F H\n" in text) == has_map
    assert all(word in text for word in ("left", "down", "right", "up"))


def test_a_partial_observation_tells_neither_cell_nor_prize(tokenizer):
    maze = Maze(rows=MAPS[0], observation="neighbourhood")
    prompts = cell_prompts([(maze, build_mdp(maze))], tokenizer, "local")
    ends = {text.rpartition("\n")[2] for text in prompts.texts}
    assert "With wall left, ice below, ice right, wall above I move" in ends
    assert not any("prize 1" in end or "row" in end for end in ends)
    assert prompts.row.shape == (1, build_mdp(maze).n_observations)


def test_the_same_view_in_two_mazes_is_one_prompt(tokenizer):
    local = cell_prompts(worlds(), tokenizer, "local")
    assert len(local) < (local.row != NO_PROMPT).sum()
    shared = {int(row) for row in local.row[0]} & {int(row) for row in local.row[1]} - {NO_PROMPT}
    assert shared
    told_maps = cell_prompts(worlds(), tokenizer, "map")
    assert len(told_maps) == (told_maps.row != NO_PROMPT).sum()


def test_the_tree_shares_instructions_map_and_row(tokenizer):
    prompts = cell_prompts(worlds(), tokenizer)
    tree = TokenTree.build(prompts.tokens)
    single = TokenTree.build(cell_prompts(worlds(MAPS[0]), tokenizer).tokens)
    longest = max(len(tokens) for tokens in prompts.tokens)
    assert len(single) < longest + 12 * len(STATES)  # a few tokens a state
    assert len(tree) < 2 * len(single) - 20  # the instructions once


def test_prompts_are_tokenised_whole(tokenizer):
    prompts = cell_prompts(worlds(MAPS[0]), tokenizer, "map+local")
    for text, tokens in zip(prompts.texts, prompts.tokens, strict=True):
        assert list(tokens) == tokenizer.encode(text, add_special_tokens=False)
        after = tokenizer.encode(text + " left", add_special_tokens=False)
        assert after[len(tokens)] == prompts.action_tokens[0]


def test_slippery_ice_is_told(tokenizer):
    text = cell_prompts(worlds(MAPS[0], slip=2 / 3), tokenizer).texts[0]
    assert "67%" in text
    assert "slippery" not in cell_prompts(worlds(MAPS[0]), tokenizer).texts[0]


def test_actions_that_begin_alike_become_letters(tokenizer):
    maze = Maze(rows=MAPS[0], actions=("walk left", "walk down", "walk right", "walk up"))
    prompts = cell_prompts([(maze, build_mdp(maze))], tokenizer)
    assert len(set(prompts.action_tokens)) == 4
    assert prompts.words[0].strip() == "A"
    assert "A for walk left" in prompts.texts[0]


def test_gymnasium_worlds_without_a_map_have_prompts_too(tokenizer):
    [(_, maze)] = build_mazes(MazeSettings(gymnasium="Taxi-v4"))
    mdp = build_mdp(maze)
    prompts = cell_prompts([(maze, mdp)], tokenizer, "map+local")
    assert len(prompts) == len(deciding_states(mdp)) > 300
    assert len(set(prompts.action_tokens)) == 6
    assert prompts.texts[prompts.row[0, 1]].endswith("In state 1 I choose")


def test_a_tokenizer_that_cannot_tell_actions_apart_is_refused():
    class Blind:
        chat_template = None

        def encode(self, text, add_special_tokens):
            return [7] * len(text)

    with pytest.raises(UserError, match=r"model\.name.*cannot tell the actions left, down"):
        cell_prompts(worlds(MAPS[0]), Blind())


def test_without_a_chat_template_plain_text_is_used(tokenizer):
    plain = build_tokenizer()
    plain.chat_template = None
    text = cell_prompts(worlds(MAPS[0]), plain).texts[0]
    assert "<|im_start|>" not in text and text.startswith("You walk on ice")


SYSTEM_REFUSED = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
)
SYSTEM_DROPPED = (
    "{% for message in messages %}{% if message['role'] == 'user' %}[{{ message['content'] }}]"
    "{% endif %}{% endfor %}"
)
THINKING = (
    "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
)
ALWAYS_THINKING = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}<think>\n"


@pytest.mark.parametrize("template", [SYSTEM_REFUSED, SYSTEM_DROPPED])
def test_templates_without_a_system_role_get_one_message(template):
    plain = build_tokenizer()
    plain.chat_template = template
    text = cell_prompts(worlds(MAPS[0]), plain).texts[0]
    assert text.count("[") == 1 and "You walk on ice" in text and "F H F H" in text


@pytest.mark.parametrize("template", [THINKING, ALWAYS_THINKING])
def test_thinking_is_off(template):
    plain = build_tokenizer()
    plain.chat_template = template
    text = cell_prompts(worlds(MAPS[0]), plain).texts[0]
    assert "<think>\n\n</think>\n\nAt row 1" in text


@pytest.mark.parametrize(
    ("told", "asked", "has_map"),
    [
        ("map", "From row 2, column 3 to the prize:", True),
        (
            "local",
            "From hole left, ice below, hole right, ice above, prize 2 down 1 right to the prize:",
            False,
        ),
        (
            "map+local",
            "From row 2, column 3 with hole left, ice below, hole right, ice above, prize 2 down 1 "
            "right to the prize:",
            True,
        ),
    ],
)
def test_a_plan_prompt_tells_what_it_is_to_tell(tokenizer, told, asked, has_map):
    maze = Maze(rows=("SFFF", "FHFH", "FFFH", "HFFG"))
    prompt = route_prompt(maze, build_mdp(maze), tokenizer, 6, told)
    assert prompt.text.endswith(asked)
    assert ("\nF H F H\n" in prompt.text) == has_map
    assert "Write the whole route" in prompt.text


def test_keys_and_doors_are_told(tokenizer):
    maze = Maze(rows=("SkD", "HgG"))
    mdp = build_mdp(maze)
    prompts = cell_prompts([(maze, mdp)], tokenizer, "map+local")
    before, after = (
        prompts.texts[prompts.row[0, mdp.observation[state]]] for state in (0, maze.n_cells + 1)
    )
    assert "A door opens when all keys are taken." in before
    assert "k key" in before and "D door" in before and "g lesser prize" in before
    assert "no key held" in before and "key right" in before
    assert "the key held" in after and "ice right" in after and "lesser prize below" in after
    local = cell_prompts([(maze, mdp)], tokenizer, "local")
    assert len(local) == len(prompts)  # what is held is told, or two states would read alike
    assert any("no key held" in text for text in local.texts)


def test_a_plan_prompt_asks_for_the_route(tokenizer):
    [(maze, mdp)] = worlds(MAPS[0])
    prompt = route_prompt(maze, mdp, tokenizer, 0)
    assert prompt.text.endswith("From row 1, column 1 to the prize:")
    assert "moves separated by spaces" in prompt.text
    assert "F F F H" in prompt.text
    for word, tokens in zip(prompt.words, prompt.word_tokens, strict=True):
        assert tokenizer.encode(prompt.text + word, add_special_tokens=False) == [
            *prompt.tokens,
            *tokens,
        ]
    right_down = prompt.completion([2, 1], tokenizer.eos_token_id)
    assert tokenizer.decode(right_down) == " right down<|im_end|>"


def test_a_tokenizer_that_melts_words_is_refused_for_plans():
    class Melting:
        chat_template = None

        def encode(self, text, add_special_tokens):
            return [len(text)]

    [(maze, mdp)] = worlds(MAPS[0])
    with pytest.raises(UserError, match=r"routes cannot be asked for.*' left' melts"):
        route_prompt(maze, mdp, Melting(), 0)
