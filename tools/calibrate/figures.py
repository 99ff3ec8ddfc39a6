"""Plots of a report as inline SVG; one style for all tools."""

from __future__ import annotations

import io
import re
from typing import Any

GOOD, BAD, DATA, FAINT = "#1a7f4b", "#c0392b", "#2b5c9e", "#9aa5b1"


def figure(width_in: float = 6.4, height_in: float = 3.6, **subplots: Any) -> tuple[Any, Any]:
    """A figure without a screen, and its axes; ModuleNotFoundError names the extra `plot`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(figsize=(width_in, height_in), **subplots)
    return drawn, axes


def svg(drawn: Any) -> str:
    """A figure as an SVG element, closed afterwards; reproducible to the byte."""
    import matplotlib
    from matplotlib import pyplot

    drawn.tight_layout()
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "companion", "svg.fonttype": "none"}):
        drawn.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(drawn)
    return re.sub(r"^.*?(?=<svg)", "", stream.getvalue(), flags=re.DOTALL)
