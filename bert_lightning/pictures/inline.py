"""A picture as SVG within a page: text stays text, and follows light and dark."""

import io
import re

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure


def inline(figure: Figure, inches: tuple[float, float], label: str) -> Markup:
    """Returns a figure as an SVG element that is drawn in the colors of the page around it."""
    figure.set_size_inches(*inches)
    text = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # the same in every figure; nothing refers to them
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = svg.replace("#000000", "currentColor").replace("#ffffff", "var(--page)")
    width, height = (72 * size for size in inches)
    box = (
        rf'<svg role="img" aria-label="{Markup.escape(label)}" viewBox="0 0 {width:g} {height:g}">'
    )
    return Markup(re.sub(r"<svg[^>]*>", lambda _: box, svg, count=1))
