"""Asking rewards: divide a fee, mint, grant, close a day, pay, publish, and record what the chain did."""

from typing import assert_never

from commands import Service
from contracts import Did
from contracts.rewards import (
    EMISSION,
    REWARDS,
    Accrue,
    AllotGrant,
    CloseEpoch,
    ConfirmRoot,
    CreateGrant,
    DeclareGenesis,
    DivideOracleShare,
    Earn,
    Issue,
    LapseEscrow,
    MintEpoch,
    OpenEpoch,
    OpenYear,
    Pay,
    PublishRoot,
    ReachMilestone,
    RecordBurn,
    RecordClaim,
    RegisterOwner,
    Release,
    ReturnGrant,
    RevokeGrant,
    RewardsCommand,
    RewardsParameters,
    SplitFee,
    TakeFee,
    epoch_stream,
    grant_stream,
    model_stream,
)
from domain.rewards import Earner, Emission, Epoch, FeeStream, Grant, Model, Position
from domain.rewards.epochs import epoch_at


class Rewards(Service):
    """Fees, emission, grants, epochs and claims."""

    def handle(self, command: RewardsCommand) -> None:
        now, person = self.asked.now, Did(self.asked.person or self.asked.actor)
        match command:
            case SplitFee(model=model):
                owner = self.read(Model, model_stream(model)).owner if model else None
                policy = self.policy
                # A bill that was made before the fee changed is divided as it was paid.
                billed_at = (REWARDS.protocol_fee_bp, *policy.ever("protocol_fee_bp"))
                self.load(FeeStream).split(command, now, owner, policy.parameters(RewardsParameters), billed_at)
            case TakeFee():
                self.load(FeeStream).take(command, now, self._terms)
            case DeclareGenesis():
                self.load(Emission).declare_genesis(command)
            case OpenYear():
                self.load(Emission).open_year(command, now)
            case MintEpoch():
                self.load(Emission).mint(command, now)
            case AllotGrant():
                self.load(Emission).allot(command)
            case ReturnGrant(grant=grant):
                self.load(Emission).give_back(command, self.read(Grant, grant_stream(grant)))
            case Issue(grant=grant):
                self.load(Emission).issue(command, self.read(Grant, grant_stream(grant)), now)
            case RecordBurn():
                self.load(Emission).burn(command)
            case CreateGrant():
                self._create_grant(command)
            case ReachMilestone():
                self.load(Grant).reach(command, person)
            case Release():
                self.load(Grant).release(now)
            case RevokeGrant():
                self.load(Grant).revoke(command)
            case OpenEpoch():
                last = self.read(Emission, EMISSION).last
                self.load(Epoch).open(command, now, last.epoch if last else None)
            case CloseEpoch():
                self.load(Epoch).close(command, now)
            case DivideOracleShare():
                self.load(Epoch).divide(command)
            case PublishRoot():
                epoch = self.load(Epoch)
                epoch.publish(command, self._root_before(epoch))
            case ConfirmRoot():
                self.load(Epoch).confirm(command)
            case Accrue(epoch=number):
                self.load(Position).accrue(command, self.read(Epoch, epoch_stream(number)))
            case Pay(epoch=number):
                self.load(Position).pay(command, self.read(Epoch, epoch_stream(number)))
            case Earn(epoch=number, escrow_of=model):
                escrow = self.read(Model, model_stream(model)) if model else None
                self.load(Earner).earn(command, self.read(Epoch, epoch_stream(number)), escrow)
            case RecordClaim():
                self.load(Earner).claim(command)
            case RegisterOwner():
                self.load(Model).register(command, person, now)
            case LapseEscrow():
                self.load(Model).lapse(command, now)
            case _:
                assert_never(command)

    @property
    def _terms(self) -> RewardsParameters:
        return self.policy.parameters(RewardsParameters)

    def _create_grant(self, command: CreateGrant) -> None:
        grant = self.load(Grant)
        found = self.read(Emission, EMISSION).allotments.get(grant.id)
        grant.create(command, (found.bucket, found.outstanding) if found else None)

    def _root_before(self, epoch: Epoch) -> Epoch | None:
        """The last epoch with a root: yesterday, or before the days that were skipped."""
        genesis = self.read(Emission, EMISSION).genesis
        first = epoch_at(genesis) if genesis else epoch.number
        for number in range(epoch.number - 1, first - 1, -1):
            found = self.read(Epoch, epoch_stream(number))
            if found.published is not None:
                return found
        return None
