# SPDX-License-Identifier: ISC
"""The course of a run as an SVG: panels one above the other with the same time axis, and a mark for each restart.

Its text and lines follow the reader's colour scheme, light or dark."""
import math
from html import escape
from typing import NamedTuple

from endurance.names import MACHINE, RESTARTED, STEADY
from endurance.verdict import backlog
from endurance.windows import SECONDS

WIDTH, LEFT, RIGHT = 900, 70, 12
PANEL, BETWEEN, TOP, BOTTOM = 92, 34, 88, 44
INNER = WIDTH - LEFT - RIGHT
GAP = 30  # seconds without a sample that break a line

# Colours by scheme. Written out for each class, since not every program that shows an SVG knows variables.
LIGHT = {"bg": "#ffffff", "text": "#24292f", "grid": "#d0d7de", "a": "#0969da", "b": "#bc4c00", "relay": "#8250df",
         "database": "#1a7f37", "kafka": "#cf222e"}
DARK = {"bg": "#0d1117", "text": "#e6edf3", "grid": "#30363d", "a": "#58a6ff", "b": "#f0883e", "relay": "#bc8cff",
        "database": "#3fb950", "kafka": "#ff7b72"}
SHAPES = """svg { font: 11px sans-serif; } .title { font-weight: bold; font-size: 12px; }
.end { text-anchor: end; } .mid { text-anchor: middle; } path { fill: none; stroke-width: 1; }
.line { stroke-width: 1.2; stroke-linejoin: round; } .mark { opacity: .55; stroke-dasharray: 2 2; }
"""
# A letter above the mark of each kind, and whose colour it has.
MARKS = {
    "relay stopped": ("s", "relay"), "relay killed": ("k", "relay"),
    "PostgreSQL fast": ("f", "database"), "PostgreSQL immediate": ("i", "database"),
    "database sessions cut": ("c", "database"),
    "broker stopped": ("s", "kafka"), "broker killed": ("k", "kafka"), "Kafka connections cut": ("c", "kafka"),
}
LEGEND = {
    "relay": "relay: s SIGTERM, k SIGKILL, and start", "database": "PostgreSQL: f fast restart, i immediate restart, "
    "c sessions cut", "kafka": "one of three brokers: s stopped and started, k SIGKILL and start; c all connections cut"}


def colours(scheme):
    lines = [f".bg {{ fill: {scheme['bg']}; }} text {{ fill: {scheme['text']}; }}"]
    for name in ("grid", "a", "b", "relay", "database", "kafka"):
        lines.append(f".{name} {{ stroke: {scheme[name]}; }} .t{name} {{ fill: {scheme[name]}; }}")
    return "\n".join(lines) + "\n"


STYLE = SHAPES + colours(LIGHT) + "@media (prefers-color-scheme: dark) {\n" + colours(DARK) + "}\n"


def _number(value):
    return f"{value:.1f}".rstrip("0").rstrip(".")


def label(value):
    """A figure of an axis, short."""
    if value >= 1000:
        return f"{_number(value / 1000)}k"
    return _number(value)


def ticks(low, high, count=4):
    """Round figures from low to high or a little beyond."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9) / count))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def decades(low, high):
    """Powers of ten around low and high."""
    return [10.0 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


class Series(NamedTuple):
    """name: as in the legend. style: a or b. points: [(seconds, value)], in order. breaks: seconds at which the line
    begins anew."""
    name: str
    style: str
    points: list
    breaks: tuple = ()


def pieces(series):
    """The points, in the parts that a line connects."""
    found, before = [], None
    for at, value in series.points:
        if before is None or at - before > GAP or at in series.breaks:
            found.append([])
        found[-1].append((at, value))
        before = at
    return found


class Panel:
    def __init__(self, title, series, log=False, zero=True):
        self.title, self.series, self.log = title, [s for s in series if s.points], log
        values = [value for s in self.series for _, value in s.points]
        if log:
            values = [max(value, 1e-3) for value in values] or [1]
            self.ticks = decades(min(values), max(values) * 1.0001)
        else:
            values = values or [0]
            self.ticks = ticks(0 if zero else min(values), max(max(values), 1))
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def y(self, value):
        """From the panel's top."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return PANEL * (1 - share)


class Plot:
    """panels, marks: [(seconds, kind)], seconds: of the whole run. kinds, legend: as MARKS and LEGEND."""

    def __init__(self, title, panels, marks, seconds, kinds=MARKS, legend=LEGEND):
        self.title, self.panels, self.marks, self.seconds = title, panels, marks, seconds
        self.kinds, self.legend = kinds, legend
        self.height = TOP + len(panels) * (PANEL + BETWEEN) - BETWEEN + BOTTOM

    def x(self, at):
        return LEFT + INNER * at / self.seconds

    def __str__(self):
        parts = ["<!-- SPDX-License-Identifier: ISC -->",
                 f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
                 f'aria-label="{escape(self.title, True)}"><style>{STYLE}</style>',
                 f'<rect class="bg" width="{WIDTH}" height="{self.height}"/>',
                 f'<text class="title" x="{LEFT}" y="16">{escape(self.title)}</text>']
        parts += [f'<text class="t{who}" x="{LEFT}" y="{31 + 13 * number}">{escape(text)}</text>'
                  for number, (who, text) in enumerate(self.legend.items())]
        for number, panel in enumerate(self.panels):
            parts += self._panel(panel, TOP + number * (PANEL + BETWEEN))
        return "\n".join([*parts, *self._marks(), *self._axis(), "</svg>"]) + "\n"

    def _panel(self, panel, top):
        yield f'<text class="title" x="{LEFT}" y="{top - 6}">{escape(panel.title)}</text>'
        names = "".join(f'<tspan class="t{s.style}" dx="10">{escape(s.name)}</tspan>' for s in panel.series)
        yield f'<text class="end" x="{WIDTH - RIGHT}" y="{top - 6}">{names}</text>'
        for tick in panel.ticks:
            y = _number(top + panel.y(tick))
            yield f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>'
            yield f'<text class="end" x="{LEFT - 6}" y="{_number(top + panel.y(tick) + 4)}">{label(tick)}</text>'
        for series in panel.series:
            yield f'<path class="line {series.style}" d="{self._path(panel, series, top)}"/>'

    def _path(self, panel, series, top):
        return "".join("M" + "L".join(f"{_number(self.x(at))} {_number(top + panel.y(value))}" for at, value in piece)
                       for piece in pieces(series))

    def _marks(self):
        bottom = self.height - BOTTOM
        for at, kind in self.marks:
            letter, who = self.kinds[kind]
            x = _number(self.x(at))
            yield f'<path class="mark {who}" d="M{x} {TOP}V{bottom}"><title>{escape(kind)}</title></path>'
            yield f'<text class="mid t{who}" x="{x}" y="{bottom + 11}">{letter}</text>'

    def _axis(self):
        minutes = self.seconds / 60
        for minute in ticks(0, minutes, 12):
            if minute <= minutes:
                yield (f'<text class="mid" x="{_number(self.x(60 * minute))}" y="{self.height - BOTTOM + 26}">'
                       f"{label(minute)}</text>")
        yield f'<text class="end" x="{WIDTH - RIGHT}" y="{self.height - 4}">minutes</text>'


def _of_relay(kept, name, style, called, figure):
    mine = [s for s in kept.history.memory if s.process.split("#")[0] == name and s.at >= kept.begin]
    return Series(called, style, [(s.at - kept.begin, getattr(s, figure)) for s in mine],
                  {s.at - kept.begin for before, s in zip(mine, mine[1:]) if s.process != before.process})


def _relays(kept, figure):
    return [_of_relay(kept, RESTARTED, "b", "restarted", figure),
            _of_relay(kept, STEADY, "a", "never restarted", figure)]


def panels(kept):
    def latency(name):
        """In the middle of each window."""
        return [(max(0, at + SECONDS / 2 - kept.begin), figure[name]) for at, _, figure in kept.read if figure]
    waiting = [(max(0, at - kept.begin), events) for at, events in backlog(kept)]
    load = [(m.at - kept.begin, m.samples["load"]) for m in kept.history.metrics if m.process == MACHINE]
    return [
        Panel("latency, ms, from before the application's transaction to the consumer",
              [Series("p99", "b", latency("p99")), Series("p50", "a", latency("p50"))], log=True),
        Panel("backlog, events", [Series("", "a", waiting)]),
        Panel("resident memory, MiB", _relays(kept, "mib")),
        Panel("descriptors", _relays(kept, "descriptors")),
        Panel("threads", _relays(kept, "threads")),
        Panel("load average of the machine", [Series("", "a", load)]),
    ]


def draw(kept):
    """The SVG of what a run left."""
    drawn = panels(kept)
    seconds = max(at for panel in drawn for series in panel.series for at, _ in series.points)
    events = sum(counts.get("first", 0) for _, counts, _ in kept.read)
    return str(Plot(f"Two relays, {(kept.end - kept.begin) / 60:.0f} minutes, {events:,} events, "
                    f"{len(kept.restarts)} restarts around them", drawn,
                    [(fault.at - kept.begin, fault.name) for fault in kept.restarts], seconds))
