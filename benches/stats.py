"""Medians, ratios in one round, and how far the rounds lay apart."""

import dataclasses
import math
import statistics


@dataclasses.dataclass(frozen=True)
class Spread:
    """The middle, the least and the greatest of some rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values):
        values = list(values)
        if not values:
            raise ValueError("no rounds to take the median of")
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits=2):
        return f"{self.median:.{digits}f} ({self.least:.{digits}f}–{self.greatest:.{digits}f})"


def labels(rows):
    """The entries of a workload, in the order of its first round."""
    return list(dict.fromkeys(row["label"] for row in sorted(rows, key=lambda row: row["round"])))


def of(rows, label, key):
    """A `Spread` of one entry's figures."""
    return Spread.of(row[key] for row in rows if row["label"] == label)


def ratio(rows, label, base, key="rps"):
    """A `Spread` of (this entry's figure / the base's in the same round).

    A slow minute of the machine hits both and so does not enter.
    """
    by_round = {row["round"]: row[key] for row in rows if row["label"] == base}
    own = [row for row in rows if row["label"] == label]
    missing = [row["round"] for row in own if row["round"] not in by_round]
    if missing:
        raise ValueError(f"{base} was not measured in round {missing[0]}")
    return Spread.of(row[key] / by_round[row["round"]] for row in own)


def growth(points):
    """How a cost grows with size: `points` are (size, cost), of two sizes at least.

    Returns (factor, word): the greatest cost over the cost at the least size, and `flat` within 15 %, `log` where no
    size costs more than a cost of c·log(n) would, else `worse`. Of a cost for each request; what is done once for
    each of n things may cost n·log(n), and is divided by n before it comes here.
    """
    points = sorted(points)
    if len(points) < 2:
        raise ValueError("one size shows no growth")
    (least, base), rest = points[0], points[1:]
    factor = max(cost / base for _, cost in rest)
    if factor <= 1.15:
        return factor, "flat"
    # As log2(2n), so that one thing costs something too; and the same 15 % for noise.
    within = all(cost / base <= 1.15 * math.log2(2 * size) / math.log2(2 * least) for size, cost in rest)
    return factor, "log" if within else "worse"
