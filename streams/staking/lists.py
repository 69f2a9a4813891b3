"""What staking has to do next, as the views show it. A plan says it until the views show that it is done."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256

from contracts import Command, Did, Digest, EventId, Label, StreamName, id_type, instant, rfc3339
from contracts.inference import DISPUTE_SECONDS
from contracts.staking import (
    EVIDENCE_SECONDS,
    AdmitDevice,
    Base,
    CaseId,
    ClaimSerial,
    DeclineDevice,
    ExecuteCase,
    FreeSerial,
    HoldForCase,
    Kind,
    LapseCase,
    OpenCase,
    PostBond,
    ReleaseHold,
    RequestUnstake,
    ReviewTier,
    Slash,
    Stake,
    StakingParameters,
    SubjectName,
    SuspendDevice,
    Tombstone,
    case_id,
    case_stream,
    collateral_stream,
    named_collateral,
    serial_stream,
)
from contracts.treasury import HoldId, Release
from domain.staking.arithmetic import drawn, epoch_at, starts
from projections._policy import policies_of, then
from projections.inference import when_it_ended
from projections.staking.due import (
    Asking,
    Breach,
    Due,
    FalseReceipt,
    Left,
    asking,
    breaches,
    false_receipts,
    held_by,
    is_funded,
    is_open,
    is_posted,
    left,
    retiered,
    sentenced,
    unheld,
    windows,
)
from projections.staking.queries import at_risk_at, oracles_at, seed_of
from projections.treasury.carried import held_record
from projections.treasury.due import HoldDue, open_holds
from streams import Desk, Task

ASK_AGAIN_SECONDS = 60
"""What came too soon by the store's clock is asked again after this."""
MAX_ASKED = 100
SENTENCE_DAYS = 7
"""After so long a case that was executed has nobody left to suspend."""


def open_case_on_breach(desk: Desk) -> Iterator[Task]:
    """More than 5 % of what an epoch left was missed: the device's bond is accused, with a panel that its seed draws."""
    first = epoch_at(desk.now - timedelta(seconds=EVIDENCE_SECONDS)) - 1
    oracles = cache(lambda epoch: oracles_at(epoch, desk.connection))
    for breach in breaches(first, desk.connection):
        if desk.now <= starts(breach.closed.epoch + 1) + timedelta(seconds=EVIDENCE_SECONDS):
            yield _accusing(breach, oracles(breach.closed.epoch + 1), desk)


def _accusing(breach: Breach, oracles: Sequence[str], desk: Desk) -> Task:
    device, closed = breach.device, breach.closed
    at_risk = at_risk_at("bond", device, closed.epoch, desk.connection)
    accusation = OpenCase(
        subject=SubjectName(device), offence="downtime", epoch=closed.epoch, evidence=Digest(closed.evidence),
        uptime=closed.uptime, bases=(Base(kind="bond", subject=SubjectName(device), units=at_risk),),
        percent=closed.terms.downtime_slash_percent, panel=drawn(breach.seed, set(oracles) - {device}),
        seed=Digest(breach.seed), policy_version=closed.terms.policy_version or 1,
    )  # fmt: skip
    case = case_id(device, "downtime", closed.epoch, closed.evidence)
    # A view that lags may not know all that was at risk: its accusation is refused, and made again when it has caught up.
    key = f"open:{case}:{at_risk}{_by(closed.terms)}"
    return Task(accusation, case_stream(case), key, instant(closed.closed_at), EventId(closed.event))


def open_case_on_bad_proof(desk: Desk) -> Iterator[Task]:
    """A refuted receipt: its signer's bond and his wallet's stake are accused, with a panel that the day's seed draws."""
    since = rfc3339(desk.now - timedelta(seconds=DISPUTE_SECONDS + EVIDENCE_SECONDS))
    for receipt in false_receipts(since, desk.connection):
        ended = when_it_ended(receipt.request, receipt.number, desk.connection)
        epoch = None if ended is None else epoch_at(ended)
        seed = None if epoch is None else seed_of(epoch, desk.connection)
        # The seed is known once the day is over: until then nobody can tell whom it will draw.
        if epoch is not None and seed is not None and desk.now <= starts(epoch + 1) + timedelta(seconds=EVIDENCE_SECONDS):
            yield from _accusing_receipt(receipt, epoch, seed, desk)


def _accusing_receipt(receipt: FalseReceipt, epoch: int, seed: str, desk: Desk) -> Iterator[Task]:
    case = case_id(receipt.device, "proof", epoch, receipt.evidence)
    if is_open(case, desk.connection):
        return
    subjects: tuple[tuple[Kind, str], ...] = (("bond", receipt.device), ("stake", receipt.wallet))
    bases = tuple(
        Base(kind=kind, subject=SubjectName(subject), units=at_risk_at(kind, subject, epoch, desk.connection))
        for kind, subject in subjects
    )  # fmt: skip
    terms = then(policies_of(StakingParameters, desk.connection), starts(epoch))
    accusation = OpenCase(
        subject=SubjectName(receipt.device), offence="proof", epoch=epoch, evidence=Digest(receipt.evidence),
        key=Did(receipt.device_key), bases=bases, percent=terms.bad_proof_slash_percent,
        panel=drawn(seed, set(oracles_at(epoch + 1, desk.connection)) - {receipt.device}), seed=Digest(seed),
        policy_version=terms.policy_version or 1,
    )  # fmt: skip
    key = f"open:{case}:{':'.join(str(base.units) for base in bases)}{_by(terms)}"
    yield Task(accusation, case_stream(case), key, instant(receipt.at), EventId(receipt.event))


def _by(terms: StakingParameters) -> str:
    """Of a task's key: a view that had not seen what was adopted accuses once more when it has."""
    return f":policy {terms.policy_version}" if terms.policy_version else ""


def review_tiers(desk: Desk) -> Iterator[Task]:
    """What a tier needs was changed: each stake that reaches another one by it has that from the next epoch."""
    for due in retiered(desk.connection):
        key = f"tier:{due.wallet}:{due.policy_version}:{due.active}"
        yield Task(ReviewTier(), collateral_stream("stake", due.wallet), key, due.since)


def fund_a_stake(desk: Desk) -> Iterator[Task]:
    """What an account holds for a collateral becomes stake, and for a case a bond; what is refused is free again.

    What became stake is captured by the event that says so.
    """
    for due in (*open_holds("stake", desk.connection), *open_holds("bond", desk.connection)):
        account = StreamName(f"treasury/account/{due.account}")
        key = sha256(f"{account} {due.hold}".encode()).hexdigest()
        if not _is_for_a_stream_here(due):
            yield Task(Release(hold=HoldId(due.hold)), account, f"refuse:{key}", due.since)
        elif not _is_taken(due, account, desk) and (command := _funding(due, account, desk)) is not None:
            # A stake that carried nothing was a `fund:`; how that ended says nothing of this one.
            name = f"{'stake' if isinstance(command, Stake) else 'fund'}:{key}"
            yield Task(command, due.purpose.partition(":")[2], name, due.since, EventId(due.event))
            if refusal := desk.refusal(name):
                yield Task(Release(hold=HoldId(due.hold)), account, f"release:{key}", refusal.at)


def _is_for_a_stream_here(due: HoldDue) -> bool:
    """Whether the purpose names something that could take it."""
    purpose, _, stream = due.purpose.partition(":")
    command: type[Command] = Stake if purpose == "stake" else PostBond
    prefix = f"{command.wire.stream}/"
    # What the door would refuse is never heard of again under the task's name.
    is_addressed = StreamName.fits(stream) and stream.startswith(prefix) and id_type(command).fits(stream.removeprefix(prefix))
    return due.amount.asset == "SPACE" and is_addressed and (purpose != "stake" or bool(named_collateral(stream)[0]))


def _funding(due: HoldDue, account: StreamName, desk: Desk) -> Stake | PostBond | None:
    """None as long as the record that is to be carried is not there."""
    if due.purpose.startswith("stake:"):
        held = held_record(due.account, due.hold, desk.connection)
        return None if held is None else Stake(held=held)
    return PostBond(amount=due.amount.units, hold=HoldId(due.hold), account=account)


def _is_taken(due: HoldDue, account: str, desk: Desk) -> bool:
    purpose, _, stream = due.purpose.partition(":")
    if purpose == "stake":
        return is_funded(*named_collateral(stream), account, due.hold, desk.connection)
    return is_posted(stream.split("/", 2)[-1], account, due.hold, desk.connection)


def claim_before_admitting(desk: Desk) -> Iterator[Task]:
    """A device is admitted when its serial number and its key are bound to its bond, and declined when they are another's."""
    for device in asking(desk.connection):
        yield from _admitting(device, desk)
    for gone in left(desk.connection):
        yield from _freeing(gone)


def _admitting(device: Asking, desk: Desk) -> Iterator[Task]:
    stream, at = collateral_stream("bond", device.device), instant(device.since)
    keys = {claim: f"claim:{claim}:{device.device}:{device.since}" for claim in device.claims}
    if all(owner == device.device for owner in device.claims.values()):
        yield Task(AdmitDevice(), stream, f"admit:{device.device}:{device.since}", at)
        return
    for claim, owner in device.claims.items():
        refusal = desk.refusal(keys[claim])
        if refusal is not None or owner not in (None, device.device):
            cause = Label(refusal.name if refusal else "BoundElsewhere")
            yield Task(DeclineDevice(cause=cause), stream, f"decline:{device.device}:{device.since}", at)
            return
    for claim, owner in device.claims.items():
        if owner is None:
            yield Task(ClaimSerial(device=SubjectName(device.device)), serial_stream(claim), keys[claim], at)


def _freeing(device: Left) -> Iterator[Task]:
    for claim in device.claims:
        yield Task(FreeSerial(), serial_stream(claim), f"free:{claim}:{device.since}", instant(device.since))


def hold_when_attested(desk: Desk) -> Iterator[Task]:
    """An attested case sets aside what it may take; one that too few witnesses attested in time lapses."""
    for case, share, opened_at in unheld(desk.now - timedelta(days=SENTENCE_DAYS), desk.connection):
        hold = HoldForCase(case=CaseId(case), amount=share.units)
        key = f"hold:{case}:{share.kind}"
        yield Task(hold, collateral_stream(share.kind, share.subject), key, instant(opened_at))
    for due in _past_their_window(desk):
        if due.state == "open":
            yield from _in_time(LapseCase(), due.case, f"lapse:{due.case}", due.at, desk)


def execute_after_the_window(desk: Desk) -> Iterator[Task]:
    """Nobody disputed, or the dispute and the appeal were lost: the case is executed, takes what it holds, and suspends."""
    for due in _past_their_window(desk):
        if due.state != "open":
            yield from _in_time(ExecuteCase(), due.case, f"execute:{due.case}:{due.state}", due.at, desk)
    for held in held_by("executed", desk.connection):
        yield Task(
            Slash(case=CaseId(held.case)), collateral_stream(held.kind, held.subject), f"slash:{held.case}:{held.kind}",
            held.since,
        )  # fmt: skip
    for executed in sentenced(desk.now - timedelta(days=SENTENCE_DAYS), desk.connection):
        case, opened = CaseId(executed.case), executed.opened
        if executed.to_suspend:
            stream = collateral_stream("bond", opened.subject)
            yield Task(SuspendDevice(cause=case), stream, f"suspend:{case}", executed.at)
        for kind, subject in executed.to_tombstone:
            if opened.key is not None:
                mark = Tombstone(case=case, key=opened.key)
                yield Task(mark, collateral_stream(kind, subject), f"tombstone:{case}:{kind}", executed.at)


def release_when_void(desk: Desk) -> Iterator[Task]:
    """A void restores exactly what was held; its bonds return by themselves."""
    for held in held_by("voided", desk.connection):
        release = ReleaseHold(case=CaseId(held.case))
        yield Task(release, collateral_stream(held.kind, held.subject), f"release:{held.case}:{held.kind}", held.since)


def return_the_bond(desk: Desk) -> Iterator[Task]:
    """A device that has left gets its bond back: it is unstaked, and its holder withdraws it seven days later."""
    for device in left(desk.connection):
        if device.state == "deregistered" and device.free_active and not device.has_asked_back:
            unstake = RequestUnstake(amount=device.free_active)
            key = f"return:{device.device}:{device.since}"
            yield Task(unstake, collateral_stream("bond", device.device), key, instant(device.since))


def _past_their_window(desk: Desk) -> Iterator[Due]:
    # In the last microsecond of its window a case may still be disputed.
    return (due for due in windows(desk.connection) if due.is_decided or desk.is_due(due.at + timedelta(microseconds=1)))


def _in_time(command: Command, case: str, key: str, at: datetime, desk: Desk) -> Iterator[Task]:
    """Refused as too soon, it is asked again: the store's clock decides, not ours."""
    for number in range(MAX_ASKED):
        refusal = desk.refusal(f"{key}:{number}")
        if refusal is None:
            if desk.is_due(at):
                yield Task(command, case_stream(case), f"{key}:{number}", at)
            return
        if refusal.name != "StillOpen":
            return
        at = refusal.at + timedelta(seconds=ASK_AGAIN_SECONDS)
