"""The groups of an update of a language model: who was compared with whom, and what came of it."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, pstdev
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import DataTable, Static

from engine.core.errors import UserError
from engine.env.maze import Maze
from engine.learning.events import Group, Member
from tui import kinds
from tui.features.groups.member_view import MemberView
from tui.features.groups.members import by_advantage, moves, one_line, outcome, way
from tui.glossary.glossary_dialog import look_up
from tui.maze.maze_view import MazeView
from tui.model.snapshot import Snapshot
from tui.model.source import GroupPage, LoadsGroups, ShownGroup
from tui.model.steps import place
from tui.ui import glyphs
from tui.ui.bindings import key, move
from tui.ui.fact import Term
from tui.ui.key_bar import KeyBar
from tui.ui.terms import unique
from tui.ui.text import clean, fit, fit_number, number, signed

LOOK_SECONDS = 1.0
"""How often the newest update is looked for while it is followed."""
PARTS_FROM = 110
"""From this many columns on the table has a column for each part of the reward."""
FAR = 10
"""Updates that < and > skip."""
EQUAL = 1e-9
"""A spread below is that of equal returns, summed up in another order."""


class Way(MazeView, can_focus=False):
    """The maze with the moves of the selected member."""


class MemberTable(DataTable[Text], inherit_bindings=False):
    """The members of a group, best advantage first."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "member-table--good",
        "member-table--bad",
        "member-table--muted",
    }
    DEFAULT_CSS = """
    MemberTable {
        scrollbar-size-vertical: 1;
        & > .member-table--good { color: $text-success; }
        & > .member-table--bad { color: $text-error; }
        & > .member-table--muted { color: $foreground 60%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        move("group.up", "up", "cursor_up", "Member up", "Select the member above"),
        move("group.down", "down", "cursor_down", "Member down", "Select the member below"),
        move("group.first", "home", "scroll_top", "First", "Select the first member"),
        move("group.last", "end", "scroll_bottom", "Last", "Select the last member"),
    ]

    def show(self, members: list[Member], maze: Maze | None, width: int) -> None:
        """List the members, of texts without a maze; the cursor stays in its row."""
        row = self.cursor_row
        self.clear(columns=True)
        names = list(dict.fromkeys(name for member in members for name in member.parts))
        shown_parts = names if width >= PARTS_FROM else []
        total = "reward" if names else "return"
        what = ("moves", "ended by", "route") if maze else ("ended by", "completion")
        titles = ["#", "advantage", total, *map(clean, shown_parts), *what]
        room = width - sum(len(title) + 2 for title in titles[:-1]) - 14
        for title in titles:
            self.add_column(Text(glyphs.plain(title)))
        for i, member in enumerate(members, start=1):
            self.add_row(*self._cells(i, member, maze, shown_parts, max(room, 8)))
        if members:
            self.move_cursor(row=min(row, len(members) - 1), animate=False)

    def _cells(
        self, rank: int, member: Member, maze: Maze | None, parts: list[str], room: int
    ) -> list[Text]:
        shapes = glyphs.current()
        tone = "good" if member.advantage > 0 else "bad" if member.advantage < 0 else "muted"
        end = outcome(member, maze, shapes)
        what = moves(member, maze, shapes) if maze else one_line(member.text)
        length = [Text(str(len(member.actions)), justify="right")] if maze else []
        return [
            self._text(str(rank), "muted"),
            self._text(signed(member.advantage), tone),
            Text(number(member.total), justify="right"),
            *(Text(fit_number(member.parts.get(name, 0.0), 7), justify="right") for name in parts),
            *length,
            self._text(f"{end.symbol} {end.words}", end.part),
            Text(fit(glyphs.plain(what), room, shapes.ellipsis).rstrip()),
        ]

    def _text(self, text: str, part: str) -> Text:
        style = self.get_component_rich_style(f"member-table--{part}", partial=True)
        return Text(glyphs.plain(text), style)


class GroupScreen(Screen[None]):
    """A table of the members above; below it the selected one, on the maze and in words."""

    CSS_PATH = "groups.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 (Textual's own type)
    AUTO_FOCUS = "MemberTable"

    BINDINGS: ClassVar[list[BindingType]] = [
        key("groups.back", "left", "update(-1)", "Update back",
            "The update recorded before this one", sign="←"),
        key("groups.on", "right", "update(1)", "on",
            "The update recorded after this one", sign="→"),
        key("groups.next", "tab", "group(1)", "Group",
            "The next group of this update, compared separately"),
        key("groups.previous", "shift+tab", "group(-1)", "Group back",
            "The group before", show=False),
        key("groups.prompt", "p,space", "prompt", "Prompt",
            "Unfold or fold the prompt that the model had read"),
        key("groups.follow", "f", "follow", "Newest",
            "To the newest update, and on with it as it trains"),
        key("groups.far-back", "less_than_sign,comma", f"update({-FAR})", "Far back",
            "Ten recorded updates back", show=False, sign="<"),
        key("groups.far-on", "greater_than_sign", f"update({FAR})", "Far on",
            "Ten recorded updates on", show=False),
        key("groups.text-up", "pageup", "scroll_text(-1)", "Text up",
            "Scroll the text of the member up", show=False),
        key("groups.text-down", "pagedown", "scroll_text(1)", "Text down",
            "Scroll the text of the member down", show=False),
        key("groups.optimal-path", "o", "optimal_path", "Optimal path",
            "Mark the most likely way of the optimal policy", show=False),
        key("groups.glossary", "g", "look_up", "Glossary",
            "Look up a term that is on screen, or search for any"),
        key("groups.leave", "escape,q,u", "dismiss", "Leave", "Back to the panels", sign="Esc"),
    ]  # fmt: skip

    def __init__(self, load: LoadsGroups, page: GroupPage, snapshot: Snapshot) -> None:
        """`load` reads other updates; `snapshot` is the run's, for what both have in common."""
        super().__init__()
        self._load = load
        self._snapshot = snapshot
        self.page = page
        self.index = 0
        """Which of the update's groups is shown."""
        self.following = page.update == page.newest and snapshot.following
        self.whole_prompt = False

    def compose(self) -> ComposeResult:
        yield Static(id="group-head", markup=False)
        yield MemberTable(id="group-table", cursor_type="row", zebra_stripes=False)
        with Horizontal(id="group-below"):
            yield Way(id="group-way")
            with VerticalScroll(id="group-detail", can_focus=False):
                yield MemberView()
        yield KeyBar()

    def on_mount(self) -> None:
        """Show the update it was opened with."""
        self.set_interval(LOOK_SECONDS, self._look)
        self._show()

    def on_resize(self) -> None:
        """The table's columns depend on the width."""
        self._show()

    # ------------------------------------------------------------ what is shown

    @property
    def shown(self) -> ShownGroup:
        """The group on screen."""
        return self.page.groups[min(self.index, len(self.page.groups) - 1)]

    @property
    def members(self) -> list[Member]:
        """Its recorded members, in the order of the table."""
        return by_advantage(self.shown)

    @property
    def member(self) -> Member | None:
        """The selected one."""
        members, row = self.members, self.query_one(MemberTable).cursor_row
        return members[row] if 0 <= row < len(members) else None

    @property
    def maze(self) -> Maze | None:
        """The maze of the group on screen; None for texts."""
        has_maze = kinds.of(self._snapshot.preset).has_maze
        return self.shown.world.maze if has_maze else None

    def _show(self) -> None:
        self.query_one("#group-way").display = self.maze is not None
        self.query_one(MemberTable).show(self.members, self.maze, self.size.width)
        self.query_one("#group-head", Static).update(self._head())
        self._show_member()

    def _head(self) -> Content:
        group, shapes = self.shown.group, glyphs.current()
        unit = kinds.of(self._snapshot.preset).clock.unit
        where = f"{unit} {group.step} of {self.page.newest}"
        which = f"group {group.index + 1} of {len(self.page.groups)} recorded"
        width = max(self.size.width - 2, 1)
        first = f"{where}   {which}   {_who(group, self.maze)}"
        return Content("\n").join(
            [
                Content.styled(fit(glyphs.plain(first), width, shapes.ellipsis), "bold"),
                Content.styled(
                    fit(glyphs.plain(_compared(group, self.maze)), width, shapes.ellipsis),
                    "$foreground 75%",
                ),
            ]
        )

    @on(DataTable.RowHighlighted)
    def _show_member(self) -> None:
        member, shown = self.member, self.shown
        self.query_one(MemberView).show(member, self.maze, shown.group.prompt, self.whole_prompt)
        self.query_one("#group-detail").scroll_home(animate=False)
        if self.maze is None:
            return
        steps = way(member, shown) if member else ()
        self.query_one(Way).show(
            replace(
                self._snapshot,
                world=shown.world,
                mdp=shown.mdp,
                optimum=shown.optimum,
                optimal_path=shown.optimal_path,
                policy=None,
                steps=steps,
            )
        )

    # ------------------------------------------------------------ other updates

    async def _go(self, update: int | None, by: int = 0) -> None:
        try:
            page = await self._load(update, by)
        except UserError as error:  # the run was resumed, or deleted
            self.notify(clean(str(error)), severity="warning", markup=False)
            return
        if page is None or not page.groups or (page == self.page and not by):
            return
        if page.update == self.page.update and by:
            self.notify("No update is recorded there.", markup=False)
        before = self.page.update
        self.page = page
        if page.update != before:
            self._show()
        else:
            self.query_one("#group-head", Static).update(self._head())

    def _look(self) -> None:
        if self.following:
            self.action_follow()

    @work(group="groups", exclusive=True)
    async def action_update(self, by: int) -> None:
        """Another recorded update."""
        self.following = False
        await self._go(self.page.update, by)

    @work(group="groups", exclusive=True)
    async def action_follow(self) -> None:
        """The newest update, and every newer one."""
        self.following = True
        await self._go(None)

    def action_group(self, by: int) -> None:
        """Another group of this update."""
        self.index = (self.page.groups.index(self.shown) + by) % len(self.page.groups)
        self._show()

    def action_prompt(self) -> None:
        """Unfold or fold the prompt."""
        self.whole_prompt = not self.whole_prompt
        self._show_member()

    def action_scroll_text(self, pages: int) -> None:
        """Scroll the text below the table."""
        text = self.query_one("#group-detail", VerticalScroll)
        text.scroll_page_down() if pages > 0 else text.scroll_page_up()

    def action_optimal_path(self) -> None:
        """Show or hide the optimal path."""
        picture = self.query_one(Way)
        picture.show_optimal_path = not picture.show_optimal_path

    # ------------------------------------------------------------ terms

    def terms(self) -> list[Term]:
        """The glossary terms on screen."""
        return unique(
            [
                Term("group", "group"),
                Term("update", "update"),
                *self.query_one(MemberView).terms(),
                *self.query_one(Way).terms(),
            ]
        )

    def action_look_up(self) -> None:
        """Choose a term and read about it."""
        look_up(self, self.terms())


def _who(group: Group, maze: Maze | None) -> str:
    """How many, from where, and how many of them are listed."""
    starts = {member.states[0] for member in group.members if member.states}
    start = f" from {place(maze, starts.pop())}" if maze and len(starts) == 1 else ""
    listed = len(group.members)
    some = f", {listed} listed from best to worst" if listed < group.size else ""
    written = maze is None or any(member.tokens for member in group.members)
    what = "completions" if written else "episodes"
    return f"{group.size} {what}{start}{some}"


def _compared(group: Group, maze: Maze | None) -> str:
    """What they earned, and what follows from it."""
    totals = [member.total for member in group.members if not math.isnan(member.total)]
    if not totals:
        return "Nothing is recorded of its members."
    mean, spread, whose = group.mean, group.spread, "Mean"
    if math.isnan(mean):  # recorded by an older version: only of those listed anything is known
        mean, spread = fmean(totals), pstdev(totals)
        whose = "Mean" if len(totals) == group.size else "Mean of those listed"
    if spread < EQUAL and whose == "Mean":
        return f"All earned {number(mean)}: nobody was better, so this group teaches nothing."
    what = "Moves of members" if maze else "Completions"
    return (
        f"{whose} {number(mean)}, spread {number(spread)}. {what} with a positive advantage are "
        "made likelier, the others less likely."
    )
