"""The lesson beside the runs it speaks of: a page, the question or the figure it waits for.

Answers and pages have different keys, so no key alone leads to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import get_current_worker

from engine.core.errors import UserError
from engine.experiments.lab import places
from engine.experiments.lab.lesson import Ask, Lesson
from engine.experiments.lab.lesson import Point as PointAt
from engine.experiments.lab.lesson_state import TRIES, LessonState, Place
from engine.experiments.lab.proposals import Proposal, proposals
from tui.glossary.term_picker import TermPicker
from tui.lesson.lesson_parts import LessonText, NumberField, ProposalPicker
from tui.lesson.lesson_words import LETTERS, hint, page_markdown, read_number, spelled, waiting_for
from tui.ui.bindings import key
from tui.ui.fact import Term
from tui.ui.text import clean

BEGINS_NUMBER = "0123456789.-"


class Choice(Static):
    """One answer to choose by a click; the keys are the panel's."""

    def __init__(self, number: int, text: str, wrong: bool) -> None:
        key = (f" {LETTERS[number - 1]}  ", "bold $text-accent")
        mark = ("  (no)", "$text-error") if wrong else ""
        super().__init__(Content.assemble(key, spelled(text), mark), disabled=wrong)
        self._number = number

    def on_click(self, event: events.Click) -> None:
        """As if its key had been pressed."""
        event.stop()
        self.query_ancestor(LessonPanel).action_choose(self._number)


class LessonPanel(Widget, can_focus=True):
    """Walks through a lesson. The host calls `take` each tick with the runs' last figures."""

    DEFAULT_CSS = """
    LessonPanel {
        height: 1fr;
        width: 1fr;
        layout: vertical;
        background: $surface;

        #lesson-page { height: 1fr; scrollbar-size-vertical: 1; }
        LessonText { padding: 0 1; background: transparent; }
        LessonText MarkdownH2 { margin: 0 0 1 0; color: $text-primary; text-style: bold; }
        LessonText MarkdownBlockQuote { margin: 0 0 1 0; padding: 0 0 0 1; }
        #lesson-question {
            height: auto;
            max-height: 60%;
            padding: 0 1;
            border-top: $rule $foreground 25%;
            overflow-y: auto;
            scrollbar-size-vertical: 1;
        }
        #lesson-asked { text-style: bold; }
        #lesson-said { color: $text-warning; }
        #lesson-choices { height: auto; }
        #lesson-choices Choice:hover { background: $boost; }
        #lesson-number { height: 1; background: $panel; }
        #lesson-number:focus { background: $primary 30%; }
        #lesson-wait { padding: 0 1; border-top: $rule $foreground 25%; color: $text-accent; }
        #lesson-foot { height: auto; padding: 0 1; background: $boost; }
        &:focus-within #lesson-foot { background: $primary 30%; }
        &:focus #lesson-foot { background: $primary 30%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key("lesson.next", "n", "next_page", "Next page",
            "Turn the page, once its questions are answered and its figures are there"),
        key("lesson.back", "N", "previous_page", "Page before", "Read the page before again"),
        key("lesson.point", "o", "look_up", "Explain",
            "Open the glossary at the word this page points at"),
        key("lesson.start", "s", "start", "Start it",
            "Start a run that this page proposes, with its settings"),
        key("lesson.anew", "R", "begin_anew", "Start over",
            "Read the lesson from its first page, with nothing answered", show=False),
        key("lesson.down", "down,pagedown", "scroll_page(1)", "Read on",
            "Scroll the page down", show=False),
        key("lesson.up", "up,pageup", "scroll_page(-1)", "Read up",
            "Scroll the page up", show=False),
        key("lesson.leave-number", "escape", "leave_number", "Leave the field",
            "Go from the field for a number back to the page", show=False),
        *(
            key(f"lesson.answer-{letter}", f"{letter},{number}", f"choose({number})",
                f"Answer {letter}", f"Answer {letter} to the question", show=False)
            for number, letter in enumerate(LETTERS, start=1)
        ),
    ]  # fmt: skip

    class Point(Message):
        """The reader asks what a word means that the page points at: a glossary slug."""

        def __init__(self, term: str) -> None:
            super().__init__()
            self.term = term

    class Highlight(Message):
        """The terms that the page in sight points at, by slug: their labels may be lit up."""

        def __init__(self, terms: tuple[str, ...]) -> None:
            super().__init__()
            self.terms = terms

    class Finished(Message):
        """The last page was left forward."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name
            """The lesson's: that of its challenge."""

    class Proposed(Message):
        """The reader wants to see a run that the page proposes."""

        def __init__(self, proposal: Proposal) -> None:
            super().__init__()
            self.proposal = proposal

    def __init__(self, lesson: Lesson, *, id: str | None = None, classes: str | None = None):
        super().__init__(id=id, classes=classes)
        self.state = LessonState(lesson)
        places.restore(self.state)
        self._kept = self.state.place()
        self._shown_page = -1
        self._markdown = ""
        self._asked: tuple[Ask | None, int] = (None, 0)
        self._lit: tuple[str, ...] = ()
        self._said = ""

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="lesson-page", can_focus=False):
            yield LessonText()
        with Vertical(id="lesson-question"):
            yield Static(id="lesson-asked")
            yield Vertical(id="lesson-choices")
            yield NumberField(
                "", "a number", id="lesson-number", compact=True, select_on_focus=False
            )
            yield Static(id="lesson-said")
        yield Static(id="lesson-wait")
        yield Static(id="lesson-foot")

    def on_mount(self) -> None:
        """Begin at the first page, and let the exact solver work out what will be asked."""
        if self.state.exact_wanted:
            self._solve()
        self._draw()

    # ------------------------------------------------------------ figures

    def take(self, figures: Mapping[str, Mapping[str, float]], finished: Set[str]) -> None:
        """Take the last figures of the runs by preset name, and the presets whose run has ended."""
        changed = self.state.watch(figures, finished)
        if not self.is_mounted:
            return
        if changed:
            self._draw()
        else:
            self._draw_wait()

    @work(thread=True, group="exact", exit_on_error=False)
    def _solve(self) -> None:
        # start-up time
        from engine.experiments.lab.exact_figures import exact_figures

        worker = get_current_worker()
        try:
            found = exact_figures(self.state.exact_wanted)
        except UserError as error:
            self.app.call_from_thread(
                self.app.notify, clean(str(error)), severity="error", markup=False
            )
            return
        if not worker.is_cancelled:
            self.app.call_from_thread(self._solved, found)

    def _solved(self, found: Mapping[tuple[str, str], float]) -> None:
        self.state.know(found)
        if self.is_attached:
            self._draw()

    # ------------------------------------------------------------ drawing

    def _draw(self) -> None:
        """Show the page as far as it goes now."""
        text = page_markdown(self.state)
        if text != self._markdown:
            self._markdown = text
            self._show_text(text, turned=self._shown_page != self.state.page_number)
            self._shown_page = self.state.page_number
        self._draw_question()
        self._draw_wait()
        self._draw_foot()
        lit = tuple(point.point for point in self._points)
        if lit != self._lit:
            self._lit = lit
            self.post_message(self.Highlight(lit))
        self.refresh_bindings()
        self._keep_place()

    def _keep_place(self) -> None:
        """Whoever leaves finds the same page again, with the same answers."""
        now = self.state.place()
        if now == self._kept:
            return
        self._kept = now
        try:
            places.keep(self.state)
        except UserError as error:
            self.notify(clean(str(error)), severity="warning", markup=False)

    @work(group="text", exclusive=True)
    async def _show_text(self, text: str, turned: bool) -> None:
        """A page that was turned is read from its top; what appears below a page is gone to."""
        await self.query_one(LessonText).update(text)
        page = self.query_one("#lesson-page", VerticalScroll)
        if turned:
            page.scroll_home(animate=False)
        else:
            page.scroll_end(animate=False)

    def _draw_question(self) -> None:
        """The open question; a new one only when it is another, or an answer was wrong."""
        ask = self.state.question
        box = self.query_one("#lesson-question")
        box.display = ask is not None
        asked = (ask, len(self.state.wrong))
        if ask is None or asked == self._asked:
            self._asked = asked
            return
        self._asked = asked
        self.query_one("#lesson-asked", Static).update(Content(spelled(ask.ask)))
        self.query_one("#lesson-said", Static).update(Content(spelled(self._said)))
        self.query_one("#lesson-said").display = bool(self._said)
        self._show_choices(ask)
        field = self.query_one("#lesson-number", Input)
        field.display = ask.numeric
        field.value = ""
        if ask.numeric and self.has_focus:
            field.focus()
        box.scroll_home(animate=False)

    @work(group="choices", exclusive=True)
    async def _show_choices(self, ask: Ask) -> None:
        wrong = self.state.wrong
        choices = self.query_one("#lesson-choices")
        await choices.remove_children()
        numbered = enumerate(ask.choices, start=1)
        await choices.mount_all(Choice(i, text, i in wrong) for i, text in numbered)

    def _draw_wait(self) -> None:
        wait = self.state.wait
        line = self.query_one("#lesson-wait", Static)
        line.display = wait is not None
        if wait is not None:
            line.update(Content(spelled(waiting_for(self.state, wait))))

    def _draw_foot(self) -> None:
        place = f"Page {self.state.page_number + 1} of {len(self.state.lesson.pages)}. "
        foot = Content.assemble((place, "bold"), spelled(hint(self.state)))
        self.query_one("#lesson-foot", Static).update(foot)

    # ------------------------------------------------------------ what the page points at

    @property
    def _points(self) -> list[PointAt]:
        return [shown.part for shown in self.state.visible if isinstance(shown.part, PointAt)]

    def terms(self) -> list[Term]:
        """The glossary terms that the page in sight points at."""
        return [Term(point.point, point.point) for point in self._points]

    def action_look_up(self) -> None:
        """Ask for the word the page points at; among several, the reader chooses."""
        terms = self.terms()
        if len(terms) == 1:
            self._ask_for(terms[0].slug)
        elif terms:
            self.app.push_screen(TermPicker(terms), self._ask_for)

    def _ask_for(self, slug: str | None) -> None:
        if slug is not None:
            self.post_message(self.Point(slug))

    # ------------------------------------------------------------ keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what the page has a use for."""
        question = self.state.question
        match action:
            case "choose":
                number = parameters[0]
                assert isinstance(number, int)
                return question is not None and number <= len(question.choices)
            case "look_up":
                return bool(self._points)
            case "next_page":
                return not self.state.finished
            case "previous_page":
                return self.state.page_number > 0
            case "start":
                return bool(self._proposals)
            case "begin_anew":
                return self.state.place() != Place()
            case "leave_number":
                return self.query_one("#lesson-number").has_focus
        return True

    def action_next_page(self) -> None:
        """Turn the page, or say why not."""
        self._said = ""
        if not self.state.go_on():
            self.notify(self.state.obstacle, severity="warning", timeout=3)
            return
        self._draw()
        if self.state.finished:
            self.post_message(self.Finished(self.state.lesson.name))

    def action_previous_page(self) -> None:
        """Back to the page before."""
        self._said = ""
        if self.state.go_back():
            self._draw()

    @property
    def _proposals(self) -> list[Proposal]:
        return proposals(self.state.page)

    def action_start(self) -> None:
        """Start a run that the page proposes; among several, the reader chooses."""
        offered = self._proposals
        if len(offered) == 1:
            self.post_message(self.Proposed(offered[0]))
        elif offered:
            self.app.push_screen(ProposalPicker(offered), self._start)

    def _start(self, proposal: Proposal | None) -> None:
        if proposal is not None:
            self.post_message(self.Proposed(proposal))

    def action_begin_anew(self) -> None:
        """The lesson from its beginning."""
        self.state.begin_anew()
        self._said, self._asked = "", (None, 0)
        self._draw()

    def action_scroll_page(self, pages: int) -> None:
        """Read on, or back."""
        page = self.query_one("#lesson-page", VerticalScroll)
        page.scroll_relative(y=pages * max(page.size.height - 2, 1), animate=False)

    def on_key(self, event: events.Key) -> None:
        """A digit begins the number that is asked for, though the field has not the focus."""
        ask, typed = self.state.question, event.character
        if self.has_focus and ask is not None and ask.numeric and typed and typed in BEGINS_NUMBER:
            event.stop()
            event.prevent_default()
            field = self.query_one("#lesson-number", Input)
            field.value += typed  # the next digit may be here before the focus is there
            field.cursor_position = len(field.value)
            field.focus()

    def action_leave_number(self) -> None:
        """From the field back to the page."""
        self.focus()

    def action_choose(self, number: int) -> None:
        """Answer by a choice."""
        answer = self.state.choose(number)
        if answer is not None:
            self._said = "" if answer.right is not False else "Not that one. Choose another."
            self._draw()

    @on(Input.Submitted, "#lesson-number")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        number = read_number(event.value)
        if number is None:
            self._said = "Expected a number, such as 0.7 or 70%."
        elif (answer := self.state.enter(number)) is None:
            self._said = "The figure is not there yet. Try again in a moment."
        elif answer.right is False and self.state.question is not None:
            left = TRIES - len(self.state.wrong)
            self._said = f"Not near enough. {left} more {'try' if left == 1 else 'tries'}."
        else:
            self._said = ""
            self.focus()
        self._asked = (None, 0)
        self._draw()
