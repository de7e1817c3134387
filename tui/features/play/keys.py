"""The keys of the screen one plays on, in the order of the help screen and the key bar."""

from __future__ import annotations

from textual.binding import Binding

from tui.ui.bindings import key

MOVE = Binding.Group("Move", compact=True)


WAYS = (("left", "h", "←"), ("down", "j", "↓"), ("up", "k", "↑"), ("right", "l", "→"))
"""The ways one moves: the arrow key, the letter that stands for it in vi, and its sign."""

KEYS: tuple[Binding, ...] = (
    *(
        key(f"play.{name}", name, f"move('{way}')", way.capitalize(),
            f"You move {way}; the ice may take you elsewhere", show=bool(sign), sign=sign,
            group=MOVE)
        for way, letter, arrow in WAYS
        for name, sign in ((way, arrow), (letter, None))
    ),
    key("play.policy", "space", "policy_moves", "Policy moves",
        "The policy makes one move, drawn from its probabilities"),
    key("play.watch", "p", "watch", "Watch", "Let the policy walk on, or stop it"),
    key("play.restart", "r", "restart", "Restart", "Begin another episode"),
    key("play.maze", "n", "next_maze", "Next maze", "The next maze of the run's sets"),
    key("play.arrows", "v", "arrows", "Arrows",
        "Show the policy of every cell as arrows, or the map alone"),
    key("play.greedy", "g", "greedy", "Greedy",
        "The policy makes its likeliest moves, or draws them again", show=False),
    key("play.leave", "q", "leave", "Quit", "Leave"),
    *(
        key(f"play.action-{n}", str(n), f"choose({n - 1})", f"Action {n}",
            f"You take action number {n} of the list", show=False)
        for n in range(1, 10)
    ),
)  # fmt: skip
