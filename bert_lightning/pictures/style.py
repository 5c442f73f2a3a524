"""The one style of all pictures: fonts, sizes, and colors that the color-blind tell apart."""

import io
from pathlib import Path

from cycler import cycler
from matplotlib import rc_context
from matplotlib.figure import Figure

from bert_lightning.errors import UserError
from bert_lightning.files import atomic

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of Okabe and Ito (https://jfly.uni-koeln.de/color), for lines, areas and classes, in order."""
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
"""Beside the colors, so that classes differ without them too."""
GRAY = "#777777"
"""Of baselines, and of what belongs to no class."""
FORMATS = (".png", ".svg", ".pdf")
_DPI = 110

styled = rc_context(
    {
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10,
        "figure.titlesize": 12,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "axes.prop_cycle": cycler(color=COLORS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "lines.linewidth": 1.5,
        "lines.markersize": 4,
    }
)
"""Decorates the functions that draw, whose artists take the style when they are made."""


class Picture(Figure):
    """A matplotlib figure that a notebook shows, whatever its backend."""

    file: Path
    """The file that :meth:`save` writes unless told otherwise."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.file = Path("picture.png")

    def save(self, file: str | Path | None = None) -> Path:
        """Writes the picture in the format of the file's name: .png, .svg or .pdf.

        Raises:
            UserError: the name ends otherwise, or the file cannot be written.
        """
        path = self.file if file is None else Path(file)
        if path.suffix.lower() not in FORMATS:
            raise UserError(f"{path} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
        try:
            with atomic(path) as temporary:
                self.savefig(temporary, format=path.suffix[1:].lower(), dpi=_DPI)
        except OSError as error:
            raise UserError(
                f"{path.absolute()} cannot be written: {error.strerror or error}; give the name "
                "of a file in a folder that exists and may be written to"
            ) from error
        return path

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=100)
        return image.getvalue()

    def svg(self) -> bytes:
        """Returns the picture as SVG, whose text the reader's fonts draw."""
        image = io.BytesIO()
        with rc_context({"svg.fonttype": "none"}):
            self.savefig(image, format="svg")
        return image.getvalue()
