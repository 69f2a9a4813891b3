"""The audit log's verifier, for whoever does not trust us: one file; Python 3.11, its standard library and PyNaCl.

    python auditverify.py PACK [--policy FILE] [--genesis FILE] [--since CHECKPOINT] [--without-commands] [--json]

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

CHECKS = "checkpoint consistency manifest entry inclusion signature authority command stream seal asked sealed"  # in this order
FORMAT, EMPTY, ZERO = "spaceos-audit-pack/1", hashlib.sha256(b"").digest(), "0" * 64
NAMESPACE = uuid.UUID("6ba8c1de-52cc-5f3e-9d55-0a3c4d1f7e21")
WIDTH, LARGEST_RECORD, LARGEST_FILE, SHOWN = 256, 60_000, 2**28, 12
KEY_LIFE, TOLERANCE, instant = timedelta(days=366), timedelta(seconds=5), datetime.fromisoformat
TOP = re.compile(r"README|auditverify\.py|checkpoint|consistency|(erasures|manifest|opened|range)\.json")
BELOW = re.compile(r"[a-z]+/(0|[1-9][0-9]{0,14})(-[1-9][0-9]{0,14}|\.json|\.tlog-proof)?")
_ROLES = """identity: root Found / registrar ProposeKey ApproveKey WithdrawRole RevokeKey / self RotateKey WithdrawRole
RevokeKey ; providers: gpu RegisterProvider DrainProvider ResumeProvider Leave DeclareOffer WithdrawOffer / process BindGpu
NoteStanding SuspendOffer ReinstateOffer / catalogue ListModel DelistModel ; liveness: collector RecordHeartbeats / clock
ExcuseSlots CloseEpoch ; custody: process CreateKey Shred ; audit: officer PlaceHold ReleaseHold OrderErasure / process
ResumeErasure ConfirmErasure / publisher PublishSchema / clock ExpireRetention / reader RecordRead RecordPack ReportTampering /
sequencer HaltShard RecordServed ReportTampering / operator ResumeShard / keyholder AddWitness RetireWitness RotateLogKey ;
operations: operator StartRebuild SwapView AbandonRebuild RetireVersion Redrive DeclareProfile / reader ParkStream
ConfirmDrained / analyst RunWhatIf ReplayWindow ExportRecords ; inference: arbiter ResolveDispute / gpu SubmitReceipt / oracle
RefuteReceipt / process SettleReceipt NotePayment CloseRequest / router OpenRequest StartAttempt EndAttempt CloseRequest ;
rewards: governor DeclareGenesis AllotGrant ReturnGrant CreateGrant RevokeGrant / process OpenYear MintEpoch ReturnGrant Issue
RecordBurn Release OpenEpoch CloseEpoch DivideOracleShare PublishRoot Accrue Pay Earn LapseEscrow / registrar ReachMilestone
RegisterOwner / relayer ConfirmRoot RecordClaim / settler SplitFee TakeFee ; staking: council ResolveAppeal / holder
RequestUnstake CancelUnstake Withdraw RegisterDevice DeregisterDevice ResumeDevice Dispute Appeal Drip / member
ProveEquivocation / oracle Attest / process Stake RequestUnstake HoldForCase ReleaseHold Slash Tombstone AdmitDevice
DeclineDevice SuspendDevice OpenCase ProveEquivocation ProveRefutation PostBond ResolveDispute ExecuteCase LapseCase
ClaimSerial FreeSerial CountDrip ReviewTier / relayer Observe ; treasury: attestor AttestReserves Reconcile / burner Burn /
cashier ObserveDeposit SettleDeposit DisputeDeposit CloseDispute ConfirmPayout ReturnPayout / gateway Hold / governor
ConfigureMinter RemoveMinter / holder RequestWithdrawal CancelWithdrawal Hold / minter Mint / pauser PauseMinting / process
ReceiveBacking WriteDownBacking MarkIssued RefundDeposit CancelWithdrawal RouteWithdrawal LapseReview FundWithdrawal
SubmitPayout ReissueWithdrawal ReserveOutflow ReleaseOutflow OpenAccount Credit Debit Hold Capture Release ExpireHold Freeze
Unfreeze / relayer ConfirmMint FailMint EscrowWithdrawal / reviewer ResumeMinting AssignDeposit ReviewWithdrawal Freeze
Unfreeze CloseBreak Adjust ApproveAdjustment"""
ROLES = defaultdict[str, list[str]](list)
"""Who may ask for what, from the specification. A command that is not here cannot be judged: inconclusive."""
for _context, _said in [said.split(":") for said in _ROLES.split(";")]:
    for _role, *_names in map(str.split, _said.split("/")):
        for _name in _names:
            ROLES[f"{_context.strip()}.{_name}"].append(f"{_context.strip()}.{_role}")
for _name in {name.partition(".")[0] for name in ROLES}:  # every context answers these
    ROLES |= {f"{_name}.{said}": [f"{_name}.process"] for said in ("AdoptParameter", "Halt", "Lift")}

NoteKey = namedtuple("NoteKey", "name kind public id")
Checkpoint = namedtuple("Checkpoint", "origin size root signed")
Fact = namedtuple(
    "Fact", "index file hash sequence version id type shard prevhash commandhash source subject time actor causationid"
)
Seal = namedtuple("Seal", "index file batch first cuts")  # cuts: by shard, the records from <= sequence < to, the last hash
Change = namedtuple("Change", "time shard sequence role prefix until")  # no role: the key as a whole; no until: taken away


class Bad(Exception):
    """Tampering is shown, or a file is not what it must be: one of CHECKS, a text, perhaps a file."""


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
    raw = unbase64(material)
    key = NoteKey(name, raw[0], raw[1:], digest(name.encode(), b"\n", raw)[:4])
    if not name or key.id.hex() != claimed or (key.kind in (1, 4) and len(key.public) != 32):
        raise ValueError(f"{text[:80]!r} is no verifier key")
    return key


def open_checkpoint(note: bytes, keys: Iterable[NoteKey]) -> Checkpoint:
    """Origin, size, root, and which of the keys signed them when. Unknown keys are passed over. Raises ValueError and such."""
    text, _, tail = note.decode("utf-8").rpartition("\n\n")
    lines, known, found = tail.split("\n"), {(key.name, key.id): key for key in keys}, dict[NoteKey, int]()
    if len(lines) < 2 or lines.pop() or len(lines) > 100 or any(c < " " and c != "\n" for c in text):
        raise ValueError("it is no signed note of at most 100 signatures")
    for dash, name, material in (line.split(" ") for line in lines):
        raw = unbase64(material)
        if dash != "—" or not name or "+" in name or len(raw) < 5:
            raise ValueError(f"{name[:60]!r} has no signature line")
        if key := known.get((name, raw[:4])):
            seconds, signature = (int.from_bytes(raw[4:12], "big"), raw[12:]) if key.kind == 4 else (0, raw[4:])
            message = (f"cosignature/v1\ntime {seconds}\n" if key.kind == 4 else "") + text + "\n"
            VerifyKey(key.public).verify(message.encode(), signature)
            found[key] = seconds
    origin, size, root, *more = text.split("\n")
    if not all([origin, *more]) or not re.fullmatch(r"0|[1-9][0-9]{0,17}", size):
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
    """A zip whose members are stored, not compressed: nothing in it is larger than it looks. Raises KeyError."""

    def __init__(self, path: str) -> None:
        self._zip, self._size = zipfile.ZipFile(path), Path(path).stat().st_size
        self._members, self.is_newest = {member.orig_filename: member for member in self._zip.infolist()}, False
        self.names, self.read = set(self._members), self._zip.read
        self._zip.getinfo("manifest.json")

    def manifest(self) -> Any:
        for name, member in self._members.items():
            if not (TOP.fullmatch(name) or BELOW.fullmatch(name)) or member.compress_type or member.flag_bits & 1:
                raise Bad("manifest", "has no place in a pack", name)
        if len(self.names) != len(self._zip.infolist()) or sum(m.file_size for m in self._zip.infolist()) > self._size:
            raise Bad("manifest", "a file is in the pack twice, or its files are larger than it is")
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
        self._head = "checkpoint" + ".witnessed" * is_witnessed

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
            return bytes(answer.read(LARGEST_FILE))


def changes_of(document: dict[str, Any]) -> Iterator[tuple[str, str | None, str, str | None]]:
    """What an event of identity changes: key, role, prefix, until when."""
    data, kind = document["data"], document["type"]
    if kind == "identity.Founded":
        until = (instant(document["time"]) + KEY_LIFE).isoformat()
        yield from ((root, "identity.registrar", "identity/", until) for root in data["roots"])
    elif kind in ("identity.KeyRegistered", "identity.KeyRotated"):
        ends = [(data.get("successor", data["key"]), data["not_after"]), (data["key"], data.get("until", data["not_after"]))]
        yield from ((key, grant["role"], grant["prefix"], until) for key, until in ends for grant in data["roles"])
    elif kind in ("identity.RoleWithdrawn", "identity.KeyRevoked"):
        yield data["key"], data.get("role"), data.get("prefix", ""), None


def sealed_fields(node: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every sealed field of an event's data, by its JSON pointer."""
    if isinstance(node, dict) and "sealed" in node and "commitment" in node:
        yield pointer, node
    elif isinstance(node, (dict, list)):
        for name, item in node.items() if isinstance(node, dict) else enumerate(node):
            yield from sealed_fields(item, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")


class Judge:
    """Everything that is held against entries, in whatever order they come; what needs all of them is judged at the end."""

    def __init__(self, policy: bytes | None, genesis: bytes | None, since: bytes | None) -> None:
        self.bad, self.facts, self.commands = list[dict[str, Any]](), dict[str, Any](), 0
        self.policy, self.states = Policy(policy) if policy else None, defaultdict[str, list[str]](list)
        self.genesis = parsed(genesis) if genesis else {"network": None, "keys": []}
        self.logs = [key for key in self.policy.logs if key.kind == 1] if self.policy else []
        self.keys = [*self.logs, *(key for key in self.policy.witnesses if key.kind == 4)] if self.policy else []
        self.changes, self.marks = defaultdict[str, list[Change]](list), list[tuple[Fact, dict[str, Any]]]()
        for n, (key, role) in enumerate((first, role) for first in self.genesis["keys"] for role in first["roles"]):
            self.changes[key["key"]].append(Change("", "genesis", n, role["role"], role["prefix"], key["not_after"]))
        self.writers = {key for key, grants in self.changes.items() if any(grant.role == "store.writer" for grant in grants)}
        known = {"policy": policy, "genesis": self.writers}
        self.doubts = {f"no {name} that names keys was given (--{name} FILE): whose?" for name in known if not known[name]}
        self.items, self.fields = dict[int, Fact | Seal](), list[tuple[Fact, str, dict[str, Any]]]()
        self.old = open_checkpoint(since, self.keys) if since else None
        if self.old and self.logs and not any(key.name == self.old.origin and key in self.old.signed for key in self.logs):
            raise ValueError("no log of the policy signed the checkpoint of --since")

    def guard(self, check: str, file: str, index: int | None, work: Callable[..., Any], *arguments: Any) -> Any:
        """What the work answers; None where it shows something bad, which is written down, whatever it is."""
        try:
            return work(*arguments)
        except OSError as error:
            self.doubts.add(f"{file} could not be read: {error}")
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
        if self.writers and fact.source not in self.writers:
            raise Bad("signature", f"{fact.source} is no writer of the genesis")
        for key, role, prefix, until in changes_of(document):
            self.changes[key].append(Change(fact.time, fact.shard, fact.sequence, role, prefix, until))
        if fact.type in ("custody.KeyShredded", "audit.ErasureOrdered", "audit.RetentionExpired"):
            self.marks.append((fact, document["data"]))
        self.fields += [(fact, pointer, field) for pointer, field in sealed_fields(document["data"])]

    def may(self, key: str, roles: Sequence[str], fact: Fact) -> None:
        """Whether the key had one of the roles, or any. Equal times in two shards may be either way round: a batch has one."""
        subject, is_own = fact.subject, (not roles or "identity.self" in roles) and fact.subject == f"identity/key/{key}"
        for with_ties in (False, True):
            grants: dict[tuple[str | None, str], str | None] = {}
            for change in sorted(self.changes.get(key, ()), key=lambda change: change[:3]):
                is_before = change.sequence < fact.sequence if change.shard == fact.shard else with_ties
                if change.time < fact.time or (change.time == fact.time and is_before):
                    grants[change.role, change.prefix] = change.until
            for (role, prefix), until in grants.items() if (None, "") not in grants else ():
                fits = subject.startswith(prefix) and not (prefix[-1:].isalnum() and subject[len(prefix) :][:1].isalnum())
                is_fit = is_own or (fits and (not roles or role in roles))
                if until and is_fit and instant(fact.time) - instant(until) <= TOLERANCE:
                    return
        if self.writers:
            why = "was revoked" if any(role is None for role, _ in grants) else "had no role for it"
            self.say("authority", fact, f"{key} {why} at {fact.time}")

    def command(self, fact: Fact, raw: bytes) -> None:
        """Who asked: the command that the event names, signed by its actor, and the outcome that names the event."""
        kept = parsed(raw)
        value, written = unbase64(kept["command"]), unbase64(kept["outcome"])
        asked, outcome, events = parsed(value), parsed(written), parsed(written)["data"]["events"]
        if (verdict := signed(fact.actor, value, kept["signature"])) is None:
            self.doubts.add("a wallet signed, and coincurve and pycryptodome are not installed here")
        if verdict is False or not digest(value).hex() == fact.commandhash == outcome["data"]["commandhash"]:
            raise Bad("command", f"{fact.actor} did not sign it, or the event names another command")
        if not (roles := ROLES.get(asked["type"], [])):
            self.doubts.add(f"no role is known here for {asked['type']}")
        self.may(fact.actor, roles, fact)
        if [asked["source"], asked["id"], asked["subject"]] != [fact.actor, fact.causationid, fact.subject]:
            raise Bad("command", "the command has another source, id or stream than the event")
        mine = {"shard": fact.shard, "sequence": fact.sequence, "id": fact.id, "streamversion": fact.version}
        ids = [str(uuid.uuid5(NAMESPACE, f"{fact.actor}\n{fact.causationid}\n{n}")) for n in ("outcome", *range(len(events)))]
        wanted = {name: getattr(fact, name) for name in ("source", "subject", "time", "actor", "causationid")}
        wanted |= {"network": asked["network"], "type": f"{fact.type.split('.')[0]}.Accepted", "id": ids[0]}
        if {**outcome, **wanted} != outcome or (fact.id, mine) not in zip(ids[1:], events, strict=True):
            raise Bad("command", "the outcome is not that of this command, or does not name the event")
        known = {(change.shard, change.sequence) for change in self.changes.get(fact.actor, ())}
        if self.writers and any((place["shard"], place["sequence"]) not in known for place in outcome["data"]["authority"]):
            raise Bad("authority", f"the outcome relies on an event that says nothing of {fact.actor}")
        self.commands += 1

    def order(self) -> None:
        """Neighbours in a shard and in a stream. Where entries are missing in between, what is there is compared."""
        run, previous, last, versions = 0, -1, dict[str, tuple[Fact, int]](), dict[str, tuple[int, int]]()
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
        for file in sorted(name for name in pack.names if re.fullmatch("(entries|keys|seals|erasures)/[0-9]+", name)):
            index = int(file.partition("/")[2])
            self.guard("inclusion", file, index, self._alone, pack, file, index, head)
        nodes = self.guard("inclusion", "range.json", None, self._range, pack, asked, head) if "first" in asked else None
        if self.old:
            self.guard("consistency", "consistency", None, self.compare, self.old, head, pack, nodes or [])
        facts = [item for _, item in sorted(self.items.items()) if isinstance(item, Fact)]
        for fact in facts:
            self.may(fact.source, ["store.writer"], fact)
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
        who, else_ = "who asked: not every record has a command that could be verified", "that nothing else fits, or ends a key"
        if self.commands < len(facts) and not (without_commands or isinstance(pack, Live)):
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
    options = parser.parse_args(arguments)
    try:
        judge = Judge(*(Path(name).read_bytes() if name else None for name in (options.policy, options.genesis, options.since)))
        is_witnessed = judge.policy is not None and judge.policy.quorum != "none"
        is_live = options.pack.startswith(("http://", "https://"))
        pack = Live(options.pack, options.header, is_witnessed) if is_live else Pack(options.pack)
    except Exception as error:
        parser.error(f"{error!a}: nothing can be verified")
    if head := judge.guard("checkpoint", "checkpoint", None, judge.checkpoint, pack):
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
