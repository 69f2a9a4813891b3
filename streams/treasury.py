"""Treasury's wiring: its views, and what it does by itself: issue, pay, issue again, show losses, end holds.

Each plan looks at what is under way and says the next step. A step that is refused for a while (reserves, a pause) has the
coin's last turn in its key, so that it is tried again when something has changed, and not before.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from contracts import Address, Amount, EventId
from contracts.treasury import (
    ESCROW_TIMEOUT_SECONDS,
    MINT_RETRY_MAX,
    OUTFLOW,
    PAYOUT_ATTEMPTS_MAX,
    RATE_SCALE,
    AccountId,
    CancelWithdrawal,
    ExpireHold,
    Freeze,
    FundWithdrawal,
    HoldId,
    LapseReview,
    MarkIssued,
    Mint,
    OpenAccount,
    Rail,
    Reason,
    ReceiveBacking,
    Reference,
    RefundDeposit,
    ReissueWithdrawal,
    ReleaseOutflow,
    ReserveOutflow,
    RouteWithdrawal,
    SubmitPayout,
    Transaction,
    TreasuryParameters,
    WithdrawalId,
    WriteDownBacking,
    account_stream,
    coin_of,
    stablecoin_stream,
    withdrawal_stream,
)
from projections._policy import halted_until, parameters
from projections.treasury import (
    DepositDue,
    LossDue,
    ReturnDue,
    WithdrawalDue,
    deposits_under_way,
    holds_overdue,
    losses_under_way,
    returns_under_way,
    treasury,
    withdrawals_under_way,
)
from projections.treasury.carried import holds_to_carry
from projections.treasury.due import CoinTurn, Minting, coin_turns, next_overdue
from streams import Desk, Stream, Task, TodoList, World

PAYOUT_RAIL = Rail("wise")
"""By which payouts leave (white paper 8.2) where the deployment names no bank of its own."""
CLOCKS_DIFFER = timedelta(seconds=5)
"""Where the rule compares the time too, its clock may be behind the desk's, and what was refused is not asked again."""
RATE_WITHOUT_ANSWER = {"EUR": 130_000_000, "GBP": 160_000_000}
"""US dollars times 10^8, higher than in any of the last ten years: what a payout counts where no oracle has answered. It is
reviewed anyway."""


def streams(world: World) -> Iterator[Stream]:
    rail = PAYOUT_RAIL if world.outside is None else Rail(world.outside.rail)
    yield treasury()
    yield holds_to_carry()
    yield TodoList("issue_when_money_is_available", issue_when_money_is_available)
    yield TodoList("pay_when_burned", partial(pay_when_burned, rail))
    yield TodoList("reissue_when_payout_returns", reissue_when_payout_returns)
    yield TodoList("show_the_loss_of_a_chargeback", show_the_loss_of_a_chargeback)
    yield TodoList("expire_holds", expire_holds, every_seconds=5.0)


class Room:
    """What may still be minted of each coin, less what this plan has asked for."""

    def __init__(self, turns: dict[str, CoinTurn], desk: Desk) -> None:
        self._turns, self._now, self._asked = turns, desk.now, dict.fromkeys(turns, 0)
        until = halted_until("treasury", "minting", desk.connection)
        self._is_halted = until is not None and not desk.is_due(until)
        self._age = timedelta(seconds=parameters(TreasuryParameters, desk.connection).reserves_age_max_seconds)

    def is_paused(self, coin: str) -> bool:
        turn = self._turns.get(coin)
        return turn is None or not turn.is_open or self._is_halted

    def take(self, coin: str, cents: int) -> CoinTurn | None:
        """The coin's turn where so much fits; a mint that would be refused is not asked for."""
        turn = self._turns.get(coin)
        if turn is None or turn.as_of is None or self.is_paused(coin):
            return None
        fresh = self._now - turn.as_of <= self._age
        if not fresh or self._asked[coin] + cents > turn.free:
            return None
        self._asked[coin] += cents
        return turn


# Issue


def issue_when_money_is_available(desk: Desk) -> Iterator[Task]:
    """Backing, then coins, then the mark that they are in the chain; after a second failure the money goes back."""
    room = Room(coin_turns(desk.connection), desk)
    for due in deposits_under_way(desk.connection):
        yield from _issue(due, room, desk)


def _issue(due: DepositDue, room: Room, desk: Desk) -> Iterator[Task]:
    minting, cause, coin = due.minting, EventId(due.event), stablecoin_stream(due.coin)
    reference, since = Reference(due.deposit), minting.since or due.since
    if due.state == "closed" and minting.backed and not minting.written_down:
        gone = WriteDownBacking(amount=Amount.of(due.asset, minting.backing), reference=reference, cause="unissued")
        yield Task(gone, coin, f"write down:{due.deposit}", due.since, cause)
    elif due.state != "settled" or minting.state == "in_flight":
        return
    elif minting.state == "confirmed":
        yield Task(MarkIssued(reference=reference), f"treasury/deposit/{due.deposit}", f"mark:{due.deposit}", since, cause)
    elif minting.failures > MINT_RETRY_MAX or (minting.backed and minting.backing != due.left):
        # What failed twice, or went back in part after it had begun to back coins, goes back.
        back = RefundDeposit(amount=Amount.of(due.asset, due.left), reference=Reference(f"unissued:{due.deposit}"))
        yield Task(back, f"treasury/deposit/{due.deposit}", f"refund:{due.deposit}", since, cause)
    elif due.to is not None and _is_available(due, desk):
        amount, to = Amount.of(due.asset, due.left), Address(due.to)
        if not minting.backed:
            received = ReceiveBacking(amount=amount, reference=reference, origin="deposit")
            # Anything that was said of the deposit since may have made it possible.
            yield Task(received, coin, f"back:{due.deposit}:{due.event}", max(due.since, _available(due)), cause)
        else:
            yield from _mint(due.coin, amount, reference, to, minting, room, cause)


def _is_available(due: DepositDue, desk: Desk) -> bool:
    return due.owner is not None and not due.disputes_open and desk.is_due(_available(due))


def _available(due: DepositDue) -> datetime:
    return due.available_on or due.since


def _mint(
    coin: str, amount: Amount, reference: Reference, to: Address, minting: Minting, room: Room, cause: EventId
) -> Iterator[Task]:
    """Where it fits; tried again after each turn of the coin, and after each failure."""
    turn = room.take(coin, amount.units)
    if turn is not None:
        key = f"mint:{reference}:{minting.failures}:{turn.turn}"
        at = max(turn.turned, minting.since or turn.turned)
        yield Task(Mint(amount=amount.to(coin), reference=reference, to=to), stablecoin_stream(coin), key, at, cause)


# Pay


def pay_when_burned(rail: Rail, desk: Desk) -> Iterator[Task]:
    """From the escrow to the order that the bank is to have. Bank and chain are called by others."""
    terms = parameters(TreasuryParameters, desk.connection)
    for due in withdrawals_under_way(desk.connection):
        match due.state:
            case "requested":
                yield from _cancel(due, desk)
            case "escrowed":
                yield from _route(due, terms, desk)
            case "under_review":
                yield from _release(due)
                yield from _lapse(due, terms, desk)
            case "approved":
                yield from _fund(due)
            case "funded":
                yield from _submit(due, rail, 1)
            case "returned" if due.may_retry and due.attempt < PAYOUT_ATTEMPTS_MAX:
                yield from _submit(due, rail, due.attempt + 1)
            case "rejected" | "cancelled":
                yield from _release(due)
            case _:
                pass


def _cancel(due: WithdrawalDue, desk: Desk) -> Iterator[Task]:
    late = due.requested + timedelta(seconds=ESCROW_TIMEOUT_SECONDS)
    if desk.is_due(late):
        yield _task(due, CancelWithdrawal(), "cancel", late)


def _route(due: WithdrawalDue, terms: TreasuryParameters, desk: Desk) -> Iterator[Task]:
    """To review at once where there is a reason; else once it is counted; and to review where it does not fit."""
    cents, reasons = _usd_cents(due), tuple(_reasons(due, terms))
    # Never above the single maximum.
    large = cents > terms.review_threshold_usd_cents
    reserve = f"reserve:{due.withdrawal}"
    refusal = desk.refusal(reserve)
    if reasons or large or due.reserved is not None:
        yield _task(due, RouteWithdrawal(usd_cents=cents, reasons=reasons), "route", due.escrowed or due.since)
    elif refusal is not None:
        over: Reason = "over_single" if refusal.name == "OverSingleLimit" else "over_daily"
        yield _task(due, RouteWithdrawal(usd_cents=cents, reasons=(over,)), "route", due.escrowed or due.since)
    else:
        command = ReserveOutflow(withdrawal=WithdrawalId(due.withdrawal), usd_cents=cents, reviewed=False)
        yield Task(command, OUTFLOW, reserve, due.since, EventId(due.event))


def _usd_cents(due: WithdrawalDue) -> int:
    rate = RATE_WITHOUT_ANSWER.get(due.payout.asset.partition(".")[0], RATE_SCALE)
    return -(-due.payout.units * rate // RATE_SCALE)


def _reasons(due: WithdrawalDue, terms: TreasuryParameters) -> Iterator[Reason]:
    """Of those that the views know; what the amount and the rate say, the rule itself adds."""
    known_for = (due.escrowed or due.since) - due.destination_since
    if known_for < timedelta(seconds=terms.new_destination_review_seconds):
        yield "new_destination"
    if due.came_back:
        yield "after_return"


def _lapse(due: WithdrawalDue, terms: TreasuryParameters, desk: Desk) -> Iterator[Task]:
    late = (due.review_since or due.since) + timedelta(seconds=terms.review_timeout_seconds) + CLOCKS_DIFFER
    if desk.is_due(late):
        yield _task(due, LapseReview(), "lapse", late)


def _release(due: WithdrawalDue) -> Iterator[Task]:
    """What waits for a review, or has ended, takes no room from what can go."""
    if due.reserved is not None:
        key = f"release:{due.withdrawal}:{int(due.reserved.timestamp())}"
        command = ReleaseOutflow(withdrawal=WithdrawalId(due.withdrawal))
        yield Task(command, OUTFLOW, key, due.since, EventId(due.event))


def _fund(due: WithdrawalDue) -> Iterator[Task]:
    if due.reserved is None:
        counted = ReserveOutflow(
            withdrawal=WithdrawalId(due.withdrawal), usd_cents=due.usd_cents or 0, reviewed=due.route == "reviewed"
        )
        yield Task(counted, OUTFLOW, f"count:{due.withdrawal}", due.since, EventId(due.event))
    elif due.burn is not None and due.burned is not None:
        command = FundWithdrawal(transaction=Transaction(due.burn), payout=due.payout)
        yield _task(due, command, "fund", max(due.burned, due.since))


def _submit(due: WithdrawalDue, rail: Rail, attempt: int) -> Iterator[Task]:
    yield _task(due, SubmitPayout(rail=rail, attempt=attempt), f"submit {attempt}", due.since)


Step = CancelWithdrawal | RouteWithdrawal | LapseReview | FundWithdrawal | SubmitPayout


def _task(due: WithdrawalDue, command: Step, errand: str, at: datetime) -> Task:
    stream = withdrawal_stream(due.withdrawal)
    return Task(command, stream, f"{errand}:{due.withdrawal}", at, EventId(due.event))


# Issue again


def reissue_when_payout_returns(desk: Desk) -> Iterator[Task]:
    """What came back backs coins again, which go to the wallet that they came from. While minting is paused nothing is begun:
    a reviewer may have the bank try once more."""
    room = Room(coin_turns(desk.connection), desk)
    for due in returns_under_way(desk.connection):
        yield from _reissue(due, room)


def _reissue(due: ReturnDue, room: Room) -> Iterator[Task]:
    minting, cause, coin = due.minting, EventId(due.event), coin_of(due.payout.asset)
    reference = Reference(due.reference)
    if minting.state == "confirmed":
        command, stream = ReissueWithdrawal(reference=reference), withdrawal_stream(due.withdrawal)
        yield Task(command, stream, f"reissue:{due.withdrawal}", minting.since or due.since, cause)
    elif not minting.backed and not room.is_paused(coin):
        received = ReceiveBacking(amount=due.payout, reference=reference, origin="returned_payout")
        yield Task(received, stablecoin_stream(coin), f"back:{reference}", due.returned, cause)
    elif minting.backed and minting.state != "in_flight":
        yield from _mint(coin, due.payout, reference, Address(due.wallet), minting, room, cause)


# Losses


def show_the_loss_of_a_chargeback(desk: Desk) -> Iterator[Task]:
    """The backing falls, so that the deficit shows, and the holder's prepaid balance is frozen up to the amount."""
    for due in losses_under_way(desk.connection):
        yield from _show(due)


def _show(due: LossDue) -> Iterator[Task]:
    cause, coin = EventId(due.event), coin_of(due.amount.asset)
    reference = Reference(f"lost:{due.event}")
    if not due.is_written_down:
        written = WriteDownBacking(amount=due.amount, reference=reference)
        yield Task(written, stablecoin_stream(coin), f"write:{due.event}", due.since, cause)
    if due.owner is None or due.is_frozen:
        return
    account, frozen = account_stream(due.owner, coin), due.amount.to(coin)
    if due.has_account:
        yield Task(Freeze(amount=frozen, cause=reference), account, f"freeze:{due.event}", due.since, cause)
    else:
        opened = OpenAccount(owner=AccountId(due.owner), asset=frozen.asset)
        yield Task(opened, account, f"open:{due.event}", due.since, cause)


# Holds


def expire_holds(desk: Desk) -> Iterator[Task]:
    """But for those that wait for another context's answer."""
    at = desk.now - CLOCKS_DIFFER
    if (soonest := next_overdue(at, desk.connection)) is not None:
        desk.wake_at(soonest + CLOCKS_DIFFER)
    for due in holds_overdue(at, desk.connection):
        expire = ExpireHold(hold=HoldId(due.hold))
        yield Task(expire, f"treasury/account/{due.account}", f"expire:{due.event}", due.expires_at, EventId(due.event))
