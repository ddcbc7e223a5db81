"""One style for all figures: colours and markers that stay apart in grey, direct labels, intervals, four files each."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probesteer.files.whole import atomic
from probesteer.report.views import MOST_PANELS
from probesteer.study.options import EMBEDDINGS

# Okabe and Ito 2008, "Color universal design", without the yellow, which white swallows.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
MARKERS = "osD^vPX"
INK, SOFT, FAINT, PAPER = "#1f2328", "#6b7280", "#d9dde2", "#ffffff"
DARK = {INK: "#e6e8eb", SOFT: "#a3abb5", FAINT: "#3b424a", PAPER: "#14171a"}
MOST_TICKS = 7  # on the axis of the dose
MOST_LAYERS = 18  # that have their number on the axis of the depth
WIDTH = 7.2  # inches: a column of the page
FORMATS: dict[str, Mapping[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

matplotlib.rcParams.update(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": SOFT,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.linewidth": 0.7,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 9,
        "figure.dpi": 150,
        "figure.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "font.size": 8.5,
        "grid.color": FAINT,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.5,
        "lines.markersize": 4.5,
        "pdf.fonttype": 42,
        "savefig.bbox": "tight",
        "svg.fonttype": "none",
        "text.color": INK,
        "xtick.color": SOFT,
        "xtick.labelcolor": INK,
        "ytick.color": SOFT,
        "ytick.labelcolor": INK,
    }
)


class Drawn(NamedTuple):
    """A figure, and the numbers that it shows."""

    figure: Figure
    data: pd.DataFrame


def save(drawn: Drawn, stem: Path) -> None:
    """Write stem.png, .svg, .pdf and .csv; the same data give the same bytes."""
    with matplotlib.rc_context({"svg.hashsalt": stem.name}):  # ids of one figure are no other's
        for suffix, metadata in FORMATS.items():
            with atomic(stem.with_suffix(f".{suffix}")) as beside:
                drawn.figure.savefig(beside, format=suffix, metadata=metadata)
                if suffix == "svg":
                    beside.write_text(with_dark_mode(beside.read_text(encoding="utf-8")), encoding="utf-8")
    with atomic(stem.with_suffix(".csv")) as beside:
        drawn.data.to_csv(beside, index=False, float_format="%.6g")


def with_dark_mode(svg: str) -> str:
    """An SVG of matplotlib whose ink and paper change places where the reader's screen is dark."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}' for light, dark in DARK.items() for kind in ("fill", "stroke")
    )
    return svg.replace("</style>", f"@media (prefers-color-scheme: dark){{{rules}}}</style>", 1)


def look(number: int) -> dict[str, Any]:
    """Colour and marker of the `number`-th of several things: no two of the first 42 have both in common."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def panels(count: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` equal panels, two or three in a row; height of a panel in inches."""
    columns = min(2 if count in (2, 4) else 3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for number, axis in enumerate(axes):
        if number >= count:
            axis.remove()
        elif number % columns:
            axis.tick_params(axis="y", length=0)
    return figure, axes[:count]


def spread(values: Sequence[float], gap: float) -> np.ndarray:
    """The values moved apart, in their order, as little as keeps neighbours `gap` from each other: places of labels."""
    order = np.argsort(values, kind="stable")
    offsets = np.arange(len(values)) * gap
    wanted = np.asarray(values, dtype=float)[order] - offsets
    blocks: list[list[float]] = []  # pooled neighbours: isotonic regression
    for value in wanted:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    placed = np.empty(len(values))
    if blocks:
        placed[order] = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks]) + offsets
    return placed


def label_lines(axis: Axes, ends: Sequence[tuple[str, float, float, str]], size: float = 8) -> None:
    """Name each line (name, x, y, colour) at the right of the axis, as near to its end as the others allow."""
    low, high = axis.get_ylim()
    inches = axis.get_window_extent().height / axis.figure.dpi
    places = spread([y for _, _, y, _ in ends], 1.35 * size / 72 * (high - low) / inches)
    places += min(0.0, high - places.max(initial=high))
    for (name, x, y, colour), place in zip(ends, places, strict=True):
        axis.annotate(
            name,
            (x, y),
            xytext=(1.03, place),
            textcoords=axis.get_yaxis_transform(),
            color=colour,
            size=size,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 4},
        )


def forest(axis: Axes, places: Iterable[float], rows: pd.DataFrame, column: str, hollow: Any = None, **style: Any) -> None:
    """A dot with its interval per row at these places of the vertical axis; hollow ones where `hollow`, a mask, says so."""
    look_ = {"color": COLOURS[0], "marker": "o"} | style
    hidden = np.zeros(len(rows), dtype=bool) if hollow is None else np.asarray(hollow, dtype=bool)
    for place, empty, row in zip(places, hidden, rows.to_dict("records"), strict=True):
        if pd.notna(row[column]):
            lower, upper = row.get(f"{column}_lower"), row.get(f"{column}_upper")
            if pd.notna(lower) and pd.notna(upper):
                axis.hlines(place, lower, upper, color=look_["color"], linewidth=1.3)
            axis.plot(row[column], place, linestyle="none", markerfacecolor=PAPER if empty else look_["color"], **look_)


def name_rows(axis: Axes, names: Sequence[object]) -> None:
    """Name the rows of a forest, the first one on top."""
    axis.set_yticks(range(len(names)), [str(name).replace("_", " ") for name in names])
    axis.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)


def layer_ticks(axis: Axes, layers: Iterable[int]) -> None:
    """The axis of the depth: every block has a tick, some their number; the embeddings are `emb`."""
    every = sorted(layers)
    axis.set_xticks(every, minor=True)
    shown = every[:: -(-len(every) // MOST_LAYERS)]
    axis.set_xticks(shown, ["emb" if layer == EMBEDDINGS else str(layer) for layer in shown])


def dose_ticks(alphas: Iterable[float]) -> list[float]:
    """At most MOST_TICKS of a grid's own alphas: 0, the extremes, and what lies between them evenly by rank."""
    grid = np.unique(np.asarray(list(alphas)))
    sides = [grid[grid < 0][::-1], grid[grid > 0]]  # from the smallest push to the largest
    each = MOST_TICKS // 2 if all(map(len, sides)) else MOST_TICKS - 1
    picked = [side[np.linspace(len(side) - 1, 0, min(each, len(side))).round().astype(int)] for side in sides if len(side)]
    return sorted({0.0, *map(float, np.concatenate(picked))})


def first_models(table: pd.DataFrame) -> list[str]:
    """The models that a figure shows in full: the first MOST_PANELS by name."""
    return sorted(table["model"].unique())[:MOST_PANELS]


def below(figure: Figure, axis: Axes, columns: int = 4) -> None:
    """A legend of what cannot be named where it is drawn, under the panels."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=columns, fontsize=8)
