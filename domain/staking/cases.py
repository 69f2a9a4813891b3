"""A slashing case: accused, witnessed, disputed or not, and then executed, void or lapsed (white paper 9.6, 14)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, assert_never

from contracts import Did, Digest, StreamName, Uuid
from contracts.staking import (
    ATTEST_SECONDS,
    COUNCIL_NEEDED,
    EVIDENCE_SECONDS,
    STAKING,
    Appeal,
    Appealed,
    AppealResolved,
    Attest,
    Attested,
    Base,
    BondPosted,
    CaseAttested,
    CaseEvent,
    CaseExecuted,
    CaseLapsed,
    CaseOpened,
    CaseVoided,
    Dispute,
    Disputed,
    DisputeResolved,
    Finding,
    JsonText,
    OpenCase,
    PostBond,
    PostedBond,
    ResolveAppeal,
    ResolveDispute,
    Share,
    SignedCommand,
    StakingParameters,
    SubjectName,
    case_id,
)
from domain import Aggregate
from domain.staking import (
    AddressedWrongly,
    AlreadyAttested,
    AlreadyClosed,
    AlreadyDisputed,
    AlreadyOpen,
    BaseDiffers,
    BondTooSmall,
    EvidenceTooOld,
    FindingIncomplete,
    HoldUsed,
    NotAttested,
    NotBreached,
    NotDisputed,
    NotOnPanel,
    NotOpen,
    OtherTerms,
    PanelNotDrawn,
    SamePerson,
    StillOpen,
    WindowClosed,
    require_space,
)
from domain.staking.arithmetic import dispute_bond, drawn, is_breach, signatures_needed, slash_of, starts

Outcome = Literal["", "executed", "voided", "lapsed"]


@dataclass
class SlashCase(Aggregate[CaseEvent]):
    """What one subject is accused of."""

    opened: CaseOpened | None = None
    findings: dict[str, Finding] = field(default_factory=dict)
    """By oracle."""
    signers: dict[str, str] = field(default_factory=dict)
    """Key to the oracle in whose name it signed."""
    attested: CaseAttested | None = None
    bonds: list[PostedBond] = field(default_factory=list)
    disputed: Disputed | None = None
    resolved: DisputeResolved | None = None
    appealed: Appealed | None = None
    answers: dict[str, AppealResolved] = field(default_factory=dict)
    """By person."""
    outcome: Outcome = ""

    def open(self, command: OpenCase, at_risk: Sequence[int], now: datetime, terms: StakingParameters = STAKING) -> None:
        """Accuse. `at_risk` is what each base had when the epoch began, as its collateral says, `terms` what held then.

        Raises AddressedWrongly, AlreadyOpen, OtherTerms, NotBreached, EvidenceTooOld, BaseDiffers, PanelNotDrawn.
        """
        self._require_name(command.subject, command.offence, command.epoch, command.evidence)
        needed, until = signatures_needed(len(command.panel)), now + timedelta(seconds=ATTEST_SECONDS)
        threshold = terms.downtime_threshold_percent if terms.policy_version and command.offence == "downtime" else None
        event = CaseOpened(needed=needed, attest_until=until, threshold_percent=threshold, **dict(command))
        if self.opened is not None:
            if self.opened != event.model_copy(update={"attest_until": self.opened.attest_until}):
                raise AlreadyOpen
            return
        self._require_terms(command, terms)
        self._require_offence(event, now)
        if [base.units for base in command.bases] != list(at_risk):
            raise BaseDiffers(f"there were {', '.join(map(str, at_risk))} units at risk", "bases")
        if command.subject in command.panel or command.panel != drawn(command.seed, command.panel):
            raise PanelNotDrawn(field="panel")
        self.record(event)

    def attest(self, command: Attest, *, actor: str, person: str, now: datetime, terms: StakingParameters = STAKING) -> None:
        """A witness's finding; enough equal ones attest the case, or show that there is none.

        Raises NotOpen, NotOnPanel, AlreadyAttested, FindingIncomplete, WindowClosed.
        """
        case = self._require_open()
        if person not in case.panel:
            raise NotOnPanel(field="source")
        finding = Finding(**dict(command))
        if person in self.findings:
            if self.findings[person] != finding:
                raise AlreadyAttested
            return
        if (finding.missed is None) != (case.offence == "proof") or (finding.verdict is None) != (case.offence == "downtime"):
            raise FindingIncomplete
        if now > case.attest_until or self.outcome:
            raise WindowClosed(f"witnesses were heard until {case.attest_until:%F %T} UTC")
        self.record(Attested(oracle=SubjectName(person), key=Did(actor), **dict(command)))
        if self.attested is None and self._agreeing(finding) >= case.needed:
            self._conclude(finding, now, terms)

    def prove(
        self, accused: str, key: str, epoch: int, evidence: Digest, bases: Sequence[Base], now: datetime,
        *, proof: tuple[SignedCommand, ...], manifest: JsonText | None = None, terms: StakingParameters = STAKING,
    ) -> None:  # fmt: skip
        """Open and attest at once, by evidence that proves itself. Raises AddressedWrongly, EvidenceTooOld."""
        self._require_name(accused, "proof", epoch, evidence)
        if self.opened is not None:
            return
        self._require_fresh(epoch, now)
        self.record(
            CaseOpened(
                subject=SubjectName(accused), offence="proof", epoch=epoch, evidence=evidence, key=Did(key),
                bases=tuple(bases), percent=terms.bad_proof_slash_percent, panel=(),
                policy_version=terms.policy_version or 1, needed=0, attest_until=now,
            )
        )  # fmt: skip
        self._attest(now, terms, proof=proof, manifest=manifest)

    def post(self, command: PostBond) -> None:
        """A bond that the treasury holds. Raises NotAttested, AlreadyClosed, HoldUsed, AddressedWrongly."""
        require_space(command.account)
        found = self._bond(command.account, command.hold)
        if found is not None:
            if found.units != command.amount:
                raise HoldUsed(field="hold")
            return
        if self.attested is None:
            raise NotAttested
        if self.outcome:
            raise AlreadyClosed
        self.record(BondPosted(**dict(command)))

    def dispute(self, command: Dispute, proposal: Uuid, now: datetime) -> None:
        """Raises NotAttested, AlreadyClosed, AlreadyDisputed, WindowClosed, BondTooSmall."""
        if self.disputed is not None:
            if (self.disputed.hold, self.disputed.statement) != (command.hold, command.statement):
                raise AlreadyDisputed
            return
        attested = self._require_attested()
        if now > attested.dispute_until:
            raise WindowClosed(f"disputes were heard until {attested.dispute_until:%F %T} UTC")
        bond = self._require_bond(command.hold, attested.bond)
        self.record(Disputed(hold=command.hold, account=bond.account, statement=command.statement, proposal=proposal))

    def resolve_dispute(self, command: ResolveDispute, now: datetime, terms: StakingParameters = STAKING) -> None:
        """What the vote says; without a quorum nobody is guilty. Raises NotDisputed, AlreadyClosed."""
        if self.disputed is None or self.disputed.proposal != command.proposal:
            raise NotDisputed(field="proposal")
        if self.resolved is not None:
            if (self.resolved.upheld, self.resolved.quorum_met) != (command.upheld, command.quorum_met):
                raise AlreadyClosed("the vote was recorded with another result")
            return
        self.record(DisputeResolved(appeal_until=now + timedelta(seconds=terms.appeal_seconds), **dict(command)))
        if not command.quorum_met:
            self._void("no_quorum")
        elif not command.upheld:
            self._void("dispute_won")

    def appeal(self, command: Appeal, now: datetime, terms: StakingParameters = STAKING) -> None:
        """A second look, once. Raises NotDisputed, AlreadyClosed, AlreadyDisputed, WindowClosed, BondTooSmall."""
        if self.appealed is not None:
            if (self.appealed.hold, self.appealed.statement) != (command.hold, command.statement):
                raise AlreadyDisputed
            return
        attested = self._require_attested()
        if self.resolved is None or self.disputed is None:
            raise NotDisputed
        if now > self.resolved.appeal_until:
            raise WindowClosed(f"appeals were heard until {self.resolved.appeal_until:%F %T} UTC")
        bond = self._require_bond(command.hold, 2 * attested.bond, besides=self.disputed)
        until = now + timedelta(seconds=terms.appeal_answer_seconds)
        self.record(Appealed(hold=command.hold, account=bond.account, statement=command.statement, answer_until=until))

    def resolve_appeal(self, command: ResolveAppeal, *, actor: str, person: str, now: datetime) -> None:
        """One council member's answer; the third to void does. Raises NotDisputed, SamePerson, AlreadyClosed, WindowClosed."""
        if self.appealed is None:
            raise NotDisputed
        event = AppealResolved(verdict=command.verdict, actor=Did(actor), person=Did(person))
        if person in self.answers:
            if self.answers[person] != event:
                raise SamePerson
            return
        if self.outcome:
            raise AlreadyClosed
        if now > self.appealed.answer_until:
            raise WindowClosed(f"the council could answer until {self.appealed.answer_until:%F %T} UTC")
        self.record(event)
        if self._council("void") == COUNCIL_NEEDED:
            self._void("appeal_won")

    def execute(self, now: datetime) -> None:
        """Slash: nobody disputed, or the dispute and the appeal were lost. Raises AlreadyClosed, NotAttested, StillOpen."""
        if self.outcome == "executed":
            return
        attested = self._require_attested()
        if not self._is_final(attested, now):
            raise StillOpen
        used = {(said.account, said.hold) for said in (self.disputed, self.appealed) if said is not None}
        burned = tuple(bond for bond in self.bonds if (bond.account, bond.hold) in used)
        returned = tuple(bond for bond in self.bonds if (bond.account, bond.hold) not in used)
        self.record(CaseExecuted(amounts=attested.amounts, burned=burned, returned=returned))

    def lapse(self, now: datetime) -> None:
        """Too few agreed in time. Raises NotOpen, AlreadyClosed, StillOpen."""
        if self.outcome == "lapsed":
            return
        case = self._require_open()
        if self.outcome or self.attested is not None:
            raise AlreadyClosed
        if now <= case.attest_until:
            raise StillOpen(f"witnesses are heard until {case.attest_until:%F %T} UTC")
        self.record(CaseLapsed())

    def share_of(self, kind: str, subject: str) -> int:
        """What the case takes from that collateral at most; 0 where it takes nothing, or is not attested."""
        shares = self.attested.amounts if self.attested else ()
        return next((share.units for share in shares if (share.kind, share.subject) == (kind, subject)), 0)

    def oracle_of(self, key: str) -> str | None:
        """In whose name the key signs here."""
        panel = self.opened.panel if self.opened else ()
        return key if key in panel else self.signers.get(key)

    def apply(self, event: CaseEvent) -> None:
        match event:
            case CaseOpened():
                self.opened = event
            case Attested(oracle=oracle, key=key):
                self.findings[oracle] = Finding(missed=event.missed, verdict=event.verdict, root=event.root)
                self.signers[key] = oracle
            case CaseAttested():
                self.attested = event
            case BondPosted(hold=hold, account=account, amount=amount):
                self.bonds.append(PostedBond(hold=hold, account=account, units=amount))
            case Disputed():
                self.disputed = event
            case DisputeResolved():
                self.resolved = event
            case Appealed():
                self.appealed = event
            case AppealResolved(person=person):
                self.answers[person] = event
            case CaseVoided():
                self.outcome = "voided"
            case CaseExecuted():
                self.outcome = "executed"
            case CaseLapsed():
                self.outcome = "lapsed"
            case _:
                assert_never(event)

    def _conclude(self, finding: Finding, now: datetime, terms: StakingParameters) -> None:
        case = self._require_open()
        uptime, missed = case.uptime, finding.missed
        if uptime is not None and missed is not None and not is_breach(missed, uptime.expected, threshold_of(case)):
            self._void("not_breached")
        elif finding.verdict == "innocent":
            self._void("innocent")
        else:
            self._attest(now, terms, finding=finding)

    def _attest(
        self, now: datetime, terms: StakingParameters, finding: Finding | None = None, proof: tuple[SignedCommand, ...] = (),
        manifest: JsonText | None = None,
    ) -> None:  # fmt: skip
        amounts = shares(self._require_open())
        self.record(
            CaseAttested(
                finding=finding, proof=proof, manifest=manifest, amounts=amounts,
                bond=dispute_bond(sum(share.units for share in amounts)),
                dispute_until=now + timedelta(seconds=terms.dispute_seconds),
            )
        )  # fmt: skip

    def _void(self, cause: Literal["not_breached", "innocent", "dispute_won", "no_quorum", "appeal_won"]) -> None:
        self.record(CaseVoided(cause=cause, returned=tuple(self.bonds)))

    def _is_final(self, attested: CaseAttested, now: datetime) -> bool:
        if self.appealed is not None:
            return now > self.appealed.answer_until or self._council("uphold") >= COUNCIL_NEEDED
        if self.resolved is not None:
            return now > self.resolved.appeal_until
        return self.disputed is None and now > attested.dispute_until

    def _council(self, verdict: str) -> int:
        return sum(answer.verdict == verdict for answer in self.answers.values())

    def _agreeing(self, finding: Finding) -> int:
        return sum(found == finding for found in self.findings.values())

    def _bond(self, account: StreamName, hold: str) -> PostedBond | None:
        return next((bond for bond in self.bonds if (bond.account, bond.hold) == (account, hold)), None)

    def _require_name(self, subject: str, offence: Literal["downtime", "proof"], epoch: int, evidence: str) -> None:
        wanted = case_id(subject, offence, epoch, evidence)
        if self.id != wanted:
            raise AddressedWrongly(f"the case is staking/case/{wanted}", "subject")

    def _require_terms(self, command: OpenCase, terms: StakingParameters) -> None:
        percent = terms.downtime_slash_percent if command.offence == "downtime" else terms.bad_proof_slash_percent
        if (command.percent, command.policy_version) != (percent, version := terms.policy_version or 1):
            raise OtherTerms(f"policy {version} was in force when epoch {command.epoch} began: {percent} per cent", "percent")

    def _require_offence(self, command: CaseOpened, now: datetime) -> None:
        if command.offence == "downtime":
            uptime, percent = command.uptime, threshold_of(command)
            if uptime is None or now < starts(command.epoch + 1) or not is_breach(uptime.missed, uptime.expected, percent):
                raise NotBreached(field="uptime")
            if [(base.kind, base.subject) for base in command.bases] != [("bond", command.subject)]:
                raise BaseDiffers("for downtime only the device's bond is at risk", "bases")
        elif command.uptime is not None or command.key is None:
            raise FindingIncomplete("a bad proof is accused with the key that signed it", "key")
        self._require_fresh(command.epoch, now)

    def _require_fresh(self, epoch: int, now: datetime) -> None:
        if now > starts(epoch + 1) + timedelta(seconds=EVIDENCE_SECONDS):
            raise EvidenceTooOld(field="epoch")

    def _require_open(self) -> CaseOpened:
        if self.opened is None:
            raise NotOpen
        return self.opened

    def _require_attested(self) -> CaseAttested:
        if self.outcome:
            raise AlreadyClosed
        if self.attested is None:
            raise NotAttested
        return self.attested

    def _require_bond(self, hold: str, units: int, besides: Disputed | None = None) -> PostedBond:
        used = None if besides is None else (besides.account, besides.hold)
        for bond in self.bonds:
            if bond.hold == hold and bond.units >= units and (bond.account, bond.hold) != used:
                return bond
        raise BondTooSmall(f"{units} units are needed", "hold")


def threshold_of(case: CaseOpened) -> int:
    """Missing more than so many per cent is the breach of which it accuses."""
    return case.threshold_percent or STAKING.downtime_threshold_percent


def shares(case: CaseOpened) -> tuple[Share, ...]:
    """What the case takes at most, by the percentage that it was opened with."""
    found = ((base, slash_of(base.units, case.percent)) for base in case.bases)
    return tuple(Share(kind=base.kind, subject=base.subject, units=units) for base, units in found if units)


def tally(findings: Mapping[str, Finding]) -> Sequence[tuple[Finding, int]]:
    """Each finding with how many signed it, the most first."""
    counted = Counter(finding.json_bytes() for finding in findings.values())
    known = {finding.json_bytes(): finding for finding in findings.values()}
    return [(known[text], count) for text, count in counted.most_common()]
