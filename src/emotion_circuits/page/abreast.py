"""What several runs hold of one thing, in one row: the parts of a page that sets runs beside one another."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

__all__ = ["Abreast", "Cell", "Row", "Strip"]


@dataclass(frozen=True)
class Strip:
    """A figure on a line, drawn small: its interval beside the chance level and what the null gives.

    Attributes:
        name: what was asked.
        figure: the figure in words.
        estimate: the figure.
        interval: its ends.
        chance: the reference.
        null: ends of the null.
        verdict: of its claim.
        short: the estimate with its interval.
        span: what the line reaches from and to, so that several can be compared; by default as far as its own marks.
    """

    name: str
    figure: str
    estimate: float
    interval: tuple[float, float]
    chance: float | None
    null: tuple[float, float] | None
    verdict: str
    short: str
    span: tuple[float, float] | None = None

    def marks(self) -> tuple[float, ...]:
        """All values that it shows."""
        return (
            self.estimate, *self.interval, *(self.null or ()), *(() if self.chance is None else (self.chance,)),
        )  # fmt: skip

    def at(self, value: float) -> float:
        """Where a value stands, from 0 (left end) to 100.

        >>> Strip("a", "", 0.5, (0.25, 1.0), 0.0, None, "supported", "").at(0.5)
        50.0
        """
        low, high = self.span or (min(self.marks()), max(self.marks()))
        return 4 + 92 * (value - low) / (high - low) if high > low else 50.0


@dataclass(frozen=True)
class Cell:
    """What one run holds.

    Attributes:
        text: as it is read.
        small: what stands below it.
        verdict: of its claim, where it is one.
        strip: the figure drawn; those of one row reach equally far.
        words: sentences that are shown together with those of its row.
    """

    text: str
    small: str = ""
    verdict: str = ""
    strip: Strip | None = None
    words: str = ""


@dataclass(frozen=True)
class Row:
    """One thing.

    Attributes:
        name: of the thing.
        cells: one per run; ``None`` where a run has no such thing.
        small: what stands below its name.
        code: what programs call it.
        differs: in what the runs differ, as it is read; empty where they do not.
        words: names of runs and a sentence, shown on demand.
    """

    name: str
    cells: tuple[Cell | None, ...]
    small: str = ""
    code: str = ""
    differs: str = ""
    words: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Abreast:
    """A table with a column per run.

    Attributes:
        name: file-safe name.
        title: heading.
        caption: what the columns mean.
        of: heading of the first column.
        columns: names of the runs.
        rows: in order.
        absent: said where a run has no such thing.
        differs: heading of a last column that says in what they differ; without it there is none.
    """

    name: str
    title: str
    caption: str
    of: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    absent: str
    differs: str = ""

    def kinds(self) -> list[str]:
        """The ways in which rows differ, in order."""
        return list(dict.fromkeys(row.differs for row in self.rows if row.differs))

    def frame(self) -> pd.DataFrame:
        """The same as plain data: a row per thing, a column per run."""
        return pd.DataFrame(
            [
                [row.name, *(None if cell is None else cell.text for cell in row.cells), row.differs]
                for row in self.rows
            ],
            columns=[self.of, *self.columns, self.differs or "differs"],
        )
