"""The demo finds what the machine sustains, and replays below it."""

from hypothesis import given
from hypothesis import strategies as st

from ops.demo.pacing import ENOUGH, FIRST_RATE, HEADROOM, Pacing

TURN_SECONDS = 0.01


class Machine:
    """Takes in so many requests a second, and lets the rest wait."""

    def __init__(self, bears: float, sends: float = 100_000.0, density: float = 1.0) -> None:
        """`density`: how many requests of the trace are due for each that its mean has."""
        self.bears, self.sends, self.density = bears, sends, density
        self.now = self.sent = self.seen = self.owed = 0.0
        self.behind_while_paced = 0.0
        self.rates_while_paced: list[float] = []

    def turn(self, pacing: Pacing) -> None:
        self.now += TURN_SECONDS
        self.owed += pacing.rate * self.density * TURN_SECONDS
        piece = min(self.owed, self.sends * TURN_SECONDS, pacing.total - self.sent)
        self.sent, self.owed = self.sent + piece, self.owed - piece
        self.seen = min(self.sent, self.seen + self.bears * TURN_SECONDS)
        behind = (self.sent - self.seen) / self.bears
        pacing.turn(self.now, int(self.sent), int(self.seen), behind)
        if pacing.state == "paced":
            self.behind_while_paced = max(self.behind_while_paced, behind)
            self.rates_while_paced.append(pacing.rate)


def replayed(machine: Machine, pacing: Pacing) -> None:
    while machine.seen < pacing.total - 1:
        machine.turn(pacing)
        assert machine.now < 10_000


@given(st.floats(100, 4_000), st.integers(20_000, 60_000))
def test_views_keep_up_once_the_pace_is_found(bears: float, total: int) -> None:
    """What the demo tells of latency is of a machine that is not overloaded."""
    machine, pacing = Machine(bears), Pacing(total)

    replayed(machine, pacing)

    assert machine.rates_while_paced
    assert machine.behind_while_paced <= 0.1
    assert pacing.sustained is not None
    assert pacing.sustained <= 1.1 * bears


@given(st.floats(250, 2_000))
def test_what_is_sustained_is_what_was_sent_and_taken_in_with_the_views_close_behind(bears: float) -> None:
    machine, pacing = Machine(bears), Pacing(60_000)

    replayed(machine, pacing)

    assert pacing.sustained is not None
    assert not pacing.is_more
    assert 0.75 * bears <= pacing.sustained <= 1.05 * bears
    assert max(machine.rates_while_paced) == HEADROOM * pacing.sustained


@given(st.floats(1, 4), st.floats(500, 2_000))
def test_a_disturbance_at_the_beginning_is_not_what_the_machine_sustains(at: float, bears: float) -> None:
    """A disk that others use for a moment held the rate down for the whole trace."""
    machine, pacing = Machine(bears), Pacing(60_000)

    while pacing.state in {"warming", "rising", "draining"}:
        machine.bears = 20.0 if at <= machine.now - 2 <= at + 1.5 else bears
        machine.turn(pacing)

    assert pacing.sustained is not None
    assert pacing.sustained >= 0.4 * bears


@given(st.floats(210, 3_000))
def test_whoever_sends_no_faster_finds_his_own_rate(sends: float) -> None:
    """The router's own work bounds what it can ask for: the rate does not rise for ever."""
    machine, pacing = Machine(1_000_000.0, sends), Pacing(60_000)

    replayed(machine, pacing)

    assert pacing.sustained is not None
    assert pacing.is_more
    assert pacing.sustained <= 1.05 * sends


@given(st.floats(0.75, 1.4), st.floats(400, 2_000))
def test_quiet_and_busy_hours_of_the_trace_do_not_end_the_search(density: float, bears: float) -> None:
    """The real trace begins with four fifths of its mean, which was taken for the router's own pace."""
    pacing = Pacing(60_000)

    replayed(Machine(bears, density=density), pacing)

    assert not pacing.is_more


@given(st.floats(1, 100_000), st.integers(0, 50_000))
def test_a_rate_that_a_person_asked_for_is_kept(given_rate: float, total: int) -> None:
    machine, pacing = Machine(500.0), Pacing(total, given_rate)

    for _ in range(100):
        machine.turn(pacing)

    assert (pacing.rate, pacing.sustained) == (given_rate, None)


@given(st.integers(0, ENOUGH - 1))
def test_few_requests_are_replayed_gently(total: int) -> None:
    pacing = Pacing(total)

    assert (pacing.state, pacing.rate, pacing.sustained) == ("paced", FIRST_RATE, None)


def test_the_pace_gives_way_when_the_machine_has_other_things_to_do_and_comes_back() -> None:
    machine, pacing = Machine(1_000.0), Pacing(60_000)
    while pacing.state != "paced":
        machine.turn(pacing)
    chosen, began = pacing.rate, machine.now

    machine.bears = 300.0
    while machine.now < began + 10:
        machine.turn(pacing)
    rate_when_slow, machine.bears = pacing.rate, 1_000.0
    while machine.now < began + 19:
        machine.turn(pacing)

    assert rate_when_slow < chosen
    assert pacing.rate == chosen


def test_a_long_trace_is_not_replayed_slowly_to_its_end() -> None:
    """What there is to tell of latency is told by then."""
    machine, pacing = Machine(60.0), Pacing(20_000)

    while machine.sent < 20_000 and machine.now < 300:
        machine.turn(pacing)

    assert pacing.state == "rushing"
    assert machine.now < 100


def test_a_request_that_never_comes_into_the_view_ends_nothing() -> None:
    """One that was refused is never seen: the rest is replayed all the same."""
    pacing, now = Pacing(60_000), 0.0

    while pacing.state != "rushing" and now < 300:
        now += TURN_SECONDS
        pacing.turn(now, int(now * 100), 0, behind=now)

    assert pacing.state == "rushing"
