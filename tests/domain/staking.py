"""What the tests of staking share: names, moments, commands."""

from datetime import UTC, datetime, timedelta
from typing import Any

from contracts import Address, Amount, Did, Digest, EventId, StreamName, Uuid, event_id, uuid7
from contracts.staking import (
    SPACE,
    Attest,
    Base,
    CaseId,
    HoldForCase,
    OpenCase,
    RegisterDevice,
    RequestUnstake,
    Slash,
    SubjectName,
    Uptime,
    case_id,
    collateral_stream,
)
from contracts.treasury import Held, HoldId, Purpose
from domain.staking.arithmetic import drawn, epoch_at
from domain.staking.collateral import Collateral
from tests.domain.given import did, digest

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
TODAY = epoch_at(NOON)
ACCOUNT = StreamName("treasury/account/alice.SPACE")
DEVICE = did("device")
WALLET = "0x" + "a" * 40
ORACLES = tuple(SubjectName(did(f"oracle {n}")) for n in range(9))
SEED = digest("the end of the day")
PANEL = drawn(SEED, ORACLES)
ROOT = digest("beats")
CASE = case_id(DEVICE, "downtime", TODAY, digest("closed"))


def request_id(n: int) -> Uuid:
    return uuid7(n, bytes(10))


Said = tuple[Held, StreamName, EventId]


def stake(units: int, at: datetime, stream: str, hold: str = "h-1", account: StreamName = ACCOUNT) -> Said:
    """What the treasury said a minute before: so much is held for the stream."""
    held = Held(
        hold=HoldId(hold), amount=Amount.of("SPACE", units), purpose=Purpose(f"stake:{stream}"),
        expires_at=at + timedelta(hours=1),
    )  # fmt: skip
    return held, account, EventId(event_id("treasury", f"{account} {hold}", 0))


def a_bond(units: int = 100 * SPACE, at: datetime = NOON - timedelta(days=3)) -> Collateral:
    bond = Collateral(collateral_stream("bond", DEVICE))
    bond.stake(*stake(units, at, bond.stream), at)
    bond.pending = []
    return bond


def a_stake(units: int, at: datetime = NOON - timedelta(days=3)) -> Collateral:
    found = Collateral(collateral_stream("stake", WALLET))
    found.stake(*stake(units, at, found.stream), at)
    found.pending = []
    return found


def unstake(units: int) -> RequestUnstake:
    return RequestUnstake(amount=units)


def hold(units: int, case: CaseId = CASE) -> HoldForCase:
    return HoldForCase(case=case, amount=units)


def slash(case: CaseId = CASE) -> Slash:
    return Slash(case=case)


def another_case(n: int) -> CaseId:
    return case_id(DEVICE, "proof", TODAY, digest(f"case {n}"))


def a_registration(key: Did = DEVICE, wallet: str = WALLET, serial: str = "serial") -> RegisterDevice:
    return RegisterDevice(device_key=key, wallet=Address(wallet), serial_hash=digest(serial))


def uptime(missed: int = 15, expected: int = 288, excused: int = 0) -> Uptime:
    return Uptime(expected=expected, excused=excused, missed=missed, root=ROOT)


def an_accusation(**changes: Any) -> OpenCase:
    fields: dict[str, Any] = {
        "subject": SubjectName(DEVICE), "offence": "downtime", "epoch": TODAY, "evidence": digest("closed"),
        "uptime": uptime(), "bases": (Base(kind="bond", subject=SubjectName(DEVICE), units=100 * SPACE),), "percent": 10,
        "panel": PANEL, "seed": SEED, "policy_version": 1,
    }  # fmt: skip
    return OpenCase(**{**fields, **changes})


def finding(missed: int = 15, root: Digest = ROOT) -> Attest:
    return Attest(missed=missed, root=root)
