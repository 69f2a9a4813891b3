"""A slash that anybody can compute again: from the published heartbeats, the panel's seed, and what was staked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from contracts import Event, ParameterAdopted, PolicyEvent, Record, policy_stream
from contracts.liveness import EpochClosed, LivenessEvent, SlotsExcused
from contracts.staking import (
    ORACLE_MINIMUM,
    CaseOpened,
    CollateralEvent,
    DeviceRegistered,
    Finding,
    KeyTombstoned,
    Share,
    StakingEvent,
    StakingParameters,
    SubjectName,
    Uptime,
    collateral_stream,
    named_collateral,
)
from domain._policy import Policy
from domain.liveness import recomputed
from domain.staking.arithmetic import drawn, epoch_at, is_breach, signatures_needed, slash_of, starts
from domain.staking.cases import tally, threshold_of
from domain.staking.collateral import Collateral
from domain.staking.uptime import uptime_of

Liveness = Iterable[tuple[LivenessEvent, Record]]
Staked = Iterable[tuple[StakingEvent | PolicyEvent, Record]]
"""With their records, each stream's in its order; more than the case needs does no harm."""


class NotInLog(LookupError):
    """What was handed over lacks a record that the case rests on."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A downtime case from the log alone."""

    device_key: str
    evidence: str
    uptime: Uptime
    is_breach: bool
    seed: str
    panel: tuple[SubjectName, ...]
    needed: int
    base: int
    terms: StakingParameters
    amounts: tuple[Share, ...]

    def differences(self, said: CaseOpened) -> Iterator[str]:
        """What the case says otherwise; nothing, if it is as it should be."""
        base = [(base.kind, base.subject, base.units) for base in said.bases]
        pairs: Mapping[str, tuple[object, object]] = {
            "evidence": (said.evidence, self.evidence), "uptime": (said.uptime, self.uptime), "seed": (said.seed, self.seed),
            "panel": (said.panel, self.panel), "signatures needed": (said.needed, self.needed),
            "percent": (said.percent, self.terms.downtime_slash_percent),
            "threshold": (threshold_of(said), self.terms.downtime_threshold_percent),
            "policy": (said.policy_version, self.terms.policy_version or 1),
            "base": (base, [("bond", said.subject, self.base)]), "breach": (True, self.is_breach),
        }  # fmt: skip
        for name, (recorded, found) in pairs.items():
            if recorded != found:
                yield f"{name}: the case says {recorded}, the log gives {found}"


def recompute(case: CaseOpened, liveness: Liveness, staked: Staked) -> Recomputed:
    """Missed, excused, panel and amounts of a downtime case (white paper 9.6). Raises NotInLog.

    Nothing of the case is taken over but which device and epoch it accuses: percentage and threshold are those that the
    context's policy had when the epoch began, as far as it is among what was staked.
    """
    beats, stakes = list(liveness), list(staked)
    key = device_key_of(case, stakes)
    closed, evidence = _closed(key, case.epoch, beats)
    seed, excused = _ended(case.epoch, beats)
    found = recomputed([event for event, _ in beats], key, closed)
    uptime = uptime_of(found.first_slot, found.end_slot, found.missed, found.root, excused)
    panel = drawn(seed, [oracle for oracle in oracles_before(case.epoch + 1, stakes) if oracle != case.subject])
    base = _folded(collateral_stream("bond", case.subject), stakes).holding.at_start_of(case.epoch)
    terms = terms_at(starts(case.epoch), [event for event, _ in stakes])
    units = slash_of(base, terms.downtime_slash_percent)
    amounts = (Share(kind="bond", subject=case.subject, units=units),) if units else ()
    breached = is_breach(uptime.missed, uptime.expected, terms.downtime_threshold_percent)
    return Recomputed(
        key, evidence, uptime, breached, seed, panel, signatures_needed(len(panel)), base, terms, amounts
    )  # fmt: skip


def terms_at(moment: datetime, events: Iterable[Event]) -> StakingParameters:
    """What was in force then, by what was adopted."""
    policy = Policy(policy_stream("staking"))
    for event in events:
        if isinstance(event, ParameterAdopted):
            policy.replay(event)
    return policy.parameters_at(StakingParameters, moment)


def device_key_of(case: CaseOpened, staked: Staked) -> str:
    """With which the accused device beat in the epoch. Raises NotInLog."""
    stream = collateral_stream("bond", case.subject)
    said = [event for event, record in staked if record.subject == stream and isinstance(event, DeviceRegistered)]
    keys = [event.device_key for event in said if event.first_epoch <= case.epoch] or [event.device_key for event in said]
    if not keys:
        raise NotInLog(f"{case.subject} never registered a device")
    return keys[-1]


def oracles_before(epoch: int, staked: Staked) -> Sequence[str]:
    """Who had an oracle's full stake and an honest key when the epoch began."""
    oracles: dict[str, Collateral] = {}
    for event, record in staked:
        kind, subject = named_collateral(record.subject)
        if kind == "oracle" and isinstance(event, CollateralEvent) and _epoch(event, record) < epoch:
            oracles.setdefault(subject, Collateral(record.subject)).replay(event)
    return sorted(
        subject
        for subject, found in oracles.items()
        if found.holding.active >= ORACLE_MINIMUM and not found.tombstones
    )  # fmt: skip


def attested_by(findings: Mapping[str, Finding], needed: int) -> Finding | None:
    """The finding that enough witnesses signed, if one is."""
    return next((finding for finding, count in tally(findings) if count >= needed), None)


def _epoch(event: CollateralEvent, record: Record) -> int:
    said = getattr(event, "epoch", None)
    return said if isinstance(said, int) and not isinstance(event, KeyTombstoned) else epoch_at(record.moment)


def _folded(stream: str, staked: Staked) -> Collateral:
    found = Collateral(stream)
    for event, record in staked:
        if record.subject == stream and isinstance(event, CollateralEvent):
            found.replay(event)
    return found


def _closed(key: str, epoch: int, liveness: Liveness) -> tuple[EpochClosed, str]:
    for event, record in liveness:
        if isinstance(event, EpochClosed) and event.epoch == epoch and record.stream_id == key:
            return event, sha256(record.value).hexdigest()
    raise NotInLog(f"no record closes epoch {epoch} of {key}")


def _ended(epoch: int, liveness: Liveness) -> tuple[str, Sequence[int]]:
    for event, record in liveness:
        if isinstance(event, SlotsExcused) and event.epoch == epoch:
            return sha256(record.value).hexdigest(), [slot.slot for slot in event.slots]
    raise NotInLog(f"no record ends epoch {epoch}")
