"""Several networks at a time: results in order, errors where they belong, nothing asked for too early."""

import time

import pytest

from yoloseg.errors import DataError
from yoloseg.tracking.parallel import in_parallel


def test_in_parallel_keeps_order_and_bounds():
    """Two works, one slow: results in order, one item more than works under way, errors in place."""
    asked, begun = [], []

    def items():
        for number in range(12):
            asked.append(number)
            yield number

    def slow(number):
        begun.append(number)
        time.sleep(0.01)
        return "slow", number * number

    def quick(number):
        begun.append(number)
        return "quick", number * number

    seen = []
    for number, (who, square) in in_parallel([slow, quick], items()):
        assert square == number * number and len(asked) - number <= 3
        seen.append((number, who))
    assert [number for number, _ in seen] == list(range(12)) == sorted(begun)
    assert {who for _, who in seen} == {"slow", "quick"}

    def fails(number):
        if number == 2:
            raise DataError("two")
        return number

    for works in ([fails], [fails, fails], [fails, fails, fails]):
        done = []
        with pytest.raises(DataError, match="two"):
            for number, _ in in_parallel(works, range(9)):
                done.append(number)
        assert done == [0, 1]

    def broken():
        yield from range(5)
        raise DataError("the source")

    for count in (1, 2, 3, 9):
        done = []
        with pytest.raises(DataError, match="the source"):
            for number, _ in in_parallel([abs] * count, broken()):
                done.append(number)
        assert done == [0, 1, 2, 3, 4]


def test_a_single_work_does_not_wait_for_the_next_item():
    def items():
        yield 1
        raise AssertionError("the next item was asked for before the first was done")

    results = in_parallel([lambda number: -number], items())
    assert next(results) == (1, -1)
