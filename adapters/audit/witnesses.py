"""Asking witnesses to cosign the newest signed head (c2sp.org/tlog-witness).

A witness that is silent, or whose signature is bad, delays only the witnessed head. One that says that the head does not
continue what it has seen has found a fork or a bug: that is recorded, and nothing is asked or signed until somebody has
looked into it.
"""

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from adapters.audit.cosignatures import (
    Cosignature,
    Refusal,
    cosignatures_of,
    last_cosigned,
    record_refusal,
    standing_refusal,
    store_cosignature,
)
from adapters.audit.log import AuditLog
from adapters.audit.policy import Policy, Witness
from adapters.audit.signing import Forked, RolledBack
from adapters.tlog.notes import NoteInvalid, NoteKey, open_note
from adapters.tlog.submissions import PATH, SIZE_TYPE, Submission, SubmissionInvalid, size_of

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 16_384
AHEAD_SECONDS: Final = 300
"""So far may a witness's clock be before ours."""
BEHIND_SECONDS: Final = 86_400
"""A witness may repeat what it cosigned, but not for ever."""


class WitnessRefused(RuntimeError):
    """A witness found that the head does not continue what it has seen. Publish nothing, and call somebody."""

    def __init__(self, refusal: Refusal) -> None:
        name = refusal.witness.partition("+")[0]
        super().__init__(f"{name} refused the head of {refusal.size} leaves ({refusal.status}): {refusal.answer[:200]}")
        self.refusal = refusal


@dataclass(frozen=True)
class Gathered:
    """What came of asking for the head of `size` leaves. Names are the policy's."""

    size: int
    cosigned: frozenset[str]
    missing: Mapping[str, str]
    """Who has not cosigned, and why."""
    is_met: bool


def witness_session(timeout_seconds: float = TIMEOUT_SECONDS) -> ClientSession:
    """A session for `gather_cosignatures`; to be closed by whoever asked for it. The time is that of one answer."""
    return ClientSession(timeout=ClientTimeout(total=timeout_seconds), headers={"User-Agent": "spaceos-audit"})


async def gather_cosignatures(
    audit: AuditLog, policy: Policy, session: ClientSession, *, now: Callable[[], float] = time.time
) -> Gathered:
    """Have the newest signed head cosigned by every witness of the policy that has a URL and has not done so yet.

    Raises WitnessRefused, also while an older refusal stands; NotInLog where nothing was signed; SQLAlchemy's errors.
    """
    engine = audit.engine
    if (standing := await asyncio.to_thread(standing_refusal, engine)) is not None:
        raise WitnessRefused(standing)
    size, note = await asyncio.to_thread(audit.checkpoint)
    held = {found.key for found in await asyncio.to_thread(cosignatures_of, engine, policy, size)}
    request = _Request(audit, session, size, note, now)
    asked = [witness for witness in policy.witnesses if witness.url is not None and witness.key not in held]
    answers = await asyncio.gather(*map(request.ask, asked), return_exceptions=True)
    missing = {witness.name: "it has no URL" for witness in policy.witnesses if witness.url is None and witness.key not in held}
    for witness, answer in zip(asked, answers, strict=True):
        match answer:
            case None:
                held.add(witness.key)
            case Missing() | OSError() | ClientError():
                missing[witness.name] = str(answer) or type(answer).__name__
                log.warning("the witness %s has not cosigned %d: %s", witness.name, size, missing[witness.name])
    for failure in answers:
        if failure is not None and not isinstance(failure, (Missing, OSError, ClientError)):
            raise failure
    cosigned = frozenset(witness.name for witness in policy.witnesses if witness.key in held)
    return Gathered(size, cosigned, missing, policy.is_met_by(held))


async def compare_with_witnesses(
    audit: AuditLog, policy: Policy, session: ClientSession, size: int, note: str
) -> dict[str, str]:
    """Ask each witness of the policy that has a URL whether that signed head is the last one: nothing is signed for it.

    Returns who did not say, and why. Raises RolledBack where one has cosigned a larger tree, Forked where one has another tree
    of that size.
    """
    request = _Request(audit, session, size, note, time.time)
    asked = [witness for witness in policy.witnesses if witness.url is not None]
    answers = await asyncio.gather(*(request.compare(witness) for witness in asked), return_exceptions=True)
    silent = {witness.name: "it has no URL" for witness in policy.witnesses if witness.url is None}
    for witness, answer in zip(asked, answers, strict=True):
        match answer:
            case None:
                pass
            case Missing() | OSError() | ClientError():
                silent[witness.name] = str(answer) or type(answer).__name__
            case _:
                raise answer
    return silent


class Missing(Exception):
    """This time there is no cosignature, and why."""


class _Answer(NamedTuple):
    status: int
    type: str
    body: bytes

    @property
    def text(self) -> str:
        return " ".join(self.body[:200].decode("utf-8", "replace").split())


@dataclass(frozen=True)
class _Request:
    """One head that witnesses are asked for."""

    audit: AuditLog
    session: ClientSession
    size: int
    note: str
    now: Callable[[], float]

    async def ask(self, witness: Witness) -> None:
        """Returns when its cosignature is stored. Raises Missing, WitnessRefused, and what aiohttp raises."""
        old = min(self.size, await asyncio.to_thread(last_cosigned, self.audit.engine, witness.key))
        answer = await self._submit(witness, old)
        if answer.status == 409:
            old = await self._known_size(witness, answer, old)
            answer = await self._submit(witness, old)
        if answer.status == 409:
            await self._known_size(witness, answer, old)
            raise Missing("it named another size each time it was asked")
        if answer.status == 422:
            raise await self._refused(witness, answer)
        if answer.status != 200:
            raise Missing(f"it answered {answer.status} {_MEANINGS.get(answer.status, '')}: {answer.text}")
        found = _cosignature(witness.key, self.size, self.note, answer.body, round(self.now()))
        await asyncio.to_thread(store_cosignature, self.audit.engine, found)

    async def compare(self, witness: Witness) -> None:
        """Returns where its last head is this one, or older. Raises RolledBack, Forked, Missing, and what aiohttp raises."""
        answer = await self._submit(witness, self.size)
        if answer.status == 409 and answer.type == SIZE_TYPE and (known := _size(answer)) != self.size:
            if known > self.size:
                raise RolledBack(f"{witness.name} has cosigned a tree of {known} leaves, and the head given has {self.size}")
        elif answer.status in (409, 422):
            raise Forked(f"{witness.name} has another tree of {self.size} leaves: {answer.text}")
        elif answer.status != 200:
            raise Missing(f"it answered {answer.status} {_MEANINGS.get(answer.status, '')}: {answer.text}")

    async def _submit(self, witness: Witness, old: int) -> _Answer:
        # Nothing is to be proved of a tree and itself, and the database may not have it.
        proof = [] if old == self.size else await asyncio.to_thread(lambda: self.audit.tree(self.size).consistency(old))
        body = Submission(old, proof, self.note).encode()
        assert witness.url is not None
        url = f"{witness.url.rstrip('/')}/{PATH}"
        # A redirect could turn the request into another one, and leads to whom nobody has named.
        async with self.session.post(url, data=body, allow_redirects=False) as response:
            return _Answer(response.status, response.content_type, await _body(response))

    async def _known_size(self, witness: Witness, answer: _Answer, old: int) -> int:
        """What it knows already, if a proof from there can be made. Raises Missing, WitnessRefused."""
        if answer.type != SIZE_TYPE:
            # Without a size this is how a witness says that its root for our size is another one.
            raise await self._refused(witness, answer) if old == self.size else Missing(f"it answered 409: {answer.text}")
        known = _size(answer)
        if known == old == self.size:
            raise await self._refused(witness, answer)
        newest, _ = await asyncio.to_thread(self.audit.checkpoint)
        if known > newest:
            raise await self._refused(witness, answer, f"it has cosigned {known} leaves, and we have signed {newest} at most")
        if known > self.size or known == old:
            raise Missing(f"it knows {known} leaves already")
        return known

    async def _refused(self, witness: Witness, answer: _Answer, why: str = "") -> WitnessRefused:
        text = why or answer.text or "it does not continue what the witness has seen"
        refusal = Refusal(round(self.now()), self.size, str(witness.key), answer.status, text)
        await asyncio.to_thread(record_refusal, self.audit.engine, refusal)
        return WitnessRefused(refusal)


_MEANINGS: Final = {
    400: "(it could not read the request)",
    403: "(it does not know our key)",
    404: "(it does not know our origin)",
    429: "(it was asked too often)",
}


async def _body(response: ClientResponse) -> bytes:
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise Missing(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
    return body


def _size(answer: _Answer) -> int:
    try:
        return size_of(answer.body.decode("ascii", "replace").removesuffix("\n"))
    except SubmissionInvalid as error:
        raise Missing(f"it answered 409: {error}") from None


def _cosignature(key: NoteKey, size: int, note: str, body: bytes, now: int) -> Cosignature:
    """The witness's line, verified. Lines of keys that are unknown here are ignored. Raises Missing."""
    text = note[: note.rindex("\n\n") + 2]
    try:
        [signed] = open_note(text.encode() + body, [key]).signatures
    except NoteInvalid as error:
        raise Missing(f"its cosignature is refused: {error}") from None
    if not now - BEHIND_SECONDS <= signed.posix_seconds <= now + AHEAD_SECONDS:
        raise Missing(f"its cosignature is refused: it is of {signed.posix_seconds}, and it is {now} here (POSIX seconds)")
    [line] = [line for line in body.decode().split("\n")[:-1] if _is_of(key, line)]
    return Cosignature(size, key, signed.posix_seconds, line + "\n")


def _is_of(key: NoteKey, line: str) -> bool:
    _, name, material = line.split(" ", 2)
    try:
        return name == key.name and base64.b64decode(material)[:4] == key.id
    except binascii.Error:
        return False
