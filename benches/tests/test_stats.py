"""Medians, ratios and growth."""

import pytest

import stats
from results import row
from stats import Spread


def test_a_spread_is_the_middle_and_both_ends():
    assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)
    assert Spread.of([1.0]).text() == "1.00 (1.00–1.00)"
    with pytest.raises(ValueError, match="no rounds"):
        Spread.of([])


def test_a_ratio_is_taken_within_a_round():
    # The machine was twice as slow in the second round: that must not show.
    rows = [row("w", 0, "a", 900), row("w", 0, "b", 1000), row("w", 1, "a", 450), row("w", 1, "b", 500)]
    assert stats.ratio(rows, "a", "b") == Spread(0.9, 0.9, 0.9)
    assert stats.ratio(rows, "b", "b") == Spread(1, 1, 1)


def test_a_round_without_the_base_is_an_error():
    rows = [row("w", 0, "a", 900), row("w", 0, "b", 1000), row("w", 1, "a", 450)]
    with pytest.raises(ValueError, match="b was not measured in round 1"):
        stats.ratio(rows, "a", "b")


def test_labels_come_as_in_the_first_round():
    # Later rounds begin with another.
    rows = [row("w", 1, "b", 1), row("w", 1, "a", 1), row("w", 0, "a", 1), row("w", 0, "b", 1)]
    assert stats.labels(rows) == ["a", "b"]


@pytest.mark.parametrize("costs, word", [
    ({1: 20, 100: 22, 10_000: 19}, "flat"),
    # 1 + log2(n)
    ({1: 10, 16: 50, 256: 90}, "log"),
    ({1: 10, 16: 60, 256: 90}, "worse"),
    ({1: 20, 100: 25, 100_000: 2000}, "worse"),
    # Not only at the end.
    ({1: 20, 2: 100, 100_000: 20}, "worse"),
])
def test_growth(costs, word):
    factor, found = stats.growth(list(costs.items()))
    assert found == word
    assert factor == max(cost for size, cost in costs.items() if size > 1) / costs[1]


def test_one_size_shows_no_growth():
    with pytest.raises(ValueError):
        stats.growth([(1, 20)])
