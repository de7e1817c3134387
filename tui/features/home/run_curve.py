"""The curves of the run under the cursor, in the preview."""

from __future__ import annotations

from tui import kinds
from tui.library.shelf import RunDetail, first_figures
from tui.plot.chart import Chart
from tui.plot.chart_view import Series
from tui.ui import glyphs


class RunCurve(Chart):
    """The figures of a run's first view over its steps, without the levels they aim at."""

    def __init__(self) -> None:
        super().__init__(empty="No point recorded yet")

    def show_run(self, detail: RunDetail) -> None:
        """Draw what has been read of a run."""
        assert detail.preset is not None
        kind = kinds.of(detail.preset)
        self.ascii = glyphs.current().ascii
        self.x_label = kind.clock.axis
        shown = [f for f in first_figures(detail.preset) if f.metric in detail.curves]
        if kind.target_is_greedy and any(f.metric == "success_rate" for f in shown):
            shown = [f for f in shown if f.metric != "greedy_success_rate"]  # the same curve
        series = []
        for figure in shown:
            curve = detail.curves[figure.metric]
            series.append(Series(glyphs.plain(figure.label), curve.x, curve.mean))
        self.show(series, y_range=kind.views[0].y_range)
