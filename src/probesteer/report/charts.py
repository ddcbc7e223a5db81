"""The two small charts of the first screen, as shapes that the page's template draws."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from probesteer.study.cells import PROBE_ARM
from probesteer.study.options import EMBEDDINGS

WIDTH, HEIGHT = 320.0, 168.0  # of a chart, in units of its own
LEFT, RIGHT, TOP, BOTTOM = 26.0, 84.0, 12.0, 20.0
MOST_LINES = 6  # that have a colour and a name; the others are grey
MOST_SMALL = 4  # panels of the second chart
TOLD = "rate of coherent texts that show it, with its interval; crosses: control directions pushed as far"
GAP = 11.0  # between names


class Label(NamedTuple):
    """A text at a place."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    tone: str = "soft"


@dataclass(frozen=True)
class Line:
    """A line through points with its band; `tone` is a class of the page's style, c0 to c5 or faint."""

    tone: str
    points: str
    band: str = ""
    marks: list[tuple[float, float, bool]] = field(default_factory=list)
    """x, y, and whether it is the chosen one."""


@dataclass(frozen=True)
class Chart:
    """What is drawn, and what is said of it to who does not see it."""

    title: str
    told: str
    """How to read it."""
    described: str
    height: float = HEIGHT
    lines: list[Line] = field(default_factory=list)
    guides: list[tuple[float, float, float]] = field(default_factory=list)
    """x from, x to, y."""
    crosses: list[tuple[float, float]] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)


class Frame(NamedTuple):
    """Where a panel lies, and the values at its edges."""

    left: float
    right: float
    top: float
    bottom: float
    low: tuple[float, float]
    high: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a point, rounded to a tenth."""
        across = (x - self.low[0]) / ((self.high[0] - self.low[0]) or 1)
        up = (y - self.low[1]) / ((self.high[1] - self.low[1]) or 1)
        return round(self.left + across * (self.right - self.left), 1), round(self.bottom - up * (self.bottom - self.top), 1)

    def points(self, xs: pd.Series, ys: pd.Series) -> str:
        return " ".join(f"{x},{y}" for x, y in (self.at(*pair) for pair in zip(xs, ys, strict=True)))

    def band(self, xs: pd.Series, lower: pd.Series, upper: pd.Series) -> str:
        """The outline between two curves, where both are known; empty where nowhere."""
        known = lower.notna() & upper.notna()
        there, back = self.points(xs[known], lower[known]), self.points(xs[known][::-1], upper[known][::-1])
        return f"{there} {back}" if known.any() else ""


def depth_chart(detection: pd.DataFrame, council: pd.DataFrame, bar: float) -> Chart:
    """Held-out AUROC by share of the depth, a line per model; the selected block is filled."""
    low = min(0.4, float(detection["auroc"].min()) - 0.02)
    frame = Frame(LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, (0.0, low), (1.0, 1.0))
    selected = council.set_index("model")["layer"]
    chart = Chart("AUROC by depth", "filled: the selected block; bands: 95 % intervals", _depth_words(council))
    ends: dict[str, tuple[float, str]] = {}
    for number, (model, rows) in enumerate(detection.sort_values("layer").groupby("model")):
        named = number < MOST_LINES
        depth = (rows["layer"] - EMBEDDINGS) / max(rows["layer"].max() - EMBEDDINGS, 1)
        marks = [
            (*frame.at(x, y), layer == selected[model]) for x, y, layer in zip(depth, rows["auroc"], rows["layer"], strict=True)
        ]
        band = frame.band(depth, rows["auroc_lower"], rows["auroc_upper"]) if named and len(selected) <= MOST_SMALL else ""
        kept = [mark for mark in marks if mark[2] or len(marks) <= 12] if named else []
        tone = f"c{number}" if named else "faint"
        chart.lines.append(Line(tone, frame.points(depth, rows["auroc"]), band, kept))
        if named:
            ends[str(model)] = (marks[-1][1], tone)
    chart.lines.sort(key=lambda line: line.tone != "faint")  # under the others
    for value in (bar, 0.5):
        chart.guides.append((frame.left, frame.right, frame.at(0, value)[1]))
    chart.labels.append(Label(frame.left + 2, frame.at(0, bar)[1] - 3, f"bar {bar:g}"))
    chart.labels.append(Label(frame.right - 2, frame.at(0, 0.5)[1] + 9, "chance", "end"))
    chart.labels.extend(_axis(frame, ("emb", "last block"), "depth"))
    chart.labels.extend(_beside(ends, frame.right + 6))
    return chart


def _depth_words(council: pd.DataFrame) -> str:
    said = [f"{row.model} {row.auroc:.2f} at block {row.layer}" for row in council.head(MOST_LINES).itertuples()]
    return f"Held-out AUROC by depth. Selected: {', '.join(said)}."


def dose_chart(arms: pd.DataFrame, blocks: Mapping[str, int]) -> Chart | None:
    """The rate against the dose, a small panel per model at a block: the probe with its interval, control arms as crosses."""
    shown = list(blocks.items())[:MOST_SMALL]
    if not shown or arms.empty:
        return None
    rows = (len(shown) + 1) // 2
    height = HEIGHT * (1 if rows == 1 else 1.45)
    columns = min(2, len(shown))
    described = f"Rate of coherent texts with the behaviour against the dose: {', '.join(model for model, _ in shown)}."
    chart = Chart("Dose and response", TOLD, described, height)
    width, tall = (WIDTH - LEFT) / columns, height / rows
    for number, (model, layer) in enumerate(shown):
        left, top = LEFT + number % columns * width, number // columns * tall
        own = arms[(arms["model"] == model) & (arms["layer"] == layer)]
        probe = own[own["arm"] == PROBE_ARM].sort_values("alpha")
        places = {alpha: float(place) for place, alpha in enumerate(probe["alpha"])}  # doses evenly, as they were tried
        frame = Frame(
            left + 4, left + width - 10, top + 20, top + tall - BOTTOM, (0.0, 0.0), (float(max(len(places) - 1, 1)), 1.0)
        )
        _probe_and_controls(chart, frame, own, probe, places)
        chart.labels.append(Label(frame.left, top + 13, f"{model}, block {layer}", tone="ink"))
        first, last = f"{probe['alpha'].iloc[0]:g}", f"{probe['alpha'].iloc[-1]:g}"
        chart.labels.extend(_axis(frame, (first, last), "alpha" if number == 0 else "", ticks=number % columns == 0))
    return chart


def _probe_and_controls(
    chart: Chart, frame: Frame, own: pd.DataFrame, probe: pd.DataFrame, places: Mapping[float, float]
) -> None:
    x = probe["alpha"].map(places)
    marks = [(*frame.at(place, rate), True) for place, rate in zip(x, probe["rate"], strict=True)]
    band = frame.band(x, probe["rate_lower"], probe["rate_upper"])
    chart.lines.append(Line("c0", frame.points(x, probe["rate"]), band, marks))
    others = own[(own["arm"] != PROBE_ARM) & own["alpha"].isin(list(places))]
    chart.crosses.extend(frame.at(places[row.alpha], row.rate) for row in others.itertuples())
    chart.guides.append((frame.left, frame.right, frame.bottom))


def _axis(frame: Frame, ends: tuple[str, str], name: str, ticks: bool = True) -> list[Label]:
    """What stands at the edges of a panel."""
    y = frame.bottom + 13
    labels = [Label(frame.left, y, ends[0]), Label(frame.right, y, ends[1], "end")]
    labels += [Label((frame.left + frame.right) / 2, y, name, "middle")] if name else []
    if ticks:
        edges = {frame.low[1], frame.high[1]}
        labels += [Label(frame.left - 6, frame.at(0, value)[1] + 3, f"{value:.2g}", "end") for value in edges]
    return labels


def _beside(ends: Mapping[str, tuple[float, str]], x: float) -> list[Label]:
    """The names of lines at their ends, moved down where one would stand on another."""
    labels: list[Label] = []
    for name, (y, tone) in sorted(ends.items(), key=lambda item: item[1]):
        place = max(y + 3, labels[-1].y + GAP) if labels else y + 3
        short = name if len(name) <= 13 else f"{name[:12]}\N{HORIZONTAL ELLIPSIS}"
        labels.append(Label(x, place, short, tone=tone))
    return labels
