"""The outside checker: reads what clients wrote down and what store, topics and views hold, and says whether it fits.

It shares no code with the system: one file, the standard library and PyNaCl. Its inputs are made by `ops/dumps.py`.

    python ops/checker.py FOLDER --journal FILE … [--json]

Exit code 0: everything held. 1: something did not, and it is named. 2: the input is incomplete, so nothing can be said.

    I1 no loss · I2 no invention · I3 one command, one outcome · I4 all events of a command or none · I5 versions,
    sequences, hash chain, store = topic byte for byte · I6 view = fold · I10 authority · I11 what is wrong is refused as
    what it is · I12 time · SIG signatures of events and refusals
"""

import argparse
import base64
import binascii
import hashlib
import json
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

ZERO_HASH = "0" * 64
NAMESPACE = uuid.UUID("6ba8c1de-52cc-5f3e-9d55-0a3c4d1f7e21")
LARGEST_RECORD = 60_000
STRANGERS_KEPT = 1_000
"""Of a shard's refused commands that nobody registered sent, the bytes of so many stay: the newest."""
KEY_DAYS, SHOWN = 366, 12
CLOCK_TOLERANCE_SECONDS = 5.0
"""Client and store have clocks of their own, and a decision is a moment older than its record."""

_ROLES = {
    "identity.root": "identity.Found",
    "identity.registrar": "identity.ProposeKey identity.ApproveKey identity.WithdrawRole identity.RevokeKey "
    "identity.ProposeEnd identity.ApproveEnd",
    "identity.self": "identity.RotateKey identity.WithdrawRole identity.RevokeKey",
    "providers.gpu": "providers.RegisterProvider providers.DrainProvider providers.ResumeProvider providers.Leave "
    "providers.DeclareOffer providers.WithdrawOffer",
    "providers.process": "providers.NoteStanding providers.BindGpu providers.SuspendOffer providers.ReinstateOffer",
    "providers.catalogue": "providers.ListModel providers.DelistModel",
    "liveness.collector": "liveness.RecordHeartbeats",
    "liveness.clock": "liveness.ExcuseSlots liveness.CloseEpoch",
    "custody.process": "custody.CreateKey custody.Shred",
    "audit.officer": "audit.PlaceHold audit.ReleaseHold audit.OrderErasure",
    "audit.process": "audit.NoteKey audit.ResumeErasure audit.ConfirmErasure",
    "audit.publisher": "audit.PublishSchema",
    "audit.clock": "audit.ExpireRetention",
    "audit.reader": "audit.RecordRead audit.RecordPack audit.ReportTampering",
    "audit.sequencer": "audit.HaltShard audit.RecordServed audit.ReportTampering",
    "audit.operator": "audit.ResumeShard",
    "audit.keyholder": "audit.AddWitness audit.RetireWitness audit.RotateLogKey",
    "inference.arbiter": "inference.ResolveDispute",
    "inference.gpu": "inference.SubmitReceipt",
    "inference.oracle": "inference.RefuteReceipt",
    "inference.process": "inference.SettleReceipt inference.NotePayment inference.CloseRequest",
    "inference.router": "inference.OpenRequest inference.StartAttempt inference.EndAttempt inference.CloseRequest",
    "rewards.governor": "rewards.DeclareGenesis rewards.AllotGrant rewards.ReturnGrant rewards.CreateGrant rewards.RevokeGrant",
    "rewards.process": "rewards.OpenYear rewards.MintEpoch rewards.ReturnGrant rewards.Issue rewards.RecordBurn "
    "rewards.Release rewards.OpenEpoch rewards.CloseEpoch rewards.DivideOracleShare "
    "rewards.PublishRoot rewards.Accrue rewards.Pay rewards.Earn rewards.LapseEscrow",
    "rewards.registrar": "rewards.ReachMilestone rewards.RegisterOwner",
    "rewards.relayer": "rewards.ConfirmRoot rewards.RecordClaim",
    "rewards.settler": "rewards.SplitFee rewards.TakeFee",
    "staking.council": "staking.ResolveAppeal",
    "staking.holder": "staking.RequestUnstake staking.CancelUnstake staking.Withdraw staking.RegisterDevice "
    "staking.DeregisterDevice staking.ResumeDevice staking.Dispute staking.Appeal staking.Drip",
    "staking.member": "staking.ProveEquivocation",
    "staking.oracle": "staking.Attest",
    "staking.process": "staking.Stake staking.RequestUnstake staking.HoldForCase staking.ReleaseHold staking.Slash "
    "staking.Tombstone staking.AdmitDevice staking.DeclineDevice staking.SuspendDevice "
    "staking.OpenCase staking.ProveEquivocation staking.ProveRefutation staking.PostBond "
    "staking.ResolveDispute staking.ExecuteCase staking.LapseCase staking.ClaimSerial "
    "staking.FreeSerial staking.CountDrip staking.ReviewTier",
    "staking.relayer": "staking.Observe",
    "treasury.attestor": "treasury.AttestReserves treasury.Reconcile",
    "treasury.burner": "treasury.Burn",
    "treasury.cashier": "treasury.ObserveDeposit treasury.SettleDeposit treasury.DisputeDeposit treasury.CloseDispute "
    "treasury.ConfirmPayout treasury.ReturnPayout",
    "treasury.gateway": "treasury.Hold",
    "treasury.governor": "treasury.ConfigureMinter treasury.RemoveMinter",
    "treasury.holder": "treasury.RequestWithdrawal treasury.CancelWithdrawal treasury.Hold",
    "treasury.minter": "treasury.Mint",
    "treasury.pauser": "treasury.PauseMinting",
    "treasury.process": "treasury.ReceiveBacking treasury.WriteDownBacking treasury.MarkIssued treasury.RefundDeposit "
    "treasury.CancelWithdrawal treasury.RouteWithdrawal treasury.LapseReview treasury.FundWithdrawal "
    "treasury.SubmitPayout treasury.ReissueWithdrawal treasury.ReserveOutflow treasury.ReleaseOutflow "
    "treasury.OpenAccount treasury.Credit treasury.Debit treasury.Hold treasury.Capture "
    "treasury.Release treasury.ExpireHold treasury.Freeze treasury.Unfreeze",
    "treasury.relayer": "treasury.ConfirmMint treasury.FailMint treasury.EscrowWithdrawal",
    "treasury.reviewer": "treasury.ResumeMinting treasury.AssignDeposit treasury.ReviewWithdrawal treasury.Freeze "
    "treasury.Unfreeze treasury.CloseBreak treasury.Adjust treasury.ApproveAdjustment",
}
ROLES = {kind: tuple(r for r in _ROLES if kind in _ROLES[r].split()) for kinds in _ROLES.values() for kind in kinds.split()}
for _context in {role.partition(".")[0] for role in _ROLES}:
    ROLES |= {f"{_context}.{said}": (f"{_context}.process",) for said in ("AdoptParameter", "Halt", "Lift")}
"""From the specification. A command that is not here is counted as unjudged, and an unjudged command is a failure."""


class InputError(Exception):
    """What is given cannot be judged: it is cut short, or is no dump of this system."""


# The written format, once more from its description.


def pae(value: bytes) -> bytes:
    return b"DSSEv1 28 application/cloudevents+json %d " % len(value) + value


def sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def derived_id(actor: str, causation: str, what: object) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{actor}\n{causation}\n{what}"))


def murmur2(key: bytes) -> int:
    """As Kafka's Java clients hash a key; the partition is this modulo their number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if tail := key[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


def covers(prefix: str, subject: str) -> bool:
    """`a/` covers what begins with it, `a/b/c` that stream only, an older `a/b` what begins with `a/b/`."""
    if not prefix or prefix[-1] in "/.":
        return subject.startswith(prefix)
    return subject == prefix or (prefix.count("/") < 2 and subject.startswith(prefix + "/"))


_BASE58 = {c: n for n, c in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}


@cache
def _ed25519_key(did: str) -> VerifyKey | None:
    number = 0
    for character in did.removeprefix("did:key:z"):
        number = number * 58 + _BASE58.get(character, 0)
    raw = number.to_bytes(34, "big") if number.bit_length() <= 272 else b""
    return VerifyKey(raw[2:]) if raw[:2] == b"\xed\x01" else None


def signed(did: str, value: bytes, signature: str | None) -> bool:
    """Whether the key of that DID signed the value."""
    form, _, text = (signature or "").partition(":")
    try:
        if form == "ed25519" and (key := _ed25519_key(did)):
            key.verify(pae(value), base64.urlsafe_b64decode(text + "=="))
            return base64.urlsafe_b64encode(base64.urlsafe_b64decode(text + "==")).rstrip(b"=").decode() == text
        if form == "eip191":
            raw = bytes.fromhex(text.removeprefix("0x"))
            inner = sha256(pae(value)).encode()
            digest = keccak256(b"\x19Ethereum Signed Message:\n64" + inner)
            return len(raw) == 65 and recovered(digest, raw) == did.rpartition(":")[2]
    except (ValueError, BadSignatureError, binascii.Error):
        pass
    return False


_P, _N = 2**256 - 2**32 - 977, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_Point = tuple[int, int] | None


def _add(a: _Point, b: _Point) -> _Point:
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % _P == 0:
        return None
    slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, _P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, _P)
    x = (slope * slope - a[0] - b[0]) % _P
    return x, (slope * (a[0] - x) - a[1]) % _P


def _times(k: int, point: _Point) -> _Point:
    found: _Point = None
    while k:
        if k & 1:
            found = _add(found, point)
        point, k = _add(point, point), k >> 1
    return found


def recovered(digest: bytes, signature: bytes) -> str:
    """The address whose secp256k1 key made the recoverable signature (r, s, v = 27 or 28)."""
    r, s, odd = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big"), signature[64] - 27
    if not 0 < r < _N or not 0 < s <= _N // 2 or odd not in (0, 1):
        raise ValueError("no signature")
    y = pow(r**3 + 7, (_P + 1) // 4, _P)
    point = (r, y if y & 1 == odd else _P - y)
    inverse = pow(r, -1, _N)
    key = _add(_times(s * inverse % _N, point), _times(-int.from_bytes(digest, "big") * inverse % _N, _G))
    if key is None:
        raise ValueError("no key")
    return "0x" + keccak256(key[0].to_bytes(32, "big") + key[1].to_bytes(32, "big"))[-20:].hex()


def _keccak_rounds() -> Iterator[int]:
    register = 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            constant |= (register & 1) << ((1 << j) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)
        yield constant


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash: Keccak before NIST changed its padding."""
    lanes = [[0] * 5 for _ in range(5)]
    mask = 2**64 - 1
    padded = bytearray(data + b"\x01" + b"\x00" * ((-len(data) - 1) % 136))
    padded[-1] |= 0x80
    for start in range(0, len(padded), 136):
        for n in range(17):
            lanes[n % 5][n // 5] ^= int.from_bytes(padded[start + 8 * n : start + 8 * n + 8], "little")
        for constant in _keccak_rounds():
            columns = [lanes[x][0] ^ lanes[x][1] ^ lanes[x][2] ^ lanes[x][3] ^ lanes[x][4] for x in range(5)]
            turned = [(c << 1 | c >> 63) & mask for c in columns]
            lanes = [[lane ^ columns[x - 1] ^ turned[(x + 1) % 5] for lane in lanes[x]] for x in range(5)]
            x, y, current = 1, 0, lanes[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                shift = (t + 1) * (t + 2) // 2 % 64
                lanes[x][y], current = (current << shift | current >> (64 - shift)) & mask, lanes[x][y]
            rows = [[lanes[x][y] ^ (~lanes[(x + 1) % 5][y] & lanes[(x + 2) % 5][y]) for y in range(5)] for x in range(5)]
            rows[0][0] ^= constant
            lanes = rows
    return b"".join(lanes[n][0].to_bytes(8, "little") for n in range(4))


# What was found.


class Problem(NamedTuple):
    invariant: str
    kind: str
    where: str
    text: str


KINDS = ("lost", "duplicated", "out_of_order", "invented", "altered", "unauthorised", "view", "time", "unexpected")


@dataclass
class Report:
    """What did not hold, and how much was looked at."""

    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        kinds = Counter(problem.kind for problem in self.problems)
        broken = Counter(problem.invariant for problem in self.problems)
        looked = (
            "commands", "accepted", "refused", "let_go", "events", "records", "repeats", "views", "parked", "journalled",
            "unknown",
        )  # fmt: skip
        return {
            "ok": not self.problems,
            **{name: self.counts[name] for name in looked},
            **{kind: kinds[kind] for kind in KINDS},
            "broken": dict(sorted(broken.items())),
        }


class Fact(NamedTuple):
    """An event of the store, without its bytes."""

    shard: str
    sequence: int
    id: str
    version: int
    commandhash: str


class Decision(NamedTuple):
    """A stored command with its outcome."""

    shard: str
    number: int
    identity: str
    hash: str
    outcome_hash: str
    accepted: bool
    refusal: str
    time: str
    stream: str
    versions: tuple[int, ...]


@dataclass(slots=True)
class Change:
    """Something that changed what a key may do. `number` is that of the outcome in its shard."""

    time: str
    shard: str
    sequence: int
    key: str
    role: str | None
    prefix: str = ""
    not_after: str = ""
    """Empty: taken away. A role of None: the key as a whole."""
    number: int = -1
    is_limit: bool = False
    """It ends then, or before, where it ends before anyway."""


# Judging.


class Judge:
    """Reads the dumps in the order store, topics, views, journals; everything it holds against them is its own fold."""

    def __init__(self, folder: Path, journals: Iterable[Path] = (), made_anew: Iterable[str] = (), sources: Iterable[str] = ()):
        self.folder, self.journals = folder, list(journals)
        self.made_anew, self.trusted = set(made_anew), set(sources)
        self.report = Report()
        self.shards: dict[int, dict[str, Any]] = {}
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self.stored: dict[str, dict[int, tuple[str, str | None]]] = defaultdict(dict)
        """Of every record of a shard: the hash of its value, and its signature."""
        self.heads: dict[str, tuple[int, str, str]] = {}
        self.versions: Counter[str] = Counter()
        self.caused: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        self.decisions: dict[str, list[Decision]] = defaultdict(list)
        self.known: dict[str, Decision] = {}
        self.changes: dict[str, list[Change]] = defaultdict(list)
        self.asked: list[tuple[Decision, str, str, dict[str, Any]]] = []
        self.registry = KeyRegistry()
        self.numbers: dict[tuple[str, int], int] = {}
        self.strangers: Counter[str] = Counter()
        """By shard, of how many refused commands of strangers the bytes are there."""
        self.let_go: dict[str, str] = {}
        """By shard, the last of which they are not."""

    def judge(self) -> Report:
        self._read_genesis()
        self._read_store()
        self._compare_shards()
        self._judge_authority()
        self._read_topics()
        self._read_views()
        self._read_journals()
        return self.report

    def _say(self, invariant: str, kind: str, where: str, text: str) -> None:
        self.report.problems.append(Problem(invariant, kind, where, text))

    # the genesis

    def _read_genesis(self) -> None:
        try:
            genesis = json.loads((self.folder / "genesis.json").read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"genesis.json: {error}") from None
        self.network: str = genesis["network"]
        self.writers = set()
        grants = [(first, role) for first in genesis["keys"] for role in first["roles"]]
        for n, (first, role) in enumerate(grants):
            change = Change("", "genesis", n, first["key"], role["role"], role["prefix"], first["not_after"])
            self.changes[first["key"]].append(change)
            if role["role"] == "store.writer":
                self.writers.add(first["key"])

    # the store

    def _read_store(self) -> None:
        readers: dict[str, Callable[[dict[str, Any]], None]] = {
            "shards": self._shard, "events": self._event, "commands": self._command,
        }  # fmt: skip
        for row in _lines(self.folder / "store.jsonl"):
            if read := readers.get(row["table"]):
                self._read_row(row, read)
        for shard, where in self.let_go.items():
            if self.strangers[shard] < STRANGERS_KEPT:
                self._say("I1", "lost", where, f"is among the newest {STRANGERS_KEPT} of strangers, and its bytes were let go")
        for (actor, causation), facts in self.caused.items():
            where = f"{facts[0].shard}:{facts[0].sequence}"
            self._say("I2", "invented", where, f"no accepted command {causation} of {actor} in this place caused it")

    def _read_row(self, row: dict[str, Any], read: Callable[[dict[str, Any]], None]) -> None:
        try:
            read(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # Something in it has another name or form than the format says.
            name, number = ("commands", "number") if row["table"] == "commands" else ("events", "sequence")
            invariant = "I3" if name == "commands" else "I5"
            where = f"{name} of shard {row.get('shard')}:{row.get(number)}"
            self._say(invariant, "altered", where, f"is no record of this format: {error!r}")

    def _shard(self, row: dict[str, Any]) -> None:
        self.shards[row["id"]] = self.rows[row["context"], row["partition"]] = row
        self.partitions = max(getattr(self, "partitions", 0), row["partition"] + 1)

    def _name(self, row: dict[str, Any], kind: str) -> str:
        shard = self.shards.get(row["shard"])
        if shard is None:
            raise InputError(f"store.jsonl has a row of shard {row['shard']}, and no such shard before it")
        return f"{shard['context']}.{kind}/{shard['partition']}"

    def _event(self, row: dict[str, Any]) -> None:
        self.report.counts["events"] += 1
        shard, value, sequence = self._name(row, "events"), _bytes(row["value"]), row["sequence"]
        where = f"{shard}:{sequence}"
        document = self._parsed(value, where)
        if document is None:
            return
        expected, last_hash, last_time = self.heads.get(shard, (0, ZERO_HASH, ""))
        self._in_sequence(where, sequence, expected)
        self.heads[shard] = (max(sequence + 1, expected), sha256(value), document["time"])
        if document["prevhash"] != last_hash:
            self._say("I5", "out_of_order", where, "prevhash is not the hash of the record before it")
        if document["time"] < last_time:
            self._say("I12", "time", where, f"its time {document['time']} is before that of its predecessor, {last_time}")
        self._event_agrees(row, document, shard, where)
        self._in_stream(row, where)
        self._by_the_writer(where, document["source"], value, row["signature"])
        self.stored[shard][sequence] = (sha256(value), row["signature"])
        fact = Fact(shard, sequence, document["id"], row["version"], document["commandhash"])
        self.caused[document["actor"], document["causationid"]].append(fact)
        if document["type"].startswith("identity."):
            self._identity_event(document, shard, sequence)

    def _parsed(self, value: bytes, where: str) -> dict[str, Any] | None:
        try:
            document = json.loads(value)
            moment(document["time"])
            if isinstance(document["data"], dict) and isinstance(document["sequence"], str):
                return document  # type: ignore[no-any-return]
        except (ValueError, KeyError, TypeError):
            pass
        self._say("I5", "altered", where, "is no record of this format")
        return None

    def _in_sequence(self, where: str, number: int, expected: int) -> None:
        if number > expected:
            self._say("I1", "lost", where, f"{number - expected} records are missing before it")
        elif number < expected:
            self._say("I3", "duplicated", where, "its number is used already")

    def _event_agrees(self, row: dict[str, Any], document: dict[str, Any], shard: str, where: str) -> None:
        subject, kind = document["subject"], document["type"]
        same = {
            "specversion": ("1.0", document["specversion"]), "network": (self.network, document["network"]),
            "shard": (shard, document["shard"]), "sequence": (f"{row['sequence']:020d}", document["sequence"]),
            "subject": (row["stream"], subject), "streamversion": (row["version"], document.get("streamversion")),
            "type": (row["type"], kind), "context": (shard.partition(".")[0], kind.partition(".")[0]),
            "partition": (int(shard.rpartition("/")[2]), murmur2(subject.encode()) % self.partitions),
            "dataschema": (f"urn:spaceos:{kind}", document["dataschema"].rpartition(":")[0]),
        }  # fmt: skip
        for name, (wanted, is_now) in same.items():
            if wanted != is_now:
                self._say("I5", "altered", where, f"{name} is {is_now!r}, not {wanted!r}")

    def _in_stream(self, row: dict[str, Any], where: str) -> None:
        self.versions[row["stream"]] += 1
        if row["version"] != self.versions[row["stream"]]:
            text = f"version {row['version']} of {row['stream']}, {self.versions[row['stream']]} would follow"
            self._say("I5", "out_of_order", where, text)
            self.versions[row["stream"]] = row["version"]

    def _by_the_writer(self, where: str, source: str, value: bytes, signature: str | None) -> None:
        if source not in self.writers:
            self._say("SIG", "unauthorised", where, f"{source} is no writer of the genesis")
        elif not signed(source, value, signature):
            self._say("SIG", "altered", where, "the writer did not sign these bytes")

    def _identity_event(self, document: dict[str, Any], shard: str, sequence: int) -> None:
        self.registry.apply(document)
        for key, role, prefix, not_after, is_limit in authority_changes(document):
            self.changes[key].append(Change(document["time"], shard, sequence, key, role, prefix, not_after, is_limit=is_limit))

    def _command(self, row: dict[str, Any]) -> None:
        self.report.counts["commands"] += 1
        shard, number, outcome = self._name(row, "outcomes"), row["number"], _bytes(row["outcome"])
        where = f"{shard}:{number}"
        document = self._parsed(outcome, where)
        if document is None:
            return
        before = self.decisions[shard]
        self._in_sequence(where, number, before[-1].number + 1 if before else 0)
        if before and document["time"] < before[-1].time:
            self._say("I12", "time", where, "its time is before that of its predecessor")
        data, value = document["data"], _bytes(row["command"])
        accepted = document["type"].endswith(".Accepted")
        decision = Decision(
            shard, number, row["identity"], row["hash"], sha256(outcome), accepted,
            "" if accepted else data["refusal"]["name"], document["time"], row["subject"],
            tuple(event["streamversion"] for event in data.get("events", ())),
        )  # fmt: skip
        before.append(decision)
        self.stored[shard][number] = (decision.outcome_hash, row["outcome_signature"])
        if row["identity"] in self.known:
            self._say("I3", "duplicated", where, f"{row['identity']} has an outcome already")
        self.known[row["identity"]] = decision
        self._outcome_agrees(row, document, value, where)
        if accepted:
            self._accepted(row, document, decision, value, where)
        else:
            self._refused(row, document, decision, outcome, value, where)

    def _outcome_agrees(self, row: dict[str, Any], document: dict[str, Any], value: bytes, where: str) -> None:
        causation, actor = document["causationid"], document["actor"]
        shard = where.rpartition(":")[0]
        same = {
            "shard": (shard, document["shard"]), "sequence": (f"{row['number']:020d}", document["sequence"]),
            "subject": (row["subject"], document["subject"]), "network": (self.network, document["network"]),
            "type": (shard.partition(".")[0], document["type"].partition(".")[0]),
            "commandhash": (row["hash"], document["data"]["commandhash"]),
            "identity": (row["identity"], f"{causation} {actor}" if "@" not in causation and actor else causation),
            "id": (derived_id(actor, causation, "outcome"), document["id"]),
        }  # fmt: skip
        for name, (wanted, is_now) in same.items():
            if wanted != is_now:
                self._say("I3", "altered", where, f"{name} of the outcome is {is_now!r}, not {wanted!r}")
        if _is_let_go(row):
            self._let_go(document, value, where)
        elif len(value) < LARGEST_RECORD and sha256(value) != row["hash"]:
            self._say("I5", "altered", where, "the stored command is not the one whose hash was decided")
        if row.get("kept"):
            self.strangers[where.rpartition(":")[0]] += 1

    def _let_go(self, document: dict[str, Any], value: bytes, where: str) -> None:
        """Only what strangers sent may be without its bytes, and nothing of what the newest of them sent."""
        self.report.counts["let_go"] += 1
        shard = where.rpartition(":")[0]
        known = any(change.time < document["time"] for change in self.changes.get(document["actor"], ()))
        if known or document["type"].endswith(".Accepted"):
            self._say("I1", "lost", where, "the command's bytes were let go, and they were not a stranger's")
        if value:
            self._say("I5", "altered", where, "the command's bytes were let go, and are there")
        if self.strangers[shard]:
            self._say("I1", "lost", where, "the command's bytes were let go, and those of an older one were not")
        self.let_go[shard] = where

    def _accepted(self, row: dict[str, Any], document: dict[str, Any], decision: Decision, value: bytes, where: str) -> None:
        self.report.counts["accepted"] += 1
        actor, causation = document["actor"], document["causationid"]
        command = self._genuine(value, row["signature"], row["subject"], where)
        if command is not None:
            if (command["source"], command["id"]) != (actor, causation):
                self._say("I2", "invented", where, "the outcome names another source or id than the command")
            if command.get("expires") and self._seconds_after(document["time"], command["expires"]) > CLOCK_TOLERANCE_SECONDS:
                self._say("I12", "time", where, f"accepted at {document['time']}, expired at {command['expires']}")
            self.asked.append((decision, actor, command["type"], document["data"]))
        self._events_of(actor, causation, document, decision, where)

    @staticmethod
    def _seconds_after(later: str, earlier: str) -> float:
        return (moment(later) - moment(earlier)).total_seconds()

    def _genuine(self, value: bytes, signature: str, subject: str, where: str) -> dict[str, Any] | None:
        """The accepted command, if a client signed it for here."""
        try:
            command: dict[str, Any] = json.loads(value)
            proper = command["network"] == self.network and command["subject"] == subject
            proper = proper and murmur2(subject.encode()) % self.partitions == int(where.rpartition(":")[0].rpartition("/")[2])
            proper = proper and command["type"].partition(".")[0] == where.partition(".")[0]
            source = command["source"]
        except (ValueError, KeyError, TypeError):
            return self._no_command(where)
        if not proper:
            return self._no_command(where, command)
        if not signed(source, value, signature):
            self._say("SIG", "unauthorised", where, f"accepted, although {source} did not sign it")
        return command

    def _no_command(self, where: str, command: dict[str, Any] | None = None) -> dict[str, Any] | None:
        self._say("I2", "invented", where, "accepted, although it is no command for this place")
        return command

    def _events_of(self, actor: str, causation: str, document: dict[str, Any], decision: Decision, where: str) -> None:
        found = self.caused.pop((actor, causation), [])
        named = [(e["shard"], e["sequence"], e["id"], e["streamversion"]) for e in document["data"]["events"]]
        stored = [(fact.shard, fact.sequence, fact.id, fact.version) for fact in found]
        if missing := [event for event in named if event not in stored]:
            self._say("I1", "lost", where, f"accepted with {len(named)} events, of which the store lacks {missing[0]}")
        if surplus := [event for event in stored if event not in named]:
            self._say("I3", "duplicated", where, f"the store has an event of it that its outcome does not name: {surplus[0]}")
        if [fact.sequence for fact in found] != list(range(found[0].sequence, found[0].sequence + len(found)) if found else ()):
            self._say("I4", "out_of_order", where, "its events do not follow each other")
        for ordinal, fact in enumerate(found):
            if fact.commandhash != decision.hash:
                self._say("I2", "invented", where, f"event {fact.shard}:{fact.sequence} names another command's hash")
            if fact.id != derived_id(actor, causation, ordinal):
                self._say("I3", "altered", where, f"event {fact.shard}:{fact.sequence} has an id that does not follow")
            self.numbers[fact.shard, fact.sequence] = decision.number

    def _refused(
        self, row: dict[str, Any], document: dict[str, Any], decision: Decision, outcome: bytes, value: bytes, where: str
    ) -> None:
        self.report.counts["refused"] += 1
        self.report.counts[f"refused {decision.refusal}"] += 1
        self._by_the_writer(where, document["source"], outcome, row["outcome_signature"])
        if found := self.caused.pop((document["actor"], document["causationid"]), []):
            self._say("I4", "invented", where, f"refused, but the store has {len(found)} events of it")
        if _is_let_go(row):
            return
        refusal = document["data"]["refusal"]
        if decision.refusal in {"Revoked", "NotInRole", "OutOfPrefix"} and refusal.get("field") == "source":
            command = json.loads(value)
            self.asked.append((decision, document["actor"], command["type"], {}))
        if decision.refusal == "BadSignature" and row["signature"]:
            command = json.loads(value)
            if signed(command["source"], value, row["signature"]):
                self._say("I1", "lost", where, "refused as badly signed, but the signature is right")

    def _compare_shards(self) -> None:
        for row in self.shards.values():
            events, outcomes = (f"{row['context']}.{kind}/{row['partition']}" for kind in ("events", "outcomes"))
            count, last_hash, _ = self.heads.get(events, (0, ZERO_HASH, ""))
            if (row["next_sequence"], row["last_hash"]) != (count, last_hash):
                text = f"the counter row says {row['next_sequence']}, the last event is {count - 1} or has another hash"
                self._say("I5", "lost" if row["next_sequence"] > count else "out_of_order", events, text)
            decided = self.decisions[outcomes][-1].number + 1 if self.decisions[outcomes] else 0
            if row["next_outcome"] != decided:
                self._say("I5", "lost", outcomes, f"the counter row says {row['next_outcome']}, there are {decided}")

    # authority

    def _judge_authority(self) -> None:
        for changes in self.changes.values():
            for change in changes:
                change.number = self.numbers.get((change.shard, change.sequence), -1)
            changes.sort(key=lambda change: (change.time, change.shard, change.sequence))
        for decision, source, kind, data in self.asked:
            where = f"{decision.shard}:{decision.number}"
            if kind not in ROLES:
                self._say("I10", "unexpected", where, f"no role is known here for {kind}")
                continue
            verdicts = {self._held(decision, source, ROLES[kind], with_ties) for with_ties in (False, True)}
            if decision.accepted and True not in verdicts:
                self._say("I10", "unauthorised", where, f"{source} had no role for {kind} at {decision.time}")
            if not decision.accepted and False not in verdicts:
                self._say("I10", "lost", where, f"refused as {decision.refusal}, but {source} had a role for {kind}")
            for position in data.get("authority", ()):
                self._relied_on(position, source, where)

    def _held(self, decision: Decision, source: str, roles: tuple[str, ...], with_ties: bool) -> bool:
        """Whether the source had one of the roles. Equal times in two shards may be either way round."""
        grants: dict[tuple[str, str], str] = {}
        for change in self.changes.get(source, ()):
            if not self._precedes(change, decision, with_ties):
                continue
            if change.role is None:
                return False
            place = (change.role, change.prefix)
            if change.is_limit:
                if place in grants:
                    grants[place] = min(grants[place], change.not_after, key=moment)
            elif change.not_after:
                grants[place] = change.not_after
            else:
                grants.pop((change.role, change.prefix), None)
        is_own = "identity.self" in roles and decision.stream == f"identity/key/{source}"
        return any(
            (is_own or (role in roles and covers(prefix, decision.stream)))
            and self._seconds_after(decision.time, until) <= CLOCK_TOLERANCE_SECONDS
            for (role, prefix), until in grants.items()
        )

    @staticmethod
    def _precedes(change: Change, decision: Decision, with_ties: bool) -> bool:
        if change.time != decision.time:
            return change.time < decision.time
        if change.shard.replace(".events/", ".outcomes/") == decision.shard:
            return change.number < decision.number
        return with_ties

    def _relied_on(self, position: dict[str, Any], source: str, where: str) -> None:
        place = (position["shard"], position["sequence"])
        if place not in {(change.shard, change.sequence) for change in self.changes.get(source, ())}:
            self._say("I10", "unauthorised", where, f"it relies on {place[0]}:{place[1]}, which says nothing of {source}")

    # the topics

    def _read_topics(self) -> None:
        self._wanted: Counter[str] = Counter()
        self._seen: dict[str, int] = {}
        self._there: dict[str, set[int]] = defaultdict(set)
        for record in _lines(self.folder / "topics.jsonl"):
            self.report.counts["records"] += 1
            topic, partition = record["topic"], record["partition"]
            if topic.endswith(".commands"):
                self._delivered(record)
            else:
                self._published(record, f"{topic}/{partition}")
        for shard, stored in self.stored.items():
            if self._wanted[shard] < len(stored):
                text = f"in order it holds the first {self._wanted[shard]} of the store's {len(stored)} records"
                missing = len(stored.keys() - self._there[shard])
                self._say("I1" if missing else "I5", "lost" if missing else "out_of_order", shard, f"{text}; {missing} missing")

    def _published(self, record: dict[str, Any], shard: str) -> None:
        value, where = _bytes(record["value"] or ""), f"{shard}@{record['offset']}"
        document = self._parsed(value, where)
        if document is None:
            return
        number = int(document["sequence"])
        known = self.stored[shard].get(number)
        headers = {name: _bytes(text).decode("utf-8", "replace") for name, text in record["headers"]}
        if known is None:
            self._say("I5", "invented", where, f"the topic holds {number}, which the store does not have")
        elif known[0] != sha256(value):
            self._say("I5", "altered", where, f"{number} has other bytes than in the store")
        elif known[1] != headers.get("signature"):
            self._say("SIG", "altered", where, f"{number} has another signature than in the store")
        if _bytes(record["key"] or "") != document["subject"].encode():
            self._say("I5", "altered", where, "its key is not its subject")
        self._advance(shard, number, where)

    def _advance(self, shard: str, number: int, where: str) -> None:
        seen = self._seen.get(shard, -1)
        if number > seen + 1 and shard.partition("/")[0] not in self.made_anew:
            self._say("I5", "out_of_order", where, f"{number} comes where {seen + 1} should")
        self.report.counts["repeats"] += number in self._there[shard]
        self._there[shard].add(number)
        self._seen[shard] = max(seen, number)
        self._wanted[shard] += number == self._wanted[shard]

    def _place(self, at: dict[str, Any]) -> str:
        """Under which a record without a believable id is recorded."""
        row = self.rows.get((at["topic"].removesuffix(".commands"), at["partition"]), {"incarnation": 0})
        anew = f"#{row['incarnation']}" if row["incarnation"] else ""
        return f"{at['topic']}/{at['partition']}@{at['offset']}{anew}"

    def _delivered(self, record: dict[str, Any]) -> None:
        """A record of a commands topic has one outcome: under its own id, or under its place where it bears none."""
        partition, offset = record["partition"], record["offset"]
        row, place = self.rows.get((record["topic"].removesuffix(".commands"), partition)), self._place(record)
        if row is None or offset >= row["position"]:
            self._say("I1", "lost", place, "was delivered and never decided")
            return
        value = _bytes(record["value"] or "")
        by_place, by_id = self.known.get(place), self.known.get(_claimed(value))
        if by_place is not None and by_place.hash != sha256(value):
            self._say("I3", "altered", place, "its outcome is that of other bytes")
        if by_place is None and (by_id is None or by_id.hash != sha256(value)):
            self._say("I1", "lost", place, "has no outcome, neither under its id nor under its place")

    # the views

    def _read_views(self) -> None:
        path = self.folder / "views.jsonl"
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in _lines(path) if path.exists() else ():
            rows[row.pop("table")].append(row)
        readers = {row["reader"] for row in rows["positions"]}
        parked = {(row["reader"], row["shard"], row["sequence"]) for row in rows["parked"]}
        self.report.counts["parked"] = len(parked)
        for reader, shard, sequence in sorted(parked):
            self._say("I6", "view", f"{reader} {shard}:{sequence}", "is parked")
        for row in rows["positions"]:
            self._position(row)
        for reader in readers:
            shards = {row["shard"] for row in rows["positions"] if row["reader"] == reader}
            for shard in self.heads.keys() - shards:
                if any(shard.partition("/")[0] == read.partition("/")[0] for read in shards):
                    self._say("I6", "lost", f"{reader} {shard}", "was never read")
        self.report.counts["views"] = len(readers)
        if "key_registry" in readers:
            self._same_rows("identity_keys", self.registry.keys.values(), rows["identity_keys"], ("key",))
            of = ("key", "role", "prefix", "sequence")
            self._same_rows("identity_roles", self.registry.roles.values(), rows["identity_roles"], ("given_in", *of))
            self._same_rows("identity_ends", self.registry.ends.values(), rows["identity_ends"], ("ended_in", *of))

    def _position(self, row: dict[str, Any]) -> None:
        where = f"{row['reader']} {row['shard']}"
        if ".events/" not in row["shard"]:
            return
        count, last_hash, _ = self.heads.get(row["shard"], (0, ZERO_HASH, ""))
        if row["next"] < count:
            self._say("I6", "lost", where, f"has applied {row['next']} of {count} events")
        elif row["next"] > count:
            self._say("I6", "invented", where, f"has applied {row['next']} events, the store has {count}")
        elif row["last_hash"] != last_hash:
            self._say("I6", "altered", where, "the event that it applied last has another hash than in the store")

    def _same_rows(
        self, table: str, folded: Iterable[dict[str, Any]], found: Iterable[dict[str, Any]], key: tuple[str, ...]
    ) -> None:
        wanted = {tuple(row[name] for name in key): row for row in folded}
        there = {tuple(row[name] for name in key): row for row in found}
        for name in sorted(wanted.keys() | there.keys(), key=str):
            mine, theirs = wanted.get(name), there.get(name)
            if mine != theirs:
                differing = [c for c in mine if mine[c] != theirs.get(c)] if mine and theirs else []
                text = f"differs in {', '.join(differing)}" if differing else "is missing" if mine else "should not be there"
                self._say(
                    "I6", "view", f"{table} {'/'.join(map(str, name))}", f"{text}: the fold says {mine}, the view {theirs}"
                )

    # the clients

    def _read_journals(self) -> None:
        asked: set[str] = set()
        calls: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
        for path in self.journals:
            for call in read_journal(path):
                self.report.counts["journalled"] += 1
                asked.add(call["hash"])
                self._called(call)
                decision = self._decision_of(call)
                if decision is not None and decision.versions:
                    calls[decision.stream].append((decision.versions[0], call["mono"], call.get("ended", float("inf"))))
        for stream, steps in calls.items():
            self._in_real_time(stream, steps)
        for decision in self.known.values() if self.journals else ():
            if decision.accepted and decision.hash not in asked and decision.identity.partition(" ")[2] not in self.trusted:
                self._say("I2", "invented", f"{decision.shard}:{decision.number}", "no client asked for it")

    def _decision_of(self, call: dict[str, Any]) -> Decision | None:
        names = [f"{call['id']} {call['source']}", *([self._place(call)] if call.get("offset") is not None else ())]
        # A topic that was made anew may hold another record at that offset.
        return next((known for name in names if (known := self.known.get(name)) and known.hash == call["hash"]), None)

    def _called(self, call: dict[str, Any]) -> None:
        where, decision, ended = f"client {call['client']} {call['n']}", self._decision_of(call), call["f"]
        self.report.counts["unknown"] += ended == "info"
        if decision is None:
            if call["topic"] not in self.made_anew and (ended != "info" or call.get("offset") is not None):
                self._say("I1", "lost", where, f"{call['id']} was acknowledged ({ended}), the store knows nothing of it")
            return
        told = (decision.outcome_hash, "ok" if decision.accepted else "fail")
        if ended != "info" and call["topic"] not in self.made_anew and told != (call["outcome"], ended):
            self._say("I3", "altered", where, f"was told another outcome of {call['id']} than the store has")
        wanted = call.get("expect")
        if wanted and (decision.refusal or "Accepted") not in wanted:
            text = f"{call['kind']} became {decision.refusal or 'Accepted'}, expected {' or '.join(wanted)}"
            self._say("I11", "unexpected", where, text)
        sent, heard = call["wall"] - CLOCK_TOLERANCE_SECONDS, call.get("heard", float("inf")) + CLOCK_TOLERANCE_SECONDS
        # An unreadable record is known by its place alone: the same bytes at that place of the topic before have its outcome.
        by_place = not call["id"] and call["topic"] in self.made_anew
        if not by_place and not sent <= moment(decision.time).timestamp() <= heard:
            self._say("I12", "time", where, f"decided at {decision.time}, outside of the time in which it was asked")

    def _in_real_time(self, stream: str, steps: list[tuple[int, float, float]]) -> None:
        """What was answered before another thing was asked comes before it in their stream."""
        latest = float("-inf")
        for version, asked, answered in sorted(steps):
            if answered < latest:
                self._say("I5", "out_of_order", stream, f"version {version} was answered before an earlier one was asked")
            latest = max(latest, asked)


def authority_changes(document: dict[str, Any]) -> Iterator[tuple[str, str | None, str, str, bool]]:
    """What an identity event changes: key, role, prefix, until when (empty: no longer), and whether that only shortens it."""
    data, kind = document["data"], document["type"].partition(".")[2]
    if kind == "Founded":
        until = (moment(document["time"]) + timedelta(days=KEY_DAYS)).isoformat()
        yield from ((root, "identity.registrar", "identity/", until, False) for root in data["roots"])
    elif kind == "KeyRegistered":
        yield from ((data["key"], g["role"], g["prefix"], data["not_after"], False) for g in data["roles"])
    elif kind == "KeyRotated":
        # In the first version one end stands for all roles.
        ends = [(g["role"], g["prefix"], g.get("not_after", data.get("not_after"))) for g in data["roles"]]
        yield from ((data["successor"], role, prefix, end, False) for role, prefix, end in ends)
        yield from ((data["key"], role, prefix, data["until"], True) for role, prefix, _ in ends)
    elif kind == "RoleWithdrawn":
        yield data["key"], data["role"], data["prefix"], "", False
    elif kind == "KeyRevoked":
        yield data["key"], None, "", "", False
        yield from ((end["key"], end.get("role"), end.get("prefix", ""), "", False) for end in data.get("ends", ()))


def _is_let_go(row: dict[str, Any]) -> bool:
    """Whether the row says that the command's bytes are not kept."""
    return row.get("kept") is not None and not row["kept"]


class KeyRegistry:
    """What the view `key_registry` must say, folded from the events by other hands."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.roles: dict[tuple[str, ...], dict[str, Any]] = {}
        self.ends: dict[tuple[str, ...], dict[str, Any]] = {}

    def apply(self, document: dict[str, Any]) -> None:
        kind, data = document["type"].partition(".")[2], document["data"]
        if kind == "KeyProposed" and self.keys.get(data["key"], {"state": "proposed"})["state"] == "proposed":
            self._key(document, "proposed", held_by=data["held_by"])
        elif kind == "KeyRegistered":
            self._key(document, "registered")
        elif kind == "KeyRotated":
            self._key(document, "rotated", successor=data["successor"])
        elif kind == "KeyRevoked":
            self._key(document, "revoked", reason=data["reason"], suspected_since=data.get("suspected_since"))
        for key, role, prefix, until, is_limit in authority_changes(document):
            place = {"key": key, "role": role or "", "prefix": prefix, "shard": document["shard"]}
            place |= {"sequence": int(document["sequence"])}
            stream, time = document["subject"].split("/", 2)[-1], document["time"]
            name = (stream, key, role or "", prefix, str(place["sequence"]))
            if until and not is_limit:
                not_after = rfc3339(until)
                self.roles[name] = {"given_in": stream, **place, "since": time, "not_after": not_after}
            else:
                self.ends[name] = {"ended_in": stream, **place, "said": time, "at": until or time}

    def _key(self, document: dict[str, Any], state: str, **values: Any) -> None:
        key = document["data"]["key"]
        fresh = {"held_by": "", "since": document["time"], "reason": None, "suspected_since": None, "successor": None}
        self.keys[key] = {**self.keys.get(key, {"key": key, **fresh}), "state": state, **values}


def rfc3339(text: str) -> str:
    """A time as the system writes it."""
    return moment(text).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


# Reading dumps and journals.

_bytes = base64.b64decode


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError("it is cut short")
                    yield json.loads(line)
                except ValueError as error:
                    raise InputError(f"{path}, line {number}: {error}") from None
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The calls of a client, each with how it ended. Raises InputError where the journal stops before the client did."""
    calls: dict[int, dict[str, Any]] = {}
    ended = False
    for line in _lines(path):
        if line["f"] == "invoke":
            calls[line["n"]] = {**line, "f": None, "client": path.stem}
        elif line["f"] == "sent":
            calls[line["n"]].update(partition=line["partition"], offset=line["offset"])
        elif line["f"] in ("ok", "fail", "info"):
            calls[line["n"]].update(f=line["f"], outcome=line.get("outcome"), ended=line["mono"], heard=line["wall"])
        elif line["f"] == "end":
            ended = True
    if not ended:
        raise InputError(f"{path} has no last line: the client did not come to its end")
    if open_calls := [n for n, call in calls.items() if call["f"] is None]:
        raise InputError(f"{path}: call {open_calls[0]} was never concluded")
    return list(calls.values())


def _claimed(value: bytes) -> str:
    try:
        document = json.loads(value)
        return f"{document['id']} {document['source']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


# The command line.


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the dumps are")
    parser.add_argument("--journal", type=Path, action="append", default=[], help="a client's journal; may be repeated")
    parser.add_argument("--made-anew", action="append", default=[], metavar="TOPIC", help="a topic that was deleted meanwhile")
    parser.add_argument("--source", action="append", default=[], metavar="DID", help="who asks without a journal")
    parser.add_argument("--json", action="store_true", help="one object on one line")
    options = parser.parse_args(arguments)
    try:
        report = Judge(options.folder, options.journal, options.made_anew, options.source).judge()
    except InputError as error:
        print(json.dumps({"ok": False, "error": str(error)}) if options.json else f"cannot judge: {error}")
        return 2
    _print(report, options.json)
    return 1 if report.problems else 0


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        shown = [f"{p.invariant} {p.kind} {p.where}: {p.text[:400]}" for p in report.problems[:SHOWN]]
        print(json.dumps({**report.summary(), "problems": shown}, separators=(",", ":")))
        return
    shown_of: Counter[str] = Counter()
    for problem in report.problems:
        shown_of[problem.invariant] += 1
        if shown_of[problem.invariant] <= SHOWN:
            print(f"{problem.invariant:>4} {problem.kind:<12} {problem.where}\n     {problem.text[:400]}")
    for name, count in report.summary().items():
        if name not in ("ok", "broken"):
            print(f"{name:>14} {count:>12,}")
    print(f"{len(report.problems)} problems" if report.problems else "every invariant held")


if __name__ == "__main__":
    sys.exit(main())
