"""Which events a command's decision may record, and which of these need the word of other persons before.

That an event follows from its command, and does not only fit it, is what a verifier asks; so what may follow is said once,
here. A decision that records anything else fails, and the standalone verifier's table is compared with this one. A name stays
as long as records of it do: whoever decides otherwise later does not accuse what was decided before.
"""

from collections.abc import Mapping
from functools import cache

from contracts._language import Command
from contracts._policy import is_policy

_RECORDED = """\
audit: PlaceHold HoldPlaced / ReleaseHold HoldReleased<HoldPlaced / NoteKey KeyNoted / OrderErasure ErasureProposed
ErasureOrdered<ErasureProposed ErasureDeferred<ErasureProposed / ResumeErasure ErasureOrdered ErasureDeferred /
ConfirmErasure PersonErased / PublishSchema SchemaPublished / ExpireRetention RetentionExpired / RecordRead LogRead /
RecordServed LogRead / RecordPack PackExported / AddWitness LogChangeProposed WitnessAdded<LogChangeProposed / RetireWitness
LogChangeProposed WitnessRetired<LogChangeProposed / RotateLogKey LogChangeProposed LogKeyRotated<LogChangeProposed /
HaltShard ShardHalted / ResumeShard ShardResumed / ReportTampering TamperingReported ;
custody: CreateKey KeyCreated / Shred KeyShredded ;
identity: Found Founded / ProposeKey KeyProposed KeyRegistered / ApproveKey KeyApproved KeyRegistered<KeyProposed / RotateKey
KeyRotated / WithdrawRole RoleWithdrawn / RevokeKey KeyRevoked / ProposeEnd EndProposed / ApproveEnd EndApproved
RoleWithdrawn<EndProposed KeyRevoked<EndProposed ;
inference: OpenRequest RequestOpened RouteDecided / StartAttempt AttemptStarted / EndAttempt AttemptCompleted AttemptFailed
AttemptCancelled / SubmitReceipt ReceiptMatched ReceiptDisputed / ResolveDispute DisputeResolved / RefuteReceipt
ReceiptRefuted / SettleReceipt ReceiptSettled / NotePayment ReceiptPaid / CloseRequest RequestClosed ;
liveness: RecordHeartbeats HeartbeatsRecorded / ExcuseSlots SlotsExcused / CloseEpoch EpochClosed ;
operations: StartRebuild RebuildStarted / SwapView ViewSwapped / AbandonRebuild RebuildAbandoned / RetireVersion
VersionRetired / ParkStream StreamParked / Redrive StreamRedriven / ConfirmDrained StreamDrained / RunWhatIf WhatIfRun /
ReplayWindow WindowReplayed / ExportRecords RecordsExported / DeclareProfile ProfileDeclared ;
providers: RegisterProvider ProviderRegistered / DrainProvider ProviderDraining / ResumeProvider ProviderResumed / Leave
ProviderLeft / NoteStanding StandingNoted / BindGpu GpuBound GpuContested / DeclareOffer OfferDeclared / WithdrawOffer
OfferWithdrawn / SuspendOffer OfferSuspended / ReinstateOffer OfferReinstated / ListModel ModelListed / DelistModel
ModelDelisted ;
rewards: SplitFee FeeSplit / TakeFee FeeTaken / DeclareGenesis GenesisDeclared Issued / OpenYear EmissionYearOpened /
MintEpoch EpochMinted / AllotGrant GrantAllotted / ReturnGrant GrantReturned / Issue Issued / RecordBurn SupplyBurned /
CreateGrant GrantCreated / ReachMilestone MilestoneAttested MilestoneReached<MilestoneAttested / Release Released /
RevokeGrant GrantRevoked / OpenEpoch EpochOpened / CloseEpoch EpochClosed / DivideOracleShare OracleShareDivided /
PublishRoot RootPublished / ConfirmRoot RootConfirmed / Accrue Accrued / Pay Paid / Earn Earned / RecordClaim Claimed /
RegisterOwner OwnerAttested OwnerRegistered<OwnerAttested / LapseEscrow EscrowLapsed ;
staking: Stake Staked TierChanged / RequestUnstake TierChanged UnstakeRequested / CancelUnstake TierChanged UnstakeCancelled
/ Withdraw Withdrawn / HoldForCase HeldForCase / ReleaseHold HoldReleased / ReviewTier TierChanged / Slash TierChanged
Slashed / Tombstone KeyTombstoned / RegisterDevice RegistrationAsked / DeregisterDevice DeviceDeregistered / AdmitDevice
DeviceRegistered / DeclineDevice RegistrationDeclined / SuspendDevice DeviceSuspended / ResumeDevice DeviceResumed / OpenCase
CaseOpened / Attest Attested CaseAttested CaseVoided / ProveEquivocation CaseOpened CaseAttested / ProveRefutation CaseOpened
CaseAttested / PostBond BondPosted / Dispute Disputed / Appeal Appealed / ResolveDispute DisputeResolved CaseVoided /
ResolveAppeal AppealResolved CaseVoided<<AppealResolved / ExecuteCase CaseExecuted / LapseCase CaseLapsed / ClaimSerial
SerialClaimed / FreeSerial SerialFreed / Observe SpaceStakeObserved / Drip Dripped / CountDrip DripCounted ;
treasury: ConfigureMinter MinterConfigured / RemoveMinter MinterRemoved / AttestReserves ReservesAttested DeficitFound
MintingPaused / ReceiveBacking BackingReceived / WriteDownBacking DeficitFound MintingPaused BackingWrittenDown / Mint Minted
/ ConfirmMint MintConfirmed / FailMint MintFailed / Burn Burned / PauseMinting MintingPaused / ResumeMinting ResumeApproved
MintingResumed<ResumeApproved / ObserveDeposit DepositObserved / SettleDeposit DepositSettled / AssignDeposit DepositAssigned
/ MarkIssued DepositIssued / RefundDeposit DepositRefunded / DisputeDeposit DepositDisputed / CloseDispute DepositDefended
DepositLost / RequestWithdrawal WithdrawalRequested / CancelWithdrawal WithdrawalCancelled / EscrowWithdrawal
WithdrawalEscrowed / RouteWithdrawal ReviewRequired WithdrawalApproved / ReviewWithdrawal WithdrawalReviewed
WithdrawalApproved<WithdrawalReviewed WithdrawalRejected / LapseReview WithdrawalRejected / FundWithdrawal WithdrawalFunded /
SubmitPayout PayoutSubmitted / ReissueWithdrawal WithdrawalReissued / ConfirmPayout PayoutPaid / ReturnPayout PayoutReturned
/ ReserveOutflow OutflowReserved / ReleaseOutflow OutflowReleased / OpenAccount AccountOpened / Credit Credited / Debit
Debited / Hold Held / Capture Captured / Release Released / ExpireHold HoldExpired / Freeze Frozen / Unfreeze Unfrozen /
Reconcile Reconciled BreakFound / CloseBreak BreakClosed / Adjust AdjustmentProposed / ApproveAdjustment
Adjusted<AdjustmentProposed"""
"""`context: Command Event Event<Other`. One `<` is one other person who recorded `Other` in the stream before."""
_POLICY = {"AdoptParameter": "ParameterAdopted", "Halt": "Halted", "Lift": "Lifted"}


Consent = tuple[str, int]
"""By which event others consented before, and how many of them; `("", 0)` where nobody else is needed."""


@cache
def _table() -> Mapping[str, Mapping[str, Consent]]:
    found: dict[str, Mapping[str, Consent]] = {}
    for context, said in (part.strip().split(":") for part in _RECORDED.split(";")):
        for command, *events in map(str.split, said.split("/")):
            found[f"{context}.{command}"] = dict(_event(context, event) for event in events)
    return found


def _event(context: str, said: str) -> tuple[str, Consent]:
    name, _, consent = said.replace("<", " ").partition(" ")
    return f"{context}.{name}", (f"{context}.{consent.strip()}", said.count("<")) if consent else ("", 0)


@cache
def recorded_by(command: type[Command]) -> Mapping[str, Consent]:
    """The events by type, with what each needs. Raises KeyError where nothing is said of the command."""
    if is_policy(command):
        return {f"{command.wire.context}.{_POLICY[command.__name__]}": ("", 0)}
    return _table()[command.wire.type]


@cache
def consents() -> Mapping[str, str]:
    """Every event that some command records only after others have consented, and by which event they do."""
    return {event: by for events in _table().values() for event, (by, others) in events.items() if others}
