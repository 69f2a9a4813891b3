"""C2SP tlog-policy: which logs are known, which witnesses, and how many of them must have cosigned a head.

The file is octets: names that are not UTF-8 are kept as they are, and two names are the same when their octets are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from adapters.tlog.notes import COSIGNATURE, ED25519, NoteKey

MAX_BYTES: Final = 65_536
NONE: Final = "none"
"""The quorum that asks for nobody. No witness and no group may have this name."""


class PolicyInvalid(ValueError):
    """The text is no policy. The message names the line and the rule that it breaks."""


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log whose heads are believed; the key's name is its origin."""

    key: NoteKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Witness:
    """Who cosigns. The name has a meaning in the policy only; the URL is where heads are submitted."""

    name: str
    key: NoteKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Has witnessed a head when `threshold` of its members, witnesses or groups, have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """What somebody believes. A group stands after its members; a quorum of None asks for no cosignature."""

    logs: tuple[KnownLog, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From a policy file. Raises PolicyInvalid."""
        reader = _Reader()
        for number, line in enumerate(_lines(raw), 1):
            try:
                reader.read(line)
            except ValueError as error:
                raise PolicyInvalid(f"line {number}: {error}") from None
        if not reader.quorum:
            raise PolicyInvalid(f"line {_count(raw)}: the policy ends without a quorum line; it has exactly one")
        quorum = None if reader.quorum == NONE else reader.quorum
        return cls(tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), quorum)

    def encode(self) -> bytes:
        """The file. What it says is what was parsed, without the comments."""
        lines = [_joined("log", str(log.key), log.url) for log in self.logs]
        lines += [_joined("witness", witness.name, str(witness.key), witness.url) for witness in self.witnesses]
        lines += [_joined("group", group.name, _threshold_text(group), *group.members) for group in self.groups]
        lines += [_joined("quorum", self.quorum or NONE)]
        return "".join(lines).encode("utf-8", "surrogateescape")

    def is_met_by(self, cosigners: Iterable[NoteKey]) -> bool:
        """Whether cosignatures by these keys, which somebody has verified, are enough."""
        keys = frozenset(cosigners)
        witnessed = {witness.name for witness in self.witnesses if witness.key in keys}
        # A group stands after its members, so one pass is enough, however deep they are nested.
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum is None or self.quorum in witnessed


@dataclass
class _Reader:
    logs: list[KnownLog] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    quorum: str = ""
    _names: set[str] = field(default_factory=set)
    _members: set[str] = field(default_factory=set)

    def read(self, line: str) -> None:
        """One line. Raises ValueError with the rule that it breaks."""
        # Spaces and tabs only: what Unicode takes for a space may be in a name.
        match [item for item in line.replace("\t", " ").split(" ") if item]:
            case []:
                return
            case [first, *_] if first.startswith("#"):
                return
            case ["log", key, *url] if len(url) < 2:
                self._log(key, *url)
            case ["witness", name, key, *url] if len(url) < 2:
                self._witness(name, key, *url)
            case ["group", name, threshold, member, *members]:
                self._group(name, threshold, (member, *members))
            case ["quorum", name]:
                self._quorum(name)
            case ["log" | "witness" | "group" | "quorum" as keyword, *_]:
                raise ValueError(f"a line of this kind is: {_FORMS[keyword]}")
            case [first, *_]:
                raise ValueError(f"a line begins with log, witness, group, quorum or #, not with {first[:40]!r}")

    def _log(self, text: str, url: str | None = None) -> None:
        key = _key(text, ED25519, "a log's key is an Ed25519 one (kind 0x01)")
        if any(known.key.public == key.public for known in self.logs):
            raise ValueError(f"the public key of {key.name} is that of another log; each is listed once")
        self.logs.append(KnownLog(key, url))

    def _witness(self, name: str, text: str, url: str | None = None) -> None:
        self._is_free(name)
        key = _key(text, COSIGNATURE, "a witness's key is one for Ed25519 cosignatures (kind 0x04)")
        if any(known.key.public == key.public for known in self.witnesses):
            raise ValueError(f"the public key of {name} is that of another witness; each is listed once")
        self.witnesses.append(Witness(name, key, url))
        self._names.add(name)

    def _group(self, name: str, threshold: str, members: tuple[str, ...]) -> None:
        self._is_free(name)
        seen: set[str] = set()
        for member in members:
            self._is_known(member)
            if member in self._members or member in seen:
                raise ValueError(f"{member} is a member already; a name is a member once, in one group")
            seen.add(member)
        self.groups.append(Group(name, _threshold(threshold, len(members)), members))
        self._names.add(name)
        self._members |= seen

    def _quorum(self, name: str) -> None:
        if self.quorum:
            raise ValueError("there is a quorum line already; a policy has exactly one")
        if name != NONE:
            self._is_known(name)
        self.quorum = name

    def _is_free(self, name: str) -> None:
        if name == NONE:
            raise ValueError("the name none is taken: it is the quorum that asks for nobody")
        if name in self._names:
            raise ValueError(f"{name} is defined already; witnesses and groups share their names")

    def _is_known(self, name: str) -> None:
        if name not in self._names:
            raise ValueError(f"{name} is no witness and no group that is defined on a line before this one")


_FORMS: Final = {
    "log": "log <vkey> [<url>]",
    "witness": "witness <name> <vkey> [<url>]",
    "group": "group <name> <all|any|k> <member>…",
    "quorum": "quorum <name|none>",
}


def _lines(raw: bytes) -> list[str]:
    if len(raw) > MAX_BYTES:
        raise PolicyInvalid(f"line 1: a policy has at most {MAX_BYTES} bytes, this one has {len(raw)}")
    # A file that was cut in the middle of a name could ask for less than its author wrote.
    if raw and not raw.endswith(b"\n"):
        raise PolicyInvalid(f"line {_count(raw) + 1}: a line ends in a newline, also the last one")
    lines = raw.split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        if any((octet < 0x20 and octet != 0x09) or octet == 0x7F for octet in line):
            raise PolicyInvalid(f"line {number}: a policy has no control characters but tabs and newlines")
    return [line.decode("utf-8", "surrogateescape") for line in lines]


def _count(raw: bytes) -> int:
    return raw.count(b"\n")


def _key(text: str, kind: int, rule: str) -> NoteKey:
    key = NoteKey.parse(text)
    if key.kind != kind:
        raise ValueError(f"{rule}, that of {key.name} is of kind 0x{key.kind:02x}")
    return key


def _threshold(text: str, members: int) -> int:
    if text in ("any", "all"):
        return 1 if text == "any" else members
    # The length first: a number of thousands of digits takes its time.
    if not (len(text) < 7 and text.isascii() and text.isdecimal() and str(int(text)) == text and 1 <= int(text) <= members):
        raise ValueError(
            f"of {members} members any, all or a number from 1 to {members} must have witnessed, not {text[:40]!r}"
        )
    return int(text)


def _threshold_text(group: Group) -> str:
    if group.threshold == len(group.members):
        return "all"
    return "any" if group.threshold == 1 else str(group.threshold)


def _joined(*items: str | None) -> str:
    return " ".join(item for item in items if item is not None) + "\n"
