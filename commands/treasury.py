"""Asking the treasury: coins, deposits, withdrawals, the outflow, accounts, reconciliations and corrections.

What a decision needs to know of another stream is read here: a mint looks at its deposit, a payout at its burn.
"""

from typing import assert_never

from commands import Service
from contracts import Amount
from contracts.treasury import (
    OUTFLOW,
    AccountCommand,
    Adjust,
    AdjustmentCommand,
    ApproveAdjustment,
    AssignDeposit,
    AttestReserves,
    Burn,
    CancelWithdrawal,
    Capture,
    CloseBreak,
    CloseDispute,
    ConfigureMinter,
    ConfirmMint,
    ConfirmPayout,
    Credit,
    Debit,
    DepositCommand,
    DisputeDeposit,
    EscrowWithdrawal,
    ExpireHold,
    FailMint,
    Freeze,
    FundWithdrawal,
    Hold,
    LapseReview,
    MarkIssued,
    Mint,
    ObserveDeposit,
    OpenAccount,
    OutflowCommand,
    PauseMinting,
    ReceiveBacking,
    Reconcile,
    ReconciliationCommand,
    RefundDeposit,
    ReissueWithdrawal,
    Release,
    ReleaseOutflow,
    RemoveMinter,
    RequestWithdrawal,
    ReserveOutflow,
    ResumeMinting,
    ReturnPayout,
    ReviewWithdrawal,
    RouteWithdrawal,
    SettleDeposit,
    StablecoinCommand,
    SubmitPayout,
    TreasuryCommand,
    TreasuryParameters,
    Unfreeze,
    WithdrawalCommand,
    WriteDownBacking,
    account_stream,
    coin_of,
    return_reference,
    stablecoin_stream,
    withdrawal_stream,
)
from domain.treasury import AlreadyIssued, NotApproved, NotIssuable
from domain.treasury.accounts import Account
from domain.treasury.adjustment import Adjustment
from domain.treasury.deposits import Deposit
from domain.treasury.outflow import Outflow
from domain.treasury.reconciliation import Reconciliation
from domain.treasury.stablecoin import Stablecoin, in_bank_money
from domain.treasury.withdrawals import Withdrawal

HOLDER = "treasury.holder"
RETURN = "return:"


class Treasury(Service):
    """Money held to account."""

    def handle(self, command: TreasuryCommand) -> None:
        match command:
            case (
                ConfigureMinter()
                | RemoveMinter()
                | AttestReserves()
                | ReceiveBacking()
                | WriteDownBacking()
                | Mint()
                | ConfirmMint()
                | FailMint()
                | Burn()
                | PauseMinting()
                | ResumeMinting()
            ):
                self._coin(command)
            case (
                ObserveDeposit()
                | SettleDeposit()
                | AssignDeposit()
                | MarkIssued()
                | RefundDeposit()
                | DisputeDeposit()
                | CloseDispute()
            ):
                self._deposit(command)
            case (
                RequestWithdrawal()
                | CancelWithdrawal()
                | EscrowWithdrawal()
                | RouteWithdrawal()
                | ReviewWithdrawal()
                | LapseReview()
                | FundWithdrawal()
                | SubmitPayout()
                | ReissueWithdrawal()
                | ConfirmPayout()
                | ReturnPayout()
            ):
                self._withdrawal(command)
            case ReserveOutflow() | ReleaseOutflow():
                self._outflow(command)
            case OpenAccount() | Credit() | Debit() | Hold() | Capture() | Release() | ExpireHold() | Freeze() | Unfreeze():
                self._account(command)
            case Reconcile() | CloseBreak():
                self._reconciliation(command)
            case Adjust() | ApproveAdjustment():
                self._adjustment(command)
            case _:
                assert_never(command)

    @property
    def _terms(self) -> TreasuryParameters:
        return self.policy.parameters(TreasuryParameters)

    @property
    def _person(self) -> str:
        return self.asked.person or self.asked.actor

    def _coin(self, command: StablecoinCommand) -> None:
        coin, now = self.load(Stablecoin), self.asked.now
        match command:
            case ConfigureMinter():
                coin.configure(command)
            case RemoveMinter():
                coin.remove(command)
            case AttestReserves():
                coin.attest(command, now, self._terms)
            case ReceiveBacking(reference=reference, origin=origin, amount=amount):
                if coin.backing_of(reference) is None:
                    self._require_source(reference, origin, amount)
                coin.receive_backing(command, now)
            case WriteDownBacking(reference=reference, cause=cause, amount=amount):
                if cause == "unissued":
                    self._require_unissued(coin, reference, amount)
                coin.write_down(command, now, self._terms)
            case Mint(reference=reference, amount=amount):
                if reference not in coin.issues:
                    self._require_free_source(coin, reference, amount)
                coin.mint(command, minter=self.asked.actor, now=now, terms=self._terms)
            case ConfirmMint():
                coin.confirm_mint(command)
            case FailMint():
                coin.fail_mint(command)
            case Burn():
                coin.burn(command, now)
            case PauseMinting(reason=reason):
                coin.pause(reason)
            case ResumeMinting():
                coin.resume(actor=self.asked.actor, person=self._person)
            case _:
                assert_never(command)

    def _require_source(self, reference: str, origin: str, amount: Amount) -> None:
        """That the money is there and nobody else's. Raises NotIssuable, NotReturned, AmountDiffers."""
        if origin == "deposit":
            self.read(Deposit, f"treasury/deposit/{reference}").require_issuable(amount)
        elif origin == "returned_payout":
            if not reference.startswith(RETURN):
                raise NotIssuable(f"a payout that came back is named {RETURN}<withdrawal>", "reference")
            self.read(Withdrawal, withdrawal_stream(reference.removeprefix(RETURN))).require_returned(payout=amount)

    def _require_free_source(self, coin: Stablecoin, reference: str, amount: Amount) -> None:
        """Where the reference names a deposit or a return: that its money backs coins, that many, and no others yet.

        Raises NotIssuable, NotReturned, AmountDiffers, DustNotAllowed.
        """
        deposit = self.read(Deposit, f"treasury/deposit/{reference}")
        if reference.startswith(RETURN):
            self.read(Withdrawal, withdrawal_stream(reference.removeprefix(RETURN))).require_returned(coins=amount)
        elif deposit.observed is not None:
            deposit.require_issuable(in_bank_money(amount))
        else:
            return
        if coin.backing_of(reference) != in_bank_money(amount).units:
            raise NotIssuable(f"the money of {reference} does not back coins, or not so many", "reference")

    def _require_unissued(self, coin: Stablecoin, reference: str, amount: Amount) -> None:
        """That the deposit's money backs coins which nobody will ever have. Raises NotObserved, AlreadyIssued, NotClosed,
        NotIssuable."""
        if reference in coin.issues:
            raise AlreadyIssued(f"coins for {reference} are on their way", "reference")
        self.read(Deposit, f"treasury/deposit/{reference}").require_unissued()
        if coin.backing_of(reference) != amount.units:
            raise NotIssuable(f"{coin.backing_of(reference) or 0} cents were put behind coins for it", "amount")

    def _deposit(self, command: DepositCommand) -> None:
        deposit = self.load(Deposit)
        match command:
            case ObserveDeposit():
                deposit.observe(command)
            case SettleDeposit():
                deposit.settle(command)
            case AssignDeposit():
                deposit.assign(command)
            case MarkIssued(reference=reference):
                confirmed = self._coin_of(deposit).is_confirmed(reference) and reference == deposit.id
                deposit.mark_issued(command, is_confirmed=confirmed)
            case RefundDeposit():
                deposit.refund(command, is_minted=self._is_minted(deposit))
            case DisputeDeposit():
                deposit.dispute(command)
            case CloseDispute():
                deposit.close_dispute(command, is_minted=self._is_minted(deposit))
            case _:
                assert_never(command)

    def _coin_of(self, deposit: Deposit) -> Stablecoin:
        asset = deposit.observed.amount.asset if deposit.observed else "USD.bank"
        return self.read(Stablecoin, stablecoin_stream(coin_of(asset)))

    def _is_minted(self, deposit: Deposit) -> bool:
        return deposit.id in self._coin_of(deposit).issues

    def _withdrawal(self, command: WithdrawalCommand) -> None:
        withdrawal, now, actor, person = self.load(Withdrawal), self.asked.now, self.asked.actor, self._person
        match command:
            case RequestWithdrawal(amount=amount):
                frozen = self._is_frozen(withdrawal.account, amount.asset)
                withdrawal.request(command, actor=actor, person=person, is_frozen=frozen)
            case CancelWithdrawal():
                withdrawal.cancel()
            case EscrowWithdrawal():
                withdrawal.put_in_escrow(command)
            case RouteWithdrawal():
                asset = withdrawal.requested.amount.asset if withdrawal.requested else ""
                frozen = self._is_frozen(withdrawal.account, asset)
                reserved = self._reserved(withdrawal)
                withdrawal.route_it(command, now, reserved=reserved, is_frozen=frozen, terms=self._terms)
            case ReviewWithdrawal():
                reissuing = self._burnt_coin(withdrawal).backing_of(return_reference(withdrawal.id)) is not None
                withdrawal.review(command, actor=actor, person=person, is_reissuing=reissuing)
            case LapseReview():
                withdrawal.lapse(now, self._terms)
            case FundWithdrawal():
                burning = self._burnt_coin(withdrawal).burns.get(withdrawal.id)
                withdrawal.fund(command, burning=burning, reserved=self._reserved(withdrawal))
            case SubmitPayout():
                withdrawal.submit(command)
            case ReissueWithdrawal(reference=reference):
                withdrawal.reissue(command, is_confirmed=self._burnt_coin(withdrawal).is_confirmed(reference))
            case ConfirmPayout():
                withdrawal.confirm(command)
            case ReturnPayout():
                withdrawal.take_back(command)
            case _:
                assert_never(command)

    def _is_frozen(self, account: str, asset: str) -> bool:
        return self.read(Account, account_stream(account, asset)).frozen > 0

    def _reserved(self, withdrawal: Withdrawal) -> int | None:
        return self.read(Outflow, OUTFLOW).cents_of(withdrawal.id)

    def _burnt_coin(self, withdrawal: Withdrawal) -> Stablecoin:
        asset = withdrawal.requested.amount.asset if withdrawal.requested else "USD.s"
        return self.read(Stablecoin, stablecoin_stream(asset))

    def _outflow(self, command: OutflowCommand) -> None:
        outflow = self.load(Outflow)
        match command:
            case ReserveOutflow(withdrawal=withdrawal, reviewed=reviewed):
                if reviewed and self.read(Withdrawal, withdrawal_stream(withdrawal)).route != "reviewed":
                    raise NotApproved(f"nobody has reviewed {withdrawal}", "reviewed")
                outflow.reserve(command, self.asked.now, self._terms)
            case ReleaseOutflow():
                outflow.release(command)
            case _:
                assert_never(command)

    def _account(self, command: AccountCommand) -> None:
        account, now = self.load(Account), self.asked.now
        match command:
            case OpenAccount():
                account.open(command)
            case Credit():
                account.credit(command)
            case Debit():
                account.debit(command)
            case Hold():
                is_by_holder = self.asked.may(self.asked.actor, HOLDER, self.asked.stream)
                account.hold(command, now, is_by_holder=is_by_holder)
            case Capture():
                account.capture(command)
            case Release():
                account.release(command)
            case ExpireHold():
                account.expire(command, now)
            case Freeze():
                account.freeze(command)
            case Unfreeze():
                account.unfreeze(command)
            case _:
                assert_never(command)

    def _reconciliation(self, command: ReconciliationCommand) -> None:
        reconciliation = self.load(Reconciliation)
        match command:
            case Reconcile():
                reconciliation.reconcile(command)
            case CloseBreak():
                reconciliation.close(command, actor=self.asked.actor)
            case _:
                assert_never(command)

    def _adjustment(self, command: AdjustmentCommand) -> None:
        adjustment = self.load(Adjustment)
        match command:
            case Adjust():
                adjustment.propose(command, actor=self.asked.actor, person=self._person)
            case ApproveAdjustment():
                adjustment.approve(actor=self.asked.actor, person=self._person)
            case _:
                assert_never(command)
