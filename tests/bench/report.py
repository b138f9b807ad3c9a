# SPDX-License-Identifier: ISC
"""Figures: collected round by round, printed as aligned tables of medians, kept whole for JSON."""
from statistics import median


class Table:
    """columns: {key: heading}. Rows appear in the order in which they got their first figure."""

    def __init__(self, name, title, columns):
        self.name = name
        self.title = title
        self.columns = columns
        self.rows = {}
        self.notes = []

    def add(self, row, **figures):
        """One round's figures of a row."""
        for key, figure in figures.items():
            assert key in self.columns, key
            self.rows.setdefault(row, {}).setdefault(key, []).append(figure)

    def note(self, text):
        self.notes.append(text)

    def as_json(self):
        rows = {row: {key: {"median": median(rounds), "rounds": rounds}
                      for key, rounds in figures.items()} for row, figures in self.rows.items()}
        return {"title": self.title, "columns": self.columns, "rows": rows, "notes": self.notes}

    def __str__(self):
        cells = [["", *self.columns.values()]]
        for row, figures in self.rows.items():
            cells.append([row, *(_cell(figures.get(key)) for key in self.columns)])
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        lines = [f"{self.name}: {self.title}"]
        for line in cells:
            first, *rest = (cell.rjust(width) for cell, width in zip(line, widths))
            lines.append("  ".join(["  " + first.strip().ljust(widths[0]), *rest]).rstrip())
        return "\n".join(lines + [f"  ({text})" for text in self.notes])


def _cell(rounds):
    if not rounds:
        return "-"
    figure = median(rounds)
    if isinstance(rounds[0], int) and figure == int(figure):
        return f"{int(figure):,}"
    if abs(figure) >= 1000:
        return f"{figure:,.0f}"
    if abs(figure) >= 100:
        return f"{figure:.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def percentile(ordered, share):
    """Of a sorted list, the smallest figure that at least this share of all does not exceed."""
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]
