"""The `icemaze` program: straight into the app when there is nothing to parse, else `tui.cli`.

Kept apart from `tui.cli` because the first picture should not wait for what only commands need.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with its status."""
    if len(sys.argv) == 1 and sys.stdin.isatty() and sys.stdout.isatty():
        from tui.app import IceMazeApp

        IceMazeApp().run()
        return
    from tui.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
