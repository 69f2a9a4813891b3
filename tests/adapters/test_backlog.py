"""What is kept in memory of each lane is what comes next, within the bound, or nothing."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from adapters.kafka.backlog import Backlog
from adapters.sql.outbox import Outgoing

LANES = ("a", "b")
STEPS = st.lists(st.tuples(st.sampled_from(["commit", "commit", "commit", "forget", "take", "drop"]), st.sampled_from(LANES)))


@given(steps=STEPS, most_bytes=st.integers(0, 60), most=st.integers(1, 5))
def test_what_is_taken_follows_what_was_taken_and_what_is_missing_is_known(
    steps: list[tuple[str, str]], most_bytes: int, most: int
) -> None:
    """A publisher that takes, and reads what is missing from the store, sends each record once in its order."""
    backlog = Backlog(most_bytes)
    committed: dict[str, int] = defaultdict(int)
    sent: dict[str, list[int]] = defaultdict(list)

    def publish(lane: str) -> None:
        if taken := backlog.take(lane, len(sent[lane]), most):
            sent[lane] += [record.number for record in taken]
        else:
            begins = backlog.begins(lane)
            sent[lane] += range(len(sent[lane]), committed[lane] if begins is None else begins)

    for step, lane in steps:
        match step:
            case "commit":
                backlog.add(lane, Outgoing(committed[lane], b"", b"ten bytes!", None, None))
                committed[lane] += 1
            case "forget":
                committed[lane] += 1
            case "take":
                publish(lane)
            case _:
                backlog.drop(lane)
        assert backlog.bytes <= most_bytes
    for lane in LANES:
        while len(sent[lane]) < committed[lane]:
            publish(lane)

    assert {lane: sent[lane] for lane in LANES} == {lane: list(range(committed[lane])) for lane in LANES}
