"""The keys of the screen one plays on, in the order of the help screen and the key bar."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import Binding

MOVE = Binding.Group("Move", compact=True)


def _move(arrow: str, letter: str, sign: str) -> tuple[Binding, Binding]:
    """An arrow key, and the letter that stands for it in vi; they share a name in the help."""
    shown = Binding(
        arrow,
        f"move('{arrow}')",
        arrow.capitalize(),
        id=f"play.{arrow}",
        key_display=sign,
        tooltip=f"You move {arrow}; the ice may take you elsewhere",
        group=MOVE,
    )
    return shown, replace(shown, key=letter, id=f"play.{letter}", key_display=None, show=False)


KEYS: tuple[Binding, ...] = (
    *_move("left", "h", "←"),
    *_move("down", "j", "↓"),
    *_move("up", "k", "↑"),
    *_move("right", "l", "→"),
    Binding(
        "space",
        "policy_moves",
        "Policy moves",
        id="play.policy",
        tooltip="The policy makes one move, drawn from its probabilities",
    ),
    Binding("p", "watch", "Watch", id="play.watch", tooltip="Let the policy walk on, or stop it"),
    Binding("r", "restart", "Restart", id="play.restart", tooltip="Begin another episode"),
    Binding(
        "n", "next_maze", "Next maze", id="play.maze", tooltip="The next maze of the run's sets"
    ),
    Binding(
        "v",
        "arrows",
        "Arrows",
        id="play.arrows",
        tooltip="Show the policy of every cell as arrows, or the map alone",
    ),
    Binding(
        "g",
        "greedy",
        "Greedy",
        id="play.greedy",
        tooltip="The policy makes its likeliest moves, or draws them again",
        show=False,
    ),
    Binding("q", "leave", "Quit", id="play.leave", tooltip="Leave"),
    *(
        Binding(
            str(n),
            f"choose({n - 1})",
            f"Action {n}",
            id=f"play.action-{n}",
            tooltip=f"You take action number {n} of the list",
            show=False,
        )
        for n in range(1, 10)
    ),
)
