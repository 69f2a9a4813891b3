"""The audit log's verifier, for whoever does not trust us: one file; Python 3.11, its standard library and PyNaCl.

    python auditverify.py PACK [--policy FILE] [--genesis FILE] [--since CHECKPOINT] [--head-age SECONDS] [--without-commands]
        [--json]

PACK is a proof pack or an export bundle (a zip), or the address of a live log (https://…). The policy (c2sp.org/tlog-policy:
the log's key, its witnesses, their quorum) and the genesis (the network's name and first keys) must not come from whoever
handed you the pack. CHECKPOINT is one that you kept: no history can be rewritten behind it.

Exit code 0: all that is claimed is verified. 1: tampering is shown; the check, entry and file that show it first are named.
2: usage. 3: inconclusive: something that is needed is missing or unknown, which is never the same as verified.
"""

import argparse
import base64
import hashlib
import json
import re
import time
import urllib.request
import uuid
import zipfile
from bisect import bisect_left
from collections import defaultdict, namedtuple
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

_IN_ORDER = """checkpoint consistency manifest entry inclusion signature writer authority once command network expired version
outcome follows context amount carried persons stream seal time asked sealed"""
CHECKS = _IN_ORDER.split()
FORMAT, EMPTY, ZERO = "spaceos-audit-pack/1", hashlib.sha256(b"").digest(), "0" * 64
NAMESPACE = uuid.UUID("6ba8c1de-52cc-5f3e-9d55-0a3c4d1f7e21")
WIDTH, LARGEST_RECORD, LARGEST_FILE, SHOWN = 256, 60_000, 2**28, 12
LARGEST_PACK, LARGEST_ANSWER, LAST_SECOND, HEAD_AGE = 2**31, 2**25, 253_402_300_799, 3_600  # the last second of the year 9999
KEY_LIFE, TOLERANCE, instant = timedelta(days=366), timedelta(seconds=5), datetime.fromisoformat
CLOCKS = timedelta(seconds=60)  # so much later than its cosignature may an event seem to be
TOP = re.compile(r"README|auditverify\.py|checkpoint|consistency|(erasures|manifest|opened|range)\.json")
BELOW = re.compile(r"[a-z]+/(0|[1-9][0-9]{0,14})(-[1-9][0-9]{0,14}|\.json|\.tlog-proof)?")
_LANGUAGE = """\
audit: PlaceHold officer HoldPlaced / ReleaseHold officer HoldReleased<HoldPlaced / NoteKey process KeyNoted / OrderErasure
officer ErasureProposed ErasureOrdered<ErasureProposed ErasureDeferred<ErasureProposed / ResumeErasure process ErasureOrdered
ErasureDeferred / ConfirmErasure process PersonErased / PublishSchema publisher SchemaPublished / ExpireRetention clock
RetentionExpired / RecordRead reader LogRead / RecordServed sequencer LogRead / RecordPack reader PackExported / AddWitness
keyholder LogChangeProposed WitnessAdded<LogChangeProposed / RetireWitness keyholder LogChangeProposed
WitnessRetired<LogChangeProposed / RotateLogKey keyholder LogChangeProposed LogKeyRotated<LogChangeProposed / HaltShard
sequencer ShardHalted / ResumeShard operator ShardResumed / ReportTampering reader,sequencer TamperingReported ; custody:
CreateKey process KeyCreated / Shred process KeyShredded ; identity: Found root Founded / ProposeKey registrar KeyProposed
KeyRegistered / ApproveKey registrar KeyApproved KeyRegistered<KeyProposed / RotateKey self KeyRotated / WithdrawRole
registrar,self RoleWithdrawn / RevokeKey registrar,self KeyRevoked / ProposeEnd registrar EndProposed /
ApproveEnd registrar EndApproved RoleWithdrawn<EndProposed KeyRevoked<EndProposed ;
inference: OpenRequest router RequestOpened RouteDecided
/ StartAttempt router AttemptStarted / EndAttempt router AttemptCompleted AttemptFailed AttemptCancelled / SubmitReceipt gpu
ReceiptMatched ReceiptDisputed / ResolveDispute arbiter DisputeResolved / RefuteReceipt oracle ReceiptRefuted / SettleReceipt
process ReceiptSettled / NotePayment process ReceiptPaid / CloseRequest process,router RequestClosed ; liveness:
RecordHeartbeats collector HeartbeatsRecorded / ExcuseSlots clock SlotsExcused / CloseEpoch clock EpochClosed ; operations:
StartRebuild operator RebuildStarted / SwapView operator ViewSwapped / AbandonRebuild operator RebuildAbandoned /
RetireVersion operator VersionRetired / ParkStream reader StreamParked / Redrive operator StreamRedriven / ConfirmDrained
reader StreamDrained / RunWhatIf analyst WhatIfRun / ReplayWindow analyst WindowReplayed / ExportRecords analyst
RecordsExported / DeclareProfile operator ProfileDeclared ; providers: RegisterProvider gpu ProviderRegistered /
DrainProvider gpu ProviderDraining / ResumeProvider gpu ProviderResumed / Leave gpu ProviderLeft / NoteStanding process
StandingNoted / BindGpu process GpuBound GpuContested / DeclareOffer gpu OfferDeclared / WithdrawOffer gpu OfferWithdrawn /
SuspendOffer process OfferSuspended / ReinstateOffer process OfferReinstated / ListModel catalogue ModelListed / DelistModel
catalogue ModelDelisted ; rewards: SplitFee settler FeeSplit / TakeFee settler FeeTaken / DeclareGenesis governor
GenesisDeclared Issued / OpenYear process EmissionYearOpened / MintEpoch process EpochMinted / AllotGrant governor
GrantAllotted / ReturnGrant governor,process GrantReturned / Issue process Issued / RecordBurn process SupplyBurned /
CreateGrant governor GrantCreated / ReachMilestone registrar MilestoneAttested MilestoneReached<MilestoneAttested / Release
process Released / RevokeGrant governor GrantRevoked / OpenEpoch process EpochOpened / CloseEpoch process EpochClosed /
DivideOracleShare process OracleShareDivided / PublishRoot process RootPublished / ConfirmRoot relayer RootConfirmed / Accrue
process Accrued / Pay process Paid / Earn process Earned / RecordClaim relayer Claimed / RegisterOwner registrar
OwnerAttested OwnerRegistered<OwnerAttested / LapseEscrow process EscrowLapsed ; staking: Stake process Staked TierChanged /
RequestUnstake holder,process TierChanged UnstakeRequested / CancelUnstake holder TierChanged UnstakeCancelled / Withdraw
holder Withdrawn / HoldForCase process HeldForCase / ReleaseHold process HoldReleased / ReviewTier process TierChanged /
Slash process TierChanged Slashed / Tombstone process KeyTombstoned / RegisterDevice holder RegistrationAsked /
DeregisterDevice holder DeviceDeregistered / AdmitDevice process DeviceRegistered / DeclineDevice process
RegistrationDeclined / SuspendDevice process DeviceSuspended / ResumeDevice holder DeviceResumed / OpenCase process
CaseOpened / Attest oracle Attested CaseAttested CaseVoided / ProveEquivocation member,process CaseOpened CaseAttested /
ProveRefutation process CaseOpened CaseAttested / PostBond process BondPosted / Dispute holder Disputed / Appeal holder
Appealed / ResolveDispute process DisputeResolved CaseVoided / ResolveAppeal council AppealResolved
CaseVoided<<AppealResolved / ExecuteCase process CaseExecuted / LapseCase process CaseLapsed / ClaimSerial process
SerialClaimed / FreeSerial process SerialFreed / Observe relayer SpaceStakeObserved / Drip holder Dripped / CountDrip process
DripCounted ; treasury: ConfigureMinter governor MinterConfigured / RemoveMinter governor MinterRemoved / AttestReserves
attestor ReservesAttested DeficitFound MintingPaused / ReceiveBacking process BackingReceived / WriteDownBacking process
DeficitFound MintingPaused BackingWrittenDown / Mint minter Minted / ConfirmMint relayer MintConfirmed / FailMint relayer
MintFailed / Burn burner Burned / PauseMinting pauser MintingPaused / ResumeMinting reviewer ResumeApproved
MintingResumed<ResumeApproved / ObserveDeposit cashier DepositObserved / SettleDeposit cashier DepositSettled / AssignDeposit
reviewer DepositAssigned / MarkIssued process DepositIssued / RefundDeposit process DepositRefunded / DisputeDeposit cashier
DepositDisputed / CloseDispute cashier DepositDefended DepositLost / RequestWithdrawal holder WithdrawalRequested /
CancelWithdrawal holder,process WithdrawalCancelled / EscrowWithdrawal relayer WithdrawalEscrowed / RouteWithdrawal process
ReviewRequired WithdrawalApproved / ReviewWithdrawal reviewer WithdrawalReviewed WithdrawalApproved<WithdrawalReviewed
WithdrawalRejected / LapseReview process WithdrawalRejected / FundWithdrawal process WithdrawalFunded / SubmitPayout process
PayoutSubmitted / ReissueWithdrawal process WithdrawalReissued / ConfirmPayout cashier PayoutPaid / ReturnPayout cashier
PayoutReturned / ReserveOutflow process OutflowReserved / ReleaseOutflow process OutflowReleased / OpenAccount process
AccountOpened / Credit process Credited / Debit process Debited / Hold holder,gateway,process Held / Capture process Captured
/ Release process Released / ExpireHold process HoldExpired / Freeze reviewer,process Frozen / Unfreeze reviewer,process
Unfrozen / Reconcile attestor Reconciled BreakFound / CloseBreak reviewer BreakClosed / Adjust reviewer AdjustmentProposed /
ApproveAdjustment reviewer Adjusted<AdjustmentProposed"""
Said = namedtuple("Said", "roles events")  # events: by type, by which event others consent before, and how many others
LANGUAGE = dict[str, Said]()
"""Who may ask for what, and what may follow. A command or an event that is not here cannot be judged: inconclusive."""
for _context, _said in (_part.strip().split(":") for _part in _LANGUAGE.split(";")):
    # Every context answers these, too.
    _said += " / AdoptParameter process ParameterAdopted / Halt process Halted / Lift process Lifted"
    for _name, _roles, *_events in map(str.split, _said.split("/")):
        _needs = {f"{_context}.{_e.split('<')[0]}": (f"{_context}.{_e.split('<')[-1]}", _e.count("<")) for _e in _events}
        LANGUAGE[f"{_context}.{_name}"] = Said([f"{_context}.{_role}" for _role in _roles.split(",")], _needs)
EVENTS = {event for said in LANGUAGE.values() for event in said.events}
CONSENTS = {event: by for said in LANGUAGE.values() for event, (by, others) in said.events.items() if others}
CONSENTING = {*CONSENTS, *CONSENTS.values(), "identity.KeyProposed", "identity.KeyApproved", "identity.KeyRegistered"}
QUORUM, TWO = {"identity.registrar", "store.writer"}, {"identity.verifier"}  # roles that one person could never give
ONE = {"gpu", "node", "relay", "router", "coordinator", "gateway", "collector", "holder"}  # kinds that one gives if narrow
BY_ONE, NEVER_ONE = {"providers.gpu", "inference.gpu"}, {"apikeys.gateway", "inference.router", "evm.gateway"}
VERSIONS = {"identity.KeyRotated": 2, "staking.Stake": 2}  # of all others 1; what is newer than this file is not judged
OTHERWISE = {  # what a decision says of its own under a name that its command has too
    "inference.RequestOpened": "policy_version", "treasury.ReviewRequired": "reasons", "treasury.MintingPaused": "cause",
}  # fmt: skip
WHOLE = {"identity", "inference", "operations", "rewards", "staking", "treasury"}  # where lists and objects are taken over

NoteKey = namedtuple("NoteKey", "name kind public id")
Checkpoint = namedtuple("Checkpoint", "origin size root signed")
Fact = namedtuple(
    "Fact",
    """index file hash sequence version id type shard prevhash commandhash source subject time actor causationid dataschema
    network""",
)
Seal = namedtuple("Seal", "index file batch first cuts")  # cuts: by shard, the records from <= sequence < to, the last hash
Change = namedtuple("Change", "time shard sequence role prefix until follows")  # no role: the key; no until: taken away


class Bad(Exception):
    """Tampering is shown, or a file is not what it must be: one of CHECKS, a text, perhaps a file."""


class Odd(Exception):
    """What is not as it should be, and accuses nobody."""


def parsed(raw: bytes) -> Any:
    """JSON as it is allowed here: UTF-8, no key twice, and no number but integers. Raises ValueError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    return json.loads(raw.decode("utf-8"), object_pairs_hook=once, parse_float=int, parse_constant=int)


def unbase64(text: str, length: int | None = None) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text or len(raw) != (length or len(raw)):
        raise ValueError(f"{text[:60]!r} is not base64 of {length or 'some'} bytes")
    return raw


def digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def signed(did: str, value: bytes, signature: str) -> bool | None:
    """Whether the key of that DID signed the value (DSSE). None: there is no library here to tell of a wallet."""
    message = b"DSSEv1 28 application/cloudevents+json %d %b" % (len(value), value)
    if did.startswith("did:pkh:eip155:") and re.fullmatch(r"eip191:0x[0-9a-f]{128}1[bc]", signature):
        return signed_by_wallet(did, message, bytes.fromhex(signature[9:]))
    known = re.fullmatch(r"did:key:z(6Mk[1-9A-HJ-NP-Za-km-z]{44})", did)
    if known is None or not re.fullmatch(r"ed25519:[A-Za-z0-9_-]{85}[AQgw]", signature):
        return False
    number, alphabet = 0, "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    for character in known[1]:
        number = number * 58 + alphabet.index(character)
    try:
        VerifyKey(number.to_bytes(34, "big")[2:]).verify(message, base64.urlsafe_b64decode(signature[8:] + "=="))
    except (CryptoError, OverflowError):
        return False
    return number >> 256 == 0xED01


def signed_by_wallet(did: str, message: bytes, raw: bytes) -> bool | None:
    """EIP-191 over the digest's hexadecimal digits; of a signature and its twin (n - s) only one counts (EIP-2)."""
    try:
        from coincurve import PublicKey
        from Crypto.Hash.keccak import new as keccak

        text = b"\x19Ethereum Signed Message:\n64" + digest(message).hex().encode()
        form, hashed = raw[:64] + bytes([raw[64] - 27]), keccak(digest_bits=256, data=text).digest()
        point = PublicKey.from_signature_and_message(form, hashed, hasher=None).format(compressed=False)
    except ImportError:
        return None
    except ValueError:
        return False
    is_low = int.from_bytes(raw[32:64], "big") <= 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
    return is_low and "0x" + keccak(digest_bits=256, data=point[1:]).digest()[-20:].hex() == did.rpartition(":")[2]


def root_at(size: int, nodes: Iterable[tuple[int, bytes]]) -> bytes | None:
    """RFC 6962: the root over perfect subtrees (height, hash), from the left. None where none of them ends at that size."""
    stack, end = list[tuple[int, bytes]](), 0
    for height, found in nodes:
        if end == size or not 0 <= height <= (stack[-1][0] if stack else 63):
            break
        end += 1 << height
        while stack and stack[-1][0] == height:
            height, found = height + 1, digest(b"\x01", stack.pop()[1], found)
        stack.append((height, found))
    root = stack.pop()[1] if stack else EMPTY
    while stack:
        root = digest(b"\x01", stack.pop()[1], root)
    return root if end == size else None


def root_over(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof gives; another one, or IndexError, where it is too long or too short."""
    if size == 1:
        return leaf if not path else digest()
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return digest(b"\x01", root_over(leaf, index, half, path[:-1]), path[-1])
    return digest(b"\x01", path[-1], root_over(leaf, index - half, size - half, path[:-1]))


def note_key(text: str) -> NoteKey:
    """`<name>+<id>+<base64 of kind and key>`; kind 1 is Ed25519, 4 a witness's. Raises ValueError."""
    name, claimed, material = text.split("+", 2)
    raw = base64.b64decode(material, validate=True)
    key = NoteKey(name, raw[0], raw[1:], digest(name.encode(), b"\n", raw)[:4])
    if not name or re.search(r"\s", name) or key.id.hex() != claimed or key.kind not in (1, 4) or len(key.public) != 32:
        raise ValueError(f"{text[:80]!r} is no verifier key")
    return key


def open_checkpoint(note: bytes, keys: Iterable[NoteKey]) -> Checkpoint:
    """Origin, size, root, and which of the keys signed them when. Unknown keys are passed over. Raises ValueError and such."""
    text, _, tail = (whole := note.decode("utf-8")).rpartition("\n\n")
    lines, known, found = tail.split("\n"), {(key.name, key.id): key for key in keys}, dict[NoteKey, int]()
    if len(lines) < 2 or lines.pop() or len(lines) > 100 or any(c < " " and c != "\n" for c in whole):
        raise ValueError("it is no signed note of at most 100 signatures")
    for dash, name, material in (line.split(" ") for line in lines):
        raw = base64.b64decode(material, validate=True)
        if dash != "—" or not name or "+" in name or re.search(r"\s", name) or len(raw) < 5:
            raise ValueError(f"{name[:60]!r} has no signature line")
        if key := known.get((name, raw[:4])):
            seconds, signature = (int.from_bytes(raw[4:12], "big"), raw[12:]) if key.kind == 4 else (0, raw[4:])
            message = (f"cosignature/v1\ntime {seconds}\n" if key.kind == 4 else "") + text + "\n"
            VerifyKey(key.public).verify(message.encode(), signature)
            if key in found or seconds >= 2**63:
                raise Odd(f"{name[:60]!a} signed twice, or at no time")
            found[key] = seconds
    # A time after the year 9999, as of a witness who counts milliseconds, is none: it counts as little as an unknown key.
    found = {key: seconds for key, seconds in found.items() if seconds <= LAST_SECOND}
    origin, size, root, *more = text.split("\n")
    if not all([origin, *more]) or not re.fullmatch(r"0|[1-9][0-9]{0,18}", size):
        raise ValueError("a checkpoint has an origin, a size and a root")
    return Checkpoint(origin, int(size), unbase64(root, 32), found)


class Policy:
    """Whose checkpoints are believed, and how many witnesses must have cosigned them. Raises ValueError."""

    def __init__(self, raw: bytes) -> None:
        self.logs, self.quorum, grouped = list[NoteKey](), "", {"none"}
        self.members: dict[str, NoteKey | tuple[int, list[str]]] = {"none": (0, [])}
        for line in raw.decode("utf-8", "surrogateescape").split("\n"):
            words = [word for word in re.split("[ \t]+", line) if word]
            kind, name, first, rest = *[*words, "", "", ""][:3], words[3:]
            if kind == "log" and len(words) in (2, 3):
                self.logs.append(note_key(name))
            elif kind == "quorum" and len(words) == 2 and name in self.members and not self.quorum:
                self.quorum = name
            elif kind == "witness" and len(words) in (3, 4) and name not in self.members:
                self.members[name] = note_key(first)
            elif kind == "group" and name not in self.members and rest and self.members.keys() - grouped >= {*rest}:
                needed = {"any": 1, "all": len(rest)}.get(first) or int(first)
                self.members[name] = (needed if 0 < needed <= len({*rest}) == len(rest) else 0, rest)
                grouped |= {*rest}
            elif words and not kind.startswith("#"):
                raise ValueError(f"{line[:80]!r} is no line of a policy here")
        self.witnesses = [key for key in self.members.values() if isinstance(key, NoteKey)]
        is_wrong = any(len({key.public for key in keys}) < len(keys) for keys in (self.logs, self.witnesses))
        if is_wrong or not self.quorum or any(member[0] == 0 for name, member in self.members.items() if name != "none"):
            raise ValueError("a policy has one quorum, no key twice, and groups that can be met")

    def is_met(self, cosigned: dict[NoteKey, int]) -> bool:
        met = {"none"}
        for name, member in self.members.items():
            is_group = not isinstance(member, NoteKey)
            met |= {name} if (sum(n in met for n in member[1]) >= member[0] if is_group else member in cosigned) else set()
        return self.quorum in met


class Pack:
    """A zip whose members are stored, not compressed: nothing in it is larger than it looks. Raises KeyError, and Bad."""

    def __init__(self, path: str) -> None:
        self._zip, self._size = zipfile.ZipFile(path), Path(path).stat().st_size
        self._members, self.is_newest = {member.orig_filename: member for member in self._zip.infolist()}, False
        self.names, self.read, self.has_commands = set(self._members), self._zip.read, True
        self._zip.getinfo("manifest.json")

    def admit(self) -> bool:
        """Names, sizes and method, from the directory, before a byte of a member is read."""
        members = self._zip.infolist()
        for name, member in self._members.items():
            is_stored = not member.compress_type and not member.flag_bits & 1 and member.file_size == member.compress_size
            if not (TOP.fullmatch(name) or BELOW.fullmatch(name)) or not is_stored or member.file_size > LARGEST_FILE:
                raise Bad("manifest", "has no place in a pack", name)
        if len(self.names) != len(members) or not sum(member.file_size for member in members) <= self._size <= LARGEST_PACK:
            raise Bad("manifest", "a file is in the pack twice, or its files are larger than it is, or than any pack")
        return True

    def manifest(self) -> Any:
        found = parsed(self.read("manifest.json"))
        if found["format"] != FORMAT or found["files"].keys() != self.names - {"manifest.json"}:
            raise Bad("manifest", "is of another format, or lists other files than there are")
        for name, said in sorted(found["files"].items()):
            if said != {"sha256": digest(raw := self.read(name)).hex(), "size": len(raw)}:
                raise Bad("manifest", "has other bytes than the manifest says", name)
        return found


class Live:
    """A log that is served as tiles, looked at as a pack of all its entries: a file of entries is a tile. Raises OSError."""

    def __init__(self, url: str, headers: Sequence[str], is_witnessed: bool) -> None:
        self._url, self._headers = url.rstrip("/"), dict(header.split(": ", 1) for header in headers)
        self.names, self._note, self.is_newest = {"range.json"}, b"", not is_witnessed
        self.has_commands = False
        self._head = "checkpoint" + ".witnessed" * is_witnessed

    def admit(self) -> bool:
        return True

    def manifest(self) -> Any:
        origin, size, *_ = self.read("checkpoint").decode().split("\n")
        return {"asked": {"first": 0, "end": int(size)}, "origin": origin, "size": int(size), "withheld": None}

    def read(self, name: str) -> bytes:
        if not name.startswith("entries/"):
            self._note = self._note or self._get(self._head)
            return self._note if name == "checkpoint" else b'{"left":[],"right":[]}'
        start, end = map(int, name[8:].split("-"))
        digits = str(start // WIDTH).zfill(-(-len(str(start // WIDTH)) // 3) * 3)
        name = "tile/entries/" + re.sub("[0-9]{3}(?=[0-9])", r"x\g<0>/", digits)
        return self._get(name + (f".p/{end - start}" if end % WIDTH else ""))

    def _get(self, path: str) -> bytes:
        asked = urllib.request.Request(f"{self._url}/{path}", headers=self._headers)  # noqa: S310 - http or https, see main
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            return bytes(answer.read(LARGEST_ANSWER))


def changes_of(document: dict[str, Any]) -> Iterator[tuple[str, str | None, str, str | None, str | None]]:
    """What an event of identity changes: key, role, prefix, until when, and whose place it takes. Each role has its own end."""
    data, kind = document["data"], document["type"]
    if kind == "identity.Founded":
        until = (instant(document["time"]) + KEY_LIFE).isoformat()
        yield from ((root, "identity.registrar", "identity/", until, None) for root in data["roots"])
    elif kind in ("identity.KeyRegistered", "identity.KeyRotated"):
        for grant in data["roles"]:
            role, prefix, end = grant["role"], grant["prefix"], grant.get("not_after") or data["not_after"]
            if kind == "identity.KeyRotated":
                yield data["successor"], role, prefix, end, data["key"]
            own = data["key"] if kind == "identity.KeyRotated" else None
            yield data["key"], role, prefix, min(end, data.get("until", end), key=instant), own
    elif kind in ("identity.RoleWithdrawn", "identity.KeyRevoked"):
        for end in (data, *(data.get("ends") or ())):
            yield end["key"], end.get("role"), end.get("prefix") or "", None, None


def covers(prefix: str, subject: str) -> bool:
    """A prefix without an end covers one stream, and what follows a slash: `a/b` does not cover `a/b-2`."""
    return prefix in ("", subject) or subject.startswith(prefix if prefix[-1] in "/." else f"{prefix}/")


def is_amount(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"asset", "units"}


def is_carried(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"value", "signature"}


def differs(said: Any, asked: Any, is_whole: bool) -> bool:
    """Whether an event's field is not what its command says; a time may be written in another way."""
    if isinstance(said, str) and isinstance(asked, str) and asked.endswith("Z") and re.match(r"[0-9]{4}-.*T", asked):
        return instant(said) != instant(asked)
    return said != asked and (is_whole or isinstance(said, (str, int)) or is_amount(said) or is_amount(asked))


def takes_one(role: str, prefix: str) -> bool:
    """What one registrar gives: roles that are bounded by one stream or one account's, or by the rules themselves."""
    is_narrow = prefix.count("/") >= 2 and not prefix.endswith(("/", "/."))
    return role in BY_ONE or (role.rpartition(".")[2] in ONE and role not in NEVER_ONE and is_narrow)


def words(data: dict[str, Any]) -> dict[str, Any]:
    """What an event says beside the person, comparable with one that names its keys alone."""
    keys = [key["key"] if isinstance(key, dict) else key for key in data.get("keys", ())]
    return {name: keys if name == "keys" else value for name, value in data.items() if name != "person"}


def sealed_fields(node: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every sealed field of an event's data, by its JSON pointer."""
    if isinstance(node, dict) and "sealed" in node and "commitment" in node:
        yield pointer, node
    elif isinstance(node, (dict, list)):
        for name, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from sealed_fields(item, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")


class Judge:
    """Everything that is held against entries, in whatever order they come; what needs all of them is judged at the end."""

    def __init__(
        self, policy: bytes | None, genesis: bytes | None, since: bytes | None = None, head_age: int | None = None
    ) -> None:
        self.bad, self.facts, self.commands, self.head_age = list[dict[str, Any]](), dict[str, Any](), 0, head_age
        self.policy, self.states = Policy(policy) if policy else None, defaultdict[str, list[str]](list)
        self.genesis = parsed(genesis) if genesis else {"network": None, "keys": []}
        self.logs = [key for key in self.policy.logs if key.kind == 1] if self.policy else []
        self.keys = [*self.logs, *(key for key in self.policy.witnesses if key.kind == 4)] if self.policy else []
        self.changes, self.marks = defaultdict[str, list[Change]](list), list[tuple[Fact, dict[str, Any]]]()
        for n, (key, role) in enumerate((first, role) for first in self.genesis["keys"] for role in first["roles"]):
            self.changes[key["key"]].append(Change("", "genesis", n, role["role"], role["prefix"], key["not_after"], None))
        self.writers = {key for key, grants in self.changes.items() if any(grant.role == "store.writer" for grant in grants)}
        known = {"policy": policy, "genesis": self.writers}
        self.doubts = {f"no {name} that names keys was given (--{name} FILE): whose?" for name in known if not known[name]}
        self.items, self.fields = dict[int, Fact | Seal](), list[tuple[Fact, str, dict[str, Any]]]()
        self.places, self.outcomes = dict[tuple[str, int], Fact](), dict[tuple[str, str], bytes]()
        self.data, self.is_whole, self.names = dict[int, str](), False, set[str]()  # data: of events whose command is here
        self.used = dict[tuple[str, str], str]()  # by stream and carried record: the event that followed
        self.consenting, self.quorum = defaultdict[str, list[tuple[Fact, dict[str, Any]]]](list), 2  # by stream
        self.followed = dict[str, str]()  # whose place a key took
        self.old = open_checkpoint(since, self.keys) if since else None
        if self.old and self.logs and not any(key.name == self.old.origin and key in self.old.signed for key in self.logs):
            raise ValueError("no log of the policy signed the checkpoint of --since")

    def guard(self, check: str, file: str, index: int | None, work: Callable[..., Any], *arguments: Any) -> Any:
        """What the work answers; None where it shows something bad, which is written down, whatever it is."""
        try:
            return work(*arguments)
        except OSError as error:
            self.doubts.add(f"{file} could not be read: {error}")
        except Odd as error:
            self.doubts.add(f"{file} is malformed: {error}")
        except Exception as error:
            said, text, *files = error.args if isinstance(error, Bad) else (check, f"is malformed: {error!r}"[:300])
            self.bad.append({"check": said, "index": index, "file": [*files, file][0], "text": text})
        return None

    def say(self, check: str, where: Fact | Seal, text: str) -> None:
        self.bad.append({"check": check, "index": where.index, "file": where.file, "text": text})

    def checkpoint(self, pack: Pack | Live) -> Checkpoint:
        head = open_checkpoint(pack.read("checkpoint"), self.keys)
        mine = [key for key in self.logs if key.name == head.origin]
        if mine and not any(key in head.signed for key in mine):
            raise Bad("checkpoint", f"{head.origin}, the log that it names, did not sign it")
        if self.policy and not mine:
            self.doubts.add(f"the policy does not know the log {head.origin}")
        if self.policy and not self.policy.is_met(head.signed):
            self.doubts.add(f"the policy's quorum, {self.policy.quorum}, has not cosigned the checkpoint")
        self.cosigned = max((at for key, at in head.signed.items() if key.kind == 4), default=None)
        if self.cosigned is not None and self.head_age is not None and time.time() - self.cosigned > self.head_age:
            self.doubts.add(f"the newest head was cosigned more than {self.head_age} s ago: what came since is not shown")
        self.facts["checkpoint"] = f"{head.origin} with {head.size} entries, root {head.root.hex()}"
        self.facts["cosigned"] = {k.name: f"{datetime.fromtimestamp(at, UTC)}" for k, at in head.signed.items() if k.kind == 4}
        return head

    def compare(self, old: Checkpoint, head: Checkpoint, pack: Pack | Live, nodes: list[tuple[int, bytes]]) -> None:
        """Whether the log that the auditor saw earlier is the beginning of this one. `nodes`: subtrees of this one."""
        if root_at(old.size, nodes) is None and "consistency" in pack.names:
            nodes = [(height, unbase64(text, 32)) for height, text in parsed(pack.read("consistency"))]
        root = head.root if old.size == head.size else root_at(old.size, nodes)
        was_later = any(at > old.signed.get(key, at) for key, at in head.signed.items())
        if old.size > head.size and (pack.is_newest or was_later):
            raise Bad("consistency", f"the log had {old.size} entries and has {head.size}: it was cut off")
        if old.origin != head.origin or old.size > head.size or root is None:
            self.doubts.add(f"nothing leads from your checkpoint of {old.size} entries of {old.origin} to this of {head.size}")
        elif root != old.root or (nodes and root_at(head.size, nodes) != head.root):
            raise Bad("consistency", f"with {old.size} entries it had another root: rewritten, or forked")
        else:
            self.facts["since"] = f"{old.origin} with {old.size} entries"

    def entry(self, index: int, file: str, entry: bytes) -> None:
        """Form, signature, and what it says. Raises Bad, and ValueError and the like."""
        if entry.startswith(b"seal/1\n"):
            said = parsed(entry[7:])
            cuts = {shard: (start, end, head) for shard, start, end, head in said["cut"]}
            as_written = json.dumps({**said, "rule": "kmerge/1"}, sort_keys=True, separators=(",", ":")).encode() == entry[7:]
            is_ordered = list(cuts) == sorted(cuts) and all(0 <= start < end for start, end, _ in cuts.values())
            if not (as_written and is_ordered and 0 <= said["first"] <= index):
                raise Bad("entry", "is no seal as it is written")
            self.items[index] = Seal(index, file, said["batch"], said["first"], cuts)
            return
        signature, line, value = entry[9:].partition(b"\n")
        if not entry.startswith(b"record/1\n") or not line or len(value) > LARGEST_RECORD:
            raise Bad("entry", "is neither a record nor a seal")
        document = parsed(value)
        said = {**document, "index": index, "file": file, "hash": digest(value).hex(), "version": document["streamversion"]}
        fact = Fact(*(said[name] for name in Fact._fields))._replace(sequence=int(document["sequence"]))
        is_dated = re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", fact.time)
        if not is_dated or type(fact.version) is not int or any(type(text) is not str for text in fact[5:]):
            raise Bad("entry", "its time, version or something else has another form")
        self.items[index] = fact
        if (verdict := signed(fact.source, value, signature.decode("ascii"))) is None:
            self.doubts.add("a wallet signed, and coincurve and pycryptodome are not installed here")
        elif not verdict or document["network"] != (self.genesis["network"] or document["network"]):
            raise Bad("signature", f"{fact.source} did not sign it for the network {self.genesis['network']}")
        for key, role, prefix, until, follows in changes_of(document):
            self.changes[key].append(Change(fact.time, fact.shard, fact.sequence, role, prefix, until, follows))
            if follows and key not in (*self.followed, follows):
                self.followed[key] = follows
        if fact.type == "identity.Founded":
            self.quorum = max(self.quorum, document["data"]["quorum"])
        if fact.type in CONSENTING:
            self.consenting[fact.subject].append((fact, document["data"]))
        if f"commands/{index}.json" in self.names:
            self.data[index] = json.dumps(document["data"])
        if fact.type in ("custody.KeyShredded", "audit.ErasureOrdered", "audit.RetentionExpired"):
            self.marks.append((fact, document["data"]))
        self.fields += [(fact, pointer, field) for pointer, field in sealed_fields(document["data"])]

    def grants(self, key: str, at: Fact | Change, with_ties: bool, as_said: bool) -> dict[tuple[str | None, str], str | None]:
        """Until when the key has which role on which prefix. A rotation prolongs no role, unless it is taken as it says."""
        found: dict[tuple[str | None, str], str | None] = {}
        for change in sorted(self.changes.get(key, ()), key=lambda change: change[:3]):
            is_before = change.sequence < at.sequence if change.shard == at.shard else with_ties
            if change.time < at.time or (change.time == at.time and is_before):
                until = change.until
                if change.follows and until:
                    own = self.grants(change.follows, change, False, as_said).get((change.role, change.prefix))
                    # Longer, as old records have it, is doubted; what the key never had, or has no more, nobody is handed.
                    until = own and (until if as_said and change.follows != key else min(own, until, key=instant))
                found[change.role, change.prefix] = until
        return found if (None, "") not in found else {}

    def may(self, key: str, roles: Sequence[str], fact: Fact, check: str = "authority") -> None:
        """Whether the key had one of the roles, or any. Equal times in two shards may be either way round: a batch has one."""
        is_own = (not roles or "identity.self" in roles) and fact.subject == f"identity/key/{key}"
        for as_said, with_ties in ((False, False), (False, True), (True, False), (True, True)):
            for (role, prefix), until in self.grants(key, fact, with_ties, as_said).items():
                is_fit = is_own or (covers(prefix, fact.subject) and (not roles or role in roles))
                if until and is_fit and instant(fact.time) - instant(until) <= TOLERANCE:
                    self.doubts |= {f"{key} acts by {role}, which a rotation has prolonged"} if as_said else set()
                    return
        if self.writers:
            is_revoked = any(change.role is None and change.time <= fact.time for change in self.changes.get(key, ()))
            self.say(check, fact, f"{key} {'was revoked' if is_revoked else 'had no role for it'} at {fact.time}")

    def command(self, fact: Fact, raw: bytes) -> None:
        """Who asked: the command that the event names, signed by its actor, and the outcome that names the event."""
        kept = parsed(raw)
        value, written = unbase64(kept["command"]), unbase64(kept["outcome"])
        asked, outcome, events = parsed(value), parsed(written), parsed(written)["data"]["events"]
        if (verdict := signed(fact.actor, value, kept["signature"])) is None:
            self.doubts.add("a wallet signed, and coincurve and pycryptodome are not installed here")
        if verdict is False or not digest(value).hex() == fact.commandhash == outcome["data"]["commandhash"]:
            raise Bad("command", f"{fact.actor} did not sign it, or the event names another command")
        if (said := LANGUAGE.get(asked["type"])) is None:
            self.doubts.add(f"no role is known here for {asked['type']}")
        self.may(fact.actor, said.roles if said else [], fact)
        if [asked["source"], asked["id"], asked["subject"]] != [fact.actor, fact.causationid, fact.subject]:
            raise Bad("command", "the command has another source, id or stream than the event")
        mine = {"shard": fact.shard, "sequence": fact.sequence, "id": fact.id, "streamversion": fact.version}
        ids = [str(uuid.uuid5(NAMESPACE, f"{fact.actor}\n{fact.causationid}\n{n}")) for n in ("outcome", *range(len(events)))]
        wanted = {name: getattr(fact, name) for name in ("source", "subject", "time", "actor", "causationid")}
        wanted |= {"network": asked["network"], "type": f"{asked['type'].split('.')[0]}.Accepted", "id": ids[0]}
        if {**outcome, **wanted} != outcome or (fact.id, mine) not in zip(ids[1:], events, strict=True):
            raise Bad("command", "the outcome is not that of this command, or does not name the event")
        known = {(change.shard, change.sequence) for change in self.changes.get(fact.actor, ()) if change.time <= fact.time}
        places = outcome["data"]["authority"]
        if self.writers and (not places or any((place["shard"], place["sequence"]) not in known for place in places)):
            raise Bad("authority", f"the outcome relies on nothing, or on what says nothing of {fact.actor}, or is later")
        self.commands += 1
        self.here_and_now(fact, asked, events[0])
        self.once(fact, written, events)
        self.follows(fact, asked, said)

    def here_and_now(self, fact: Fact, asked: dict[str, Any], first: dict[str, Any]) -> None:
        if asked["network"] != fact.network:
            self.say("network", fact, f"the command is for the network {asked['network']!a}")
        if asked.get("expires") and instant(fact.time) - instant(asked["expires"]) > TOLERANCE:
            self.say("expired", fact, f"the command expired at {asked['expires']}, the event is of {fact.time}")
        if asked.get("streamversion", first["streamversion"] - 1) != first["streamversion"] - 1:
            self.say("version", fact, f"the command expected version {asked['streamversion']}, its first event is {first}")

    def once(self, fact: Fact, written: bytes, events: list[dict[str, Any]]) -> None:
        """One outcome of a command, and all of its events, next to each other in shard and stream."""
        if self.outcomes.setdefault((fact.actor, fact.causationid), written) != written:
            self.say("once", fact, f"the command {fact.causationid} has two outcomes")
        for n, place in enumerate(events):
            next_to = {name: events[0][name] + n for name in ("sequence", "streamversion")}
            there = self.places.get((place["shard"], place["sequence"]))
            # The newest of a shard may be waiting for its place in the log.
            is_missing = there is None and self.is_whole and place["sequence"] < self.ends[fact.shard]
            is_elsewhere = {**place, **next_to, "shard": fact.shard} != place or (there and there.id != place["id"])
            if is_elsewhere or is_missing:
                self.say("outcome", fact, f"the outcome names {place['id']} at a place where it does not stand")
            elif there is None and self.is_whole:
                self.doubts.add(f"the log does not hold all events of the command {fact.causationid} yet")

    def follows(self, fact: Fact, asked: dict[str, Any], said: Said | None) -> None:
        """Whether the event is what the command asks for, and whether as many persons asked as it takes."""
        context, kind = fact.type.partition(".")[0], asked["type"]
        if not kind.startswith(f"{context}.") or not asked["dataschema"].startswith(f"urn:spaceos:{kind}:"):
            self.say("context", fact, f"{kind} is no command of {context}, or of another schema")
        elif said and fact.type not in said.events:
            if fact.type in EVENTS:
                self.say("follows", fact, f"{fact.type} does not follow from {kind}")
            else:
                self.doubts.add(f"whether {fact.type} follows from {kind} is not known here")
        for schema in (fact.dataschema, asked["dataschema"]):
            name, _, version = schema.removeprefix("urn:spaceos:").rpartition(":")
            if not re.fullmatch("[1-9][0-9]{0,5}", version) or int(version) > VERSIONS.get(name, 1):
                self.doubts.add(f"{schema} is newer than this verifier")
        data, asks = json.loads(self.data.pop(fact.index, "{}")), asked["data"]
        for name in sorted(data.keys() & asks.keys() - {OTHERWISE.get(fact.type)}):
            is_whole = context in WHOLE or fact.type.endswith(".ParameterAdopted")
            if not is_carried(asks[name]) and differs(data[name], asks[name], is_whole):
                check = "amount" if is_amount(data[name]) else "follows"
                self.say(check, fact, f"{name} is {data[name]!a:.80}, and {asks[name]!a:.80} in the command")
        for carried in filter(is_carried, asks.values()):
            self.carried(fact, data, carried)
        if "cause" in data and fact.type.endswith((".Staked", ".ParameterAdopted")) and not any(map(is_carried, asks.values())):
            self.say("carried", fact, f"it names {data['cause']} as its cause, and nothing was carried")
        self.of_identity(fact, data)
        if fact.type == "identity.Founded" and (fact.version, fact.subject) != (1, f"identity/network/{fact.network}"):
            self.say("follows", fact, "a network is founded once, in its own stream")
        elif fact.type == "identity.KeyRegistered":
            self.registered(fact)
        elif said and (need := said.events.get(fact.type)) and need[1]:
            self.consented(fact, *need)

    def of_identity(self, fact: Fact, data: dict[str, Any]) -> None:
        """What an event of the key registry may say of another key, stream or command: nothing."""
        if fact.subject.startswith("identity/key/") and data.get("key", fact.subject[13:]) != fact.subject[13:]:
            self.say("follows", fact, f"it is of {data['key']}, in the stream of another key")
        if fact.type == "identity.KeyRevoked" and data.get("ends") and not data.get("suspected_since"):
            self.say("follows", fact, "what the key handed over ends only from a time on that is suspected")
        if fact.type == "identity.KeyProposed" and data.get("proposal", fact.commandhash) != fact.commandhash:
            self.say("follows", fact, "it names another proposal than its command")

    def carried(self, fact: Fact, data: dict[str, Any], carried: dict[str, str]) -> None:
        """What the command brought of another context: signed by who might, in its place, named, taken over, and once."""
        value = base64.urlsafe_b64decode(carried["value"] + "=" * (-len(carried["value"]) % 4))
        document = parsed(value)
        named = {"index": fact.index, "file": fact.file, "hash": digest(value).hex(), "version": document["streamversion"]}
        record = Fact(*({**document, **named}[name] for name in Fact._fields))
        record = record._replace(sequence=int(document["sequence"]))
        if signed(record.source, value, carried["signature"]) is False or record.network != fact.network:
            self.say("carried", fact, f"{record.source} did not sign the carried record, or for another network")
        self.may(record.source, ["store.writer"], record, "carried")
        there = self.places.get((record.shard, record.sequence))
        is_missing = there is None and self.is_whole and record.sequence <= self.ends.get(record.shard, -1)
        if is_missing or (there and there.hash != record.hash):
            self.say("carried", fact, f"the carried record is not what stands at {record.shard} {record.sequence}")
        if there is None and self.is_whole and not is_missing:
            self.doubts.add(f"the log does not hold {record.shard} {record.sequence}, which was carried, yet")
        if fact.type.endswith((".Staked", ".ParameterAdopted")) and data.get("cause") != record.id:
            self.say("carried", fact, f"it names {data.get('cause')} as its cause, and {record.id} was carried")
        if fact.type == "staking.Staked":
            if self.used.setdefault((fact.subject, record.id), fact.id) != fact.id:
                self.say("carried", fact, f"{record.id} had its effect before")
            held, purpose = document["data"], f"stake:{fact.subject}"
            said = {"amount": held["amount"]["units"], "account": record.subject, "hold": held["hold"]}
            if {**data, **said} != data or (record.type, held["purpose"]) != ("treasury.Held", purpose):
                self.say("carried", fact, "it is not what the carried record says was held, of whom, and for whom")

    def person(self, key: str) -> str:
        """The first key of its chain of rotations: two keys of one person are not two persons."""
        chain = [key]
        while (key := self.followed.get(key, "")) and key not in chain:
            chain.append(key)
        return chain[-1]

    def consented(self, fact: Fact, by: str, others: int) -> None:
        """Others have recorded the consent before, in the same words where both have some, else since it last was used up."""
        stream = sorted(self.consenting[fact.subject], key=lambda found: found[0].version)
        mine = next(words(data) for found, data in stream if found is fact)
        before = [(found, words(data)) for found, data in stream if found.version < fact.version]
        used = max((found.version for found, _ in before if CONSENTS.get(found.type) == by), default=0)
        agreed = [
            found for found, said in before if found.type == by and all(mine[n] == said[n] for n in mine.keys() & said.keys())
        ]
        if all(not mine.keys() & said.keys() for found, said in before if found.type == by):
            agreed = [found for found in agreed if found.version > used]
        persons = {self.person(found.actor) for found in agreed} - {self.person(fact.actor)}
        self.enough(fact, len(persons) + 1, others + 1)

    def registered(self, fact: Fact) -> None:
        """Whoever proposed and approved, of the proposal that the last of them completed."""
        stream = sorted(self.consenting[fact.subject], key=lambda found: found[0].version)
        [data] = [data for found, data in stream if found is fact]
        roles = {grant["role"] for grant in data["roles"]}
        needed = self.quorum if roles & QUORUM else 2 if roles & TWO else 1
        if data.get("consents") and not all(takes_one(grant["role"], grant["prefix"]) for grant in data["roles"]):
            needed = max(needed, 2)
        begun = max((f.version for f, _ in stream if f.type == fact.type and f.version < fact.version), default=0)
        since = [(found, said) for found, said in stream if begun < found.version < fact.version]
        of = {said.get("proposal") for found, said in since if found.causationid == fact.causationid}
        asked = [(found, said) for found, said in since if said.get("proposal") in of]
        same = [
            said for found, said in asked
            if found.type == "identity.KeyProposed" and [said["roles"], said["not_after"]] == [data["roles"], data["not_after"]]
        ]  # fmt: skip
        persons = {self.person(found.actor) for found, _ in asked if found.actor != data["key"]}
        self.enough(fact, len(persons) if same else 0, needed)

    def enough(self, fact: Fact, persons: int, needed: int) -> None:
        if persons < needed and self.is_whole_stream(fact):
            self.say("persons", fact, f"{fact.type} takes {needed} persons, and {persons} asked for it")
        elif persons < needed:
            self.doubts.add(f"{fact.type} takes {needed} persons, and who they are is not in the pack")

    def is_whole_stream(self, fact: Fact) -> bool:
        return self.versions[fact.subject] >= {*range(1, fact.version)}

    def context(self, fact: Fact) -> None:
        """Type, stream, shard and schema of one context."""
        context = fact.type.partition(".")[0]
        beginnings = (f"{context}/", f"{context}.events/", f"urn:spaceos:{fact.type}:")
        if not all(map(str.startswith, (fact.subject, fact.shard, fact.dataschema), beginnings)):
            self.say("context", fact, f"{fact.type} does not belong into {fact.subject}, {fact.shard} or {fact.dataschema}")

    def order(self) -> None:
        """Neighbours in a shard and in a stream. Where entries are missing in between, what is there is compared."""
        run, previous, last, versions = 0, -1, dict[str, tuple[Fact, int]](), dict[str, tuple[int, int]]()
        shards = dict[str, str]()
        for index, item in sorted(self.items.items()):
            run, previous = run if index == previous + 1 else index, index
            if isinstance(item, Seal):
                continue
            before, since = last.get(item.shard, (item._replace(sequence=-2 if run else -1, hash=ZERO, time=""), 0))
            is_next = item.sequence == before.sequence + 1 and item.prevhash == before.hash
            is_later = item.sequence > before.sequence + 1 and since != run
            if not (is_next or is_later) or item.time < before.time:
                self.say("seal", item, f"is {item.shard} {item.sequence}, which does not follow {before.sequence}")
            version, since = versions.get(item.subject, (0, 0))
            if shards.setdefault(item.subject, item.shard) != item.shard:
                self.say("context", item, f"{item.subject} is in two shards, {shards[item.subject]} and {item.shard}")
            if item.version <= version or (item.version > version + 1 and (since == run or item.file == f"keys/{index}")):
                self.say("stream", item, f"is version {item.version} of {item.subject}, and {version + 1} is next")
            last[item.shard], versions[item.subject] = (item, run), (item.version, run)

    def seals(self, asked: set[int]) -> None:
        """Each record that was asked for stands in a seal's cut; a batch that is here whole is its cut, in order."""
        places, covered = sorted(self.items), set[int]()
        for seal in [item for item in self.items.values() if isinstance(item, Seal)]:
            batch = places[bisect_left(places, seal.first) : bisect_left(places, seal.index)]
            keys: list[tuple[str, str, int]] = []
            for fact in map(self.items.__getitem__, batch):
                start, end, head = (0, 0, "") if isinstance(fact, Seal) else seal.cuts.get(fact.shard, (0, 0, ""))
                if (
                    isinstance(fact, Seal)
                    or not start <= fact.sequence < end
                    or (fact.sequence + 1 == end and fact.hash != head)
                ):
                    self.say("seal", fact, f"is not in the cut of the seal at {seal.index}")
                else:
                    keys.append((fact.time, fact.shard, fact.sequence))
            covered |= {*batch}
            count = sum(end - start for start, end, _ in seal.cuts.values())
            if len(batch) == seal.index - seal.first and (len(keys) != count or keys != sorted(keys)):
                self.say("seal", seal, "names more records than stand before it, or they stand in another order")
        for index in sorted(asked - covered):
            self.say("seal", self.items[index], "stands in no seal that is here")

    def sealed(self, asked: set[int], opened: dict[str, Any], erasures: dict[str, Any], withheld: Sequence[str] | None) -> None:
        """What became of each sealed field. What cannot be opened has a reason that is in the log, or it is tampering."""
        for fact, pointer, field in (found for found in self.fields if found[0].index in asked):
            if (opening := opened.get(str(fact.index), {}).pop(pointer, None)) is None:
                state = self._fate(field["key"], erasures, withheld)
            else:
                salt, text = bytes.fromhex(opening["salt"]), opening["text"].encode()
                is_true = digest(b"spaceos/commitment/1\0", salt, text).hex() == field["commitment"] and len(salt) == 32
                state = "opened" if is_true else "MISMATCH: salt and text are not what was committed to"
            self.states[state.partition(":")[0]].append(f"{fact.index}{pointer}")
            if ":" in state:
                self.say("sealed", fact, f"{pointer} {state}")
        if left := [f"{index}{pointer}" for index, fields in opened.items() for pointer in fields]:
            raise Bad("sealed", f"MISMATCH: opens {left[0]}, where nothing is sealed that was asked for")

    def _fate(self, key: str, erasures: dict[str, Any], withheld: Sequence[str] | None) -> str:
        said = erasures.get(key)
        marks = [(fact, data) for fact, data in self.marks if said is None or fact.index in said.values()]
        for gone, cause in ((fact, data["cause"]) for fact, data in marks if fact.subject == f"custody/key/{key}"):
            for order in (fact for fact, data in marks if key in data.get("keys", ())):
                if order.type == "audit.RetentionExpired" or (order.id == cause and order.time <= gone.time):
                    return f"{'expired' if order.type.endswith('Expired') else 'erased'} (entry {gone.index})"
            return f"MISSING: the key {key} was destroyed (entry {gone.index}), and nothing ordered it"
        is_withheld = said is None and (withheld is None or key in withheld)
        return "withheld" if is_withheld else f"MISSING: nothing says what became of the key {key}"

    def judge(self, pack: Pack | Live, head: Checkpoint, without_commands: bool) -> None:
        manifest = pack.manifest()
        asked = self.facts["asked"] = manifest["asked"]
        network = manifest.get("network", self.genesis["network"])
        if [manifest["origin"], manifest["size"], network] != [*head[:2], self.genesis["network"] or network]:
            raise Bad("manifest", "is of another log, size or network than the checkpoint and the genesis")
        self.names = pack.names
        for file in sorted(name for name in pack.names if re.fullmatch("(entries|keys|seals|erasures|persons)/[0-9]+", name)):
            index = int(file.partition("/")[2])
            self.guard("inclusion", file, index, self._alone, pack, file, index, head)
        nodes = self.guard("inclusion", "range.json", None, self._range, pack, asked, head) if "first" in asked else None
        if self.old:
            self.guard("consistency", "consistency", None, self.compare, self.old, head, pack, nodes or [])
        facts = [item for _, item in sorted(self.items.items()) if isinstance(item, Fact)]
        self.is_whole, known = len(self.items) == head.size, dict[str, Fact]()
        self.places = {(fact.shard, fact.sequence): fact for fact in facts}
        self.versions, self.ends = defaultdict[str, set[int]](set), {fact.shard: fact.sequence for fact in facts}
        for fact in facts:
            self.versions[fact.subject].add(fact.version)
        for fact in facts:
            self.context(fact)
            if known.setdefault(fact.id, fact) is not fact:
                self.say("once", fact, f"the event {fact.id} stands at {known[fact.id].index}, too")
            if self.cosigned is not None and instant(fact.time) - datetime.fromtimestamp(self.cosigned, UTC) > CLOCKS:
                self.say("time", fact, f"it is of {fact.time}, after the head was cosigned")
            if self.writers and not any(change.role == "store.writer" for change in self.changes.get(fact.source, ())):
                self.say("signature", fact, f"{fact.source} is no writer of the genesis, nor registered as one")
            else:
                self.may(fact.source, ["store.writer"], fact, "writer")
            if (file := f"commands/{fact.index}.json") in pack.names:
                self.guard("command", file, fact.index, self.command, fact, pack.read(file))
            else:
                self.may(fact.actor, [], fact)
        self.order()
        chosen = self.guard("asked", "manifest.json", None, self._chosen, facts, asked, manifest.get("indices")) or set()
        self.seals(chosen)
        documents = [parsed(pack.read(name)) if name in pack.names else {} for name in ("opened.json", "erasures.json")]
        self.guard("sealed", "opened.json", None, self.sealed, chosen, *documents, manifest["withheld"])
        used = {name for i, item in self.items.items() for name in (item.file, f"proofs/{i}.tlog-proof", f"commands/{i}.json")}
        if unused := sorted(name for name in pack.names - used if "/" in name):
            raise Bad("asked", "belongs to nothing that is in the pack", unused[0])
        self.facts["verified"] = f"{len(chosen)} records asked for, {len(self.items)} entries here, {self.commands} commands"
        who = "who asked: not every record has a command that could be verified"
        else_ = "that nothing else fits, ends a key, or uses one of these commands again"
        if self.commands < len(facts) and not without_commands and pack.has_commands:
            self.doubts.add(who)
        self.facts["not shown"] = [who] * (self.commands < len(facts)) + [else_] * (len(self.items) < head.size)

    def _alone(self, pack: Pack, file: str, index: int, head: Checkpoint) -> None:
        top, _, note = pack.read(f"proofs/{index}.tlog-proof").partition(b"\n\n")
        form, *lines = top.decode("ascii").split("\n")
        lines, entry = lines[lines[0].startswith("extra ") :], pack.read(file)
        if (form, lines[0]) != ("c2sp.org/tlog-proof@v1", f"index {index}") or note != pack.read("checkpoint"):
            raise Bad("inclusion", "is of another form, entry or checkpoint", f"proofs/{index}.tlog-proof")
        path = [unbase64(line, 32) for line in lines[1:]]
        if index >= head.size or root_over(digest(b"\0", entry), index, head.size, path) != head.root:
            raise Bad("inclusion", "is not what stands at this place of the log")
        self.guard("entry", file, index, self.entry, index, file, entry)

    def _range(self, pack: Pack | Live, asked: dict[str, Any], head: Checkpoint) -> list[tuple[int, bytes]]:
        sides, first, index, last = parsed(pack.read("range.json")), asked["first"], asked["first"], asked["end"]
        nodes, right = ([(height, unbase64(text, 32)) for height, text in sides[side]] for side in ("left", "right"))
        while index < last:
            end = min(last, (index // WIDTH + 1) * WIDTH)
            file = f"entries/{index}-{end}"
            bundle = pack.read(file)
            while bundle and index < end:
                length = 2 + int.from_bytes(bundle[:2], "big")
                entry, bundle = bundle[2:length], bundle[length:]
                nodes.append((0, digest(b"\0", entry)))
                self.guard("entry", file, index, self.entry, index, file, entry)
                index += 1
            if bundle or index < end:
                raise Bad("entry", "holds more or fewer entries than its name says", file)
        nodes += right
        if root_at(first, nodes) is None or root_at(head.size, nodes) != head.root:
            raise Bad("inclusion", "the entries and what is beside them give another root than the checkpoint's")
        return nodes

    def _chosen(self, facts: list[Fact], asked: dict[str, Any], indices: list[int] | None) -> set[int]:
        """The records that were asked for. Raises Bad where they are not those that fit what was asked."""
        among, late = range(asked["first"], asked["end"]) if "first" in asked else set(indices or ()), asked.get("until", "~")
        whole, begins = {"event": "id", "versions": "subject", "actor": "actor"}, {"stream": "subject", "type": "type"}
        there = [fact for fact in facts if fact.index in among and asked.get("since", "") <= fact.time < late]
        there = [fact for fact in there if all(getattr(fact, begins[n]).startswith(asked[n]) for n in begins.keys() & asked)]
        chosen = [fact for fact in there if all(getattr(fact, whole[n]) == asked[n] for n in whole.keys() & asked)]
        unknown = asked.keys() - whole.keys() - begins.keys() - {"since", "until", "first", "end"}
        if unknown or not (chosen or "first" in asked) or [f.index for f in chosen] != (indices or [f.index for f in chosen]):
            raise Bad("asked", "lists other entries than are here and fit what was asked")
        if "versions" in asked and [fact.version for fact in chosen] != [n + 1 for n in range(len(chosen))]:
            raise Bad("stream", f"these are not the versions 1 to {len(chosen)} of {asked['versions']}")
        return {fact.index for fact in chosen}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", metavar="PACK")
    for name in ("--policy", "--genesis", "--since"):
        parser.add_argument(name, metavar="FILE")
    parser.add_argument("--header", metavar="NAME: VALUE", action="append", default=[], help="of requests to a live log")
    for name in ("--without-commands", "--json"):
        parser.add_argument(name, action="store_true")
    parser.add_argument(
        "--head-age", metavar="SECONDS", type=int, help="of a live log's newest cosignature, 3600 where not said"
    )
    options = parser.parse_args(arguments)
    is_live = options.pack.startswith(("http://", "https://"))
    head_age = HEAD_AGE if is_live and options.head_age is None else options.head_age
    try:
        policy, genesis, since = (
            Path(name).read_bytes() if name else None for name in (options.policy, options.genesis, options.since)
        )
        judge = Judge(policy, genesis, since, head_age)
        is_witnessed = judge.policy is not None and judge.policy.quorum != "none"
        pack = Live(options.pack, options.header, is_witnessed) if is_live else Pack(options.pack)
    except Exception as error:
        parser.error(f"{error!a}: nothing can be verified")
    is_fit = judge.guard("manifest", "manifest.json", None, pack.admit)
    if is_fit and (head := judge.guard("checkpoint", "checkpoint", None, judge.checkpoint, pack)):
        judge.guard("manifest", "manifest.json", None, judge.judge, pack, head, options.without_commands)
    found = sorted(judge.bad, key=lambda finding: (CHECKS.index(finding["check"]), finding["index"] or 0))
    code, verdict = (1, "TAMPERING IS SHOWN") if found else (3, "INCONCLUSIVE") if judge.doubts else (0, "verified")
    answer = judge.facts | {"sealed": judge.states, "unclear": sorted(judge.doubts), "found": found[:SHOWN]}
    answer |= {"findings": len(found), "exit": code, "verdict": verdict}
    rows = [(name, item) for name, value in answer.items() for item in (value if isinstance(value, list) else [value])]
    lines = (f"{name:>10}  " + json.dumps(item).strip('"') for name, item in rows)
    print(json.dumps(answer, separators=(",", ":")) if options.json else "\n".join(lines))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
