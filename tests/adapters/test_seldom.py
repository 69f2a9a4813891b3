"""A flood of what strangers cause is a few lines in a log, and their number."""

import logging

import pytest

from adapters.seldom import MOST_LINES, SECONDS, Seldom
from adapters.views.strangers import Strangers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_of_a_flood_a_few_are_said_and_the_rest_with_the_next() -> None:
    """Nothing is lost: what was not said is counted."""
    clock = Clock()
    seldom = Seldom(clock)

    first = [seldom.count("a", 3) for _ in range(MOST_LINES + 90)]
    clock.now += SECONDS
    then = [seldom.count("a", 3), seldom.count("a", 2)]

    assert first == [3] * MOST_LINES + [0] * 90
    assert then == [3 * 91, 2]


def test_each_thing_has_lines_of_its_own() -> None:
    seldom = Seldom(Clock())
    for _ in range(MOST_LINES + 1):
        seldom.count("a")

    assert (seldom.count("a"), seldom.count("b")) == (0, 1)


def test_a_flood_of_strangers_on_an_events_topic_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """One line a record at 100 a second were 8 million a day."""
    strangers = Strangers("views")

    with caplog.at_level(logging.WARNING):
        for offset in range(1_000):
            strangers.meet("tally.events/0", {offset: "no record of this shard"})

    assert len(caplog.messages) == MOST_LINES
    assert caplog.messages[0] == (
        "views passes over 1 records of tally.events/0, the last at offset 0: no record of this shard"
    )
