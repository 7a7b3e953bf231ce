"""Work in a thread beside the main one: the same results, in order, errors in their place, and no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.processes import LIMIT
from torchDVC.util.beside import Beside, merged, read_ahead


def numbers(count: int, seen: list[int], error: Exception | None = None) -> Iterator[int]:
    for number in range(count):
        seen.append(number)
        yield number
    if error:
        raise error


def test_items_come_as_they_are_and_some_are_made_ahead() -> None:
    seen: list[int] = []
    items = read_ahead(numbers(20, seen), depth=3)
    assert next(items) == 0
    limit = time.monotonic() + LIMIT
    while len(seen) < 5 and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(seen) == 5  # the one taken, three that wait, and one that finds no room
    assert list(items) == list(range(1, 20))


def test_an_error_comes_after_the_items_before_it() -> None:
    items = read_ahead(numbers(3, [], OSError("cut short")))
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="cut short"):
        next(items)


def test_ending_early_ends_the_thread() -> None:
    before, seen = set(threading.enumerate()), list[int]()
    items = read_ahead(numbers(10**9, seen))
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before and len(seen) < 10


def test_several_are_gone_through_at_once_each_in_order() -> None:
    both = threading.Barrier(2)

    def items(first: int) -> Iterator[int]:
        both.wait(LIMIT)  # which one after the other would never pass
        yield from range(first, first + 50)

    found = list(merged((items(100 * number) for number in range(4)), 2))
    assert sorted(found) == [100 * number + i for number in range(4) for i in range(50)]
    for number in range(4):
        own = [item for item in found if item // 100 == number]
        assert own == sorted(own)


def test_an_error_of_one_of_several_ends_all() -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="cut short"):
        list(merged([numbers(10**9, []), numbers(3, [], OSError("cut short"))], 2))
    assert threading.active_count() == before


def test_calls_are_made_in_order_beside_and_at_most_a_few_behind() -> None:
    gate, made = threading.Event(), list[int]()

    def call(number: int) -> int:
        assert gate.wait(LIMIT)
        made.append(number)
        return number

    with Beside[int](most=2) as beside:
        assert beside.call(call, 0) == beside.call(call, 1) == []
        threading.Timer(0.05, gate.set).start()
        found = beside.call(call, 2)  # waits for the first
        assert found[0] == 0
        assert [*found, *beside.rest()] == made == [0, 1, 2]


def test_an_error_of_a_call_is_raised_with_its_result() -> None:
    with Beside[float]() as beside, pytest.raises(ZeroDivisionError):
        for divisor in (1, 0):
            beside.call(lambda x: 1 / x, divisor)
        beside.rest()
