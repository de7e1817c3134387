"""The `icemaze` program: straight into the app when there is nothing to parse, else `tui.cli.main`.

Kept apart from it because the first picture should not wait for what only commands need.
"""

from __future__ import annotations

import sys

from tui.cli import streams


def main() -> None:
    """Run the command line; exits with its status."""
    streams.open_missing()
    if len(sys.argv) == 1 and sys.stdin.isatty() and sys.stdout.isatty():
        # start-up time
        from tui.app import IceMazeApp

        IceMazeApp().run()
        return
    # start-up time
    from tui.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
