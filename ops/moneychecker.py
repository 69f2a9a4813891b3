"""The outside checker of money: folds the stored events by rules of its own and says whether the books can be true.

It shares no code with the system: one file, the standard library. Its inputs are made by `ops/dumps.py`.

    python ops/moneychecker.py FOLDER [--json]

Exit code 0: everything held. 1: something did not, and it is named. 2: the input is incomplete, so nothing can be said.

    M1 supply, and no coin above its reserves · M2 one reference, one mint · M3 balances, holds and freezes · M4 payouts
    follow burns · M5 limits and two persons · M6 the cap of SPACE · M7 stakes, each what its cause says was held, once ·
    M8 nobody claims more than its row of the last root, and rows are what was earned · M9 a receipt is settled, captured and
    split once · M10 the ledger: every event sums to zero, balances are their entries, nothing is missing · M11 decisions name
    the policy in force, and fees are divided by it
"""

import argparse
import base64
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

COIN_OF_CENT = 10**16
CAP = 10**13
DAY, CLOCKS_DIFFER = timedelta(days=1), timedelta(seconds=5)
DEFAULTS: dict[tuple[str, str], Any] = {
    ("treasury", "payout_single_max_usd_cents"): 50_000,
    ("treasury", "payout_daily_max_usd_cents"): 500_000,
    ("rewards", "split_percent"): {"provider": 60, "model": 20, "oracles": 10, "treasury": 10},
    ("rewards", "storage_split_percent"): {"provider": 80, "model": 0, "oracles": 10, "treasury": 10},
    ("rewards", "burn_percent"): 20,
}  # fmt: skip
"""The white paper's, until something is adopted."""
BY_POLICY = {
    "treasury": {"Minted", "OutflowReserved", "ReviewRequired"}, "rewards": {"FeeSplit", "FeeTaken"},
    "staking": {"TierChanged"},
}  # fmt: skip
"""Decisions that name the policy by which they were made, but where nothing had been adopted."""
SHOWN = 20
POSTS = {
    "treasury": {
        "BackingReceived", "BackingWrittenDown", "Minted", "MintConfirmed", "MintFailed", "Burned", "DepositSettled",
        "PayoutPaid", "Credited", "Debited", "Adjusted",
    },
    "rewards": {"FeeSplit", "FeeTaken", "Claimed"},
    "staking": {"Staked", "Withdrawn", "Slashed", "BondPosted", "Dripped"},
}  # fmt: skip
"""Events that move value whatever their fields say, but for an amount of zero."""


class Problem(NamedTuple):
    invariant: str
    where: str
    text: str


@dataclass
class Coin:
    """What one currency's events add up to."""

    supply: int = 0
    in_flight: int = 0
    attested: int = 0
    movements: list[tuple[datetime, int]] = field(default_factory=list)
    open: dict[str, int] = field(default_factory=dict)
    """Mints that have not failed, by reference."""
    confirmed: set[str] = field(default_factory=set)

    @property
    def reserves(self) -> int:
        return max(0, self.attested + sum(cents for _, cents in self.movements))


@dataclass
class Account:
    """One balance, its holds and what of it is frozen."""

    posted: int = 0
    holds: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    frozen: dict[str, int] = field(default_factory=dict)

    @property
    def available(self) -> int:
        return self.posted - sum(self.holds.values()) - sum(self.frozen.values())


@dataclass
class Withdrawal:
    """One withdrawal as its events tell of it."""

    cents: int = 0
    requester: str = ""
    approvers: list[str] = field(default_factory=list)
    burned: int | None = None
    paid: int = 0


class Judge:
    """Reads events in the order of their time; everything it holds against them is its own fold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[Problem] = []
        self.counts: Counter[str] = Counter()
        self.coins: dict[str, Coin] = defaultdict(Coin)
        self.accounts: dict[str, Account] = defaultdict(Account)
        self.withdrawals: dict[str, Withdrawal] = defaultdict(Withdrawal)
        self.outflow: dict[str, tuple[datetime, int]] = {}
        self.issued = self.burned = 0
        self.stakes: Counter[str] = Counter()
        self.held: dict[str, dict[str, Any]] = {}
        """By its id, each `Held` that another context may carry."""
        self.carried: dict[str, tuple[str, str]] = {}
        """What was staked, by its cause: account and hold."""
        self.let_go: set[tuple[str, str]] = set()
        self.earned: Counter[str] = Counter()
        self.earned_in: dict[str, Counter[int]] = defaultdict(Counter)
        """By epoch, what each earner's stream adds up to."""
        self.published: Counter[str] = Counter()
        """What each earner's row holds under the newest root."""
        self.rooted: set[int] = set()
        self.claimed: Counter[str] = Counter()
        self.claim_logs: set[tuple[str, int]] = set()
        self.settled: Counter[str] = Counter()
        self.split: Counter[str] = Counter()
        self.captured: Counter[str] = Counter()
        self.left: dict[str, Counter[str]] = defaultdict(Counter)
        """Hundredths that a fee stream carries over."""
        self.adopted: dict[str, list[tuple[datetime, str, Any]]] = defaultdict(list)
        """By context, in their order: the first made policy 2."""
        self.moved: dict[tuple[str, int], str] = {}
        """Events that must be in the ledger, and their types."""
        self.where = ""

    def judge(self) -> list[Problem]:
        events = list(self._events())
        for document in events:
            context, _, name = document["type"].partition(".")
            if name == "ParameterAdopted":
                data = document["data"]
                self.adopted[context].append((_moment(document["time"]), data["name"], data["value"]))
            elif document["type"] == "treasury.Held":
                self.held[document["id"]] = {**document["data"], "account": document["subject"]}
        for document in events:
            self._event(document)
        self._at_the_end()
        self._ledger()
        return self.problems

    def _say(self, invariant: str, text: str, where: str = "") -> None:
        self.problems.append(Problem(invariant, where or self.where, text))

    def _events(self) -> list[dict[str, Any]]:
        found = [
            json.loads(base64.b64decode(row["value"])) for row in _rows(self.folder / "store.jsonl") if row["table"] == "events"
        ]
        # Streams of a context lie in several shards: their common time is the store's clock, a shard's order decides ties.
        return sorted(found, key=lambda document: (document["time"], document["shard"], document["sequence"]))

    def _event(self, document: dict[str, Any]) -> None:
        kind, stream, data = document["type"], document["subject"], document["data"]
        self.where = f"{document['shard']}:{int(document['sequence'])} {kind} {stream}"
        self.counts["events"] += 1
        context, _, name = kind.partition(".")
        if name in POSTS.get(context, ()):
            self.moved[document["shard"], int(document["sequence"])] = self.where
            self.counts["value events"] += 1
        if name in BY_POLICY.get(context, ()):
            self._policy(context, data.get("policy_version", 1), _moment(document["time"]))
        known: dict[str, Callable[..., None]] = {
            "stablecoin": self._coin, "account": self._account, "withdrawal": self._withdrawal, "outflow": self._outflow,
        }  # fmt: skip
        if context == "treasury" and (tell := known.get(stream.split("/")[1])):
            tell(name, stream.split("/", 2)[2], data, _moment(document["time"]))
        elif context in ("rewards", "staking", "inference"):
            self._other(kind, stream.split("/", 2)[2], data)

    # policies

    def _policy(self, context: str, said: int, now: datetime) -> None:
        """Two shards have no common order but their time: near a change either policy may have been in force."""
        known = self.adopted[context]
        least = 1 + sum(at < now - CLOCKS_DIFFER for at, _, _ in known)
        if not least <= said <= 1 + sum(at <= now + CLOCKS_DIFFER for at, _, _ in known):
            self._say("M11", f"it names policy {said}, policy {least} was in force")

    def _by(self, context: str, name: str, data: dict[str, Any]) -> Any:
        """A parameter as the decision's policy has it."""
        values = [value for _, known, value in self.adopted[context][: data.get("policy_version", 1) - 1] if known == name]
        return values[-1] if values else DEFAULTS[context, name]

    # treasury

    def _coin(self, name: str, coin_name: str, data: dict[str, Any], now: datetime) -> None:
        coin = self.coins[coin_name]
        match name:
            case "ReservesAttested":
                as_of = _moment(data["as_of"])
                coin.attested = _units(data["bank"]) - _units(data["owed"])
                coin.movements = [(at, cents) for at, cents in coin.movements if at > as_of]
            case "BackingReceived":
                coin.movements.append((now, _units(data["amount"])))
            case "BackingWrittenDown":
                coin.movements.append((now, -_units(data["amount"])))
            case "Minted":
                self._minted(coin, data)
            case "MintConfirmed":
                if data["reference"] in coin.confirmed or data["reference"] not in coin.open:
                    self._say("M2", f"{data['reference']} was confirmed before, or never minted")
                coin.confirmed.add(data["reference"])
                coin.in_flight -= coin.open.get(data["reference"], 0)
            case "MintFailed":
                units = coin.open.pop(data["reference"], 0)
                coin.supply -= units
                coin.in_flight -= units
            case "Burned":
                coin.supply -= _units(data["amount"])
                coin.movements.append((now, -_units(data["payout"])))
                found = self.withdrawals[data["withdrawal"]]
                if found.burned is not None:
                    self._say("M4", f"{data['withdrawal']} was burned for before")
                found.burned = _units(data["payout"])
                if _units(data["payout"]) * COIN_OF_CENT != _units(data["amount"]):
                    self._say("M4", "the payout is not what was burned")
        if coin.supply < 0 or coin.in_flight < 0:
            self._say("M1", f"supply {coin.supply}, in flight {coin.in_flight}")

    def _minted(self, coin: Coin, data: dict[str, Any]) -> None:
        units = _units(data["amount"])
        if data["reference"] in coin.open:
            self._say("M2", f"{data['reference']} is minted already")
        coin.open[data["reference"]] = units
        coin.supply += units
        coin.in_flight += units
        if coin.supply > coin.reserves * COIN_OF_CENT:
            self._say("M1", f"{coin.supply} units circulate, {coin.reserves} cents are held")

    def _account(self, name: str, account_name: str, data: dict[str, Any], now: datetime) -> None:
        del now
        account = self.accounts[account_name]
        match name:
            case "Credited":
                account.posted += _units(data["amount"])
            case "Debited":
                if _units(data["amount"]) > account.available:
                    self._say("M3", f"{account.available} units were available")
                account.posted -= _units(data["amount"])
            case "Held":
                if _units(data["amount"]) > account.available or data["hold"] in account.holds | dict.fromkeys(
                    account.closed, 0
                ):
                    self._say("M3", f"{account.available} units were available, or the hold is not new")
                account.holds[data["hold"]] = _units(data["amount"])
            case "Captured":
                held = self._close(account, data["hold"])
                account.posted -= _units(data["amount"])
                self.captured[data["hold"]] += 1
                if held != _units(data["amount"]) + _units(data["returned"]):
                    self._say("M3", "captured and returned are not what was held")
            case "Released" | "HoldExpired":
                self._close(account, data["hold"])
                self.let_go.add((f"treasury/account/{account_name}", data["hold"]))
            case "Frozen":
                account.frozen[data["cause"]] = _units(data["amount"])
            case "Unfrozen":
                account.frozen.pop(data["cause"], None)
        if account.posted < 0:
            self._say("M3", f"the balance is {account.posted}")

    def _close(self, account: Account, hold: str) -> int:
        if hold not in account.holds:
            self._say("M3", f"the hold {hold} is not open")
        account.closed.add(hold)
        return account.holds.pop(hold, 0)

    def _withdrawal(self, name: str, withdrawal: str, data: dict[str, Any], now: datetime) -> None:
        del now
        found = self.withdrawals[withdrawal]
        match name:
            case "WithdrawalRequested":
                found.cents, found.requester = _units(data["payout"]), data["person"]
            case "WithdrawalReviewed" if data["verdict"] == "approve":
                found.approvers.append(data["person"])
            case "WithdrawalApproved" if data["route"] == "reviewed":
                if len(set(found.approvers)) < 2 or found.requester in found.approvers:
                    self._say("M5", f"approved by {found.approvers}, asked for by {found.requester}")
            case "WithdrawalApproved":
                self._automatic(withdrawal, data)
            case "PayoutPaid":
                found.paid += _units(data["payout"])
                if found.burned is None or found.paid > found.burned:
                    self._say("M4", f"{found.paid} cents were paid, {found.burned} burned")
            case "PayoutReturned" if data["paid"]:
                found.paid -= _units(data["payout"])

    def _automatic(self, withdrawal: str, data: dict[str, Any]) -> None:
        # Whether the window had room was judged when it was counted.
        cents = data["usd_cents"]
        if withdrawal not in self.outflow or cents > self._by("treasury", "payout_single_max_usd_cents", data):
            self._say("M5", f"{cents} cents went without review")

    def _outflow(self, name: str, _stream: str, data: dict[str, Any], now: datetime) -> None:
        if name == "OutflowReleased":
            self.outflow.pop(data["withdrawal"], None)
            return
        window = sum(cents for at, cents in self.outflow.values() if at > now - DAY) + data["usd_cents"]
        single, daily = (self._by("treasury", f"payout_{which}_max_usd_cents", data) for which in ("single", "daily"))
        if not data["reviewed"] and (data["usd_cents"] > single or window > daily):
            self._say("M5", f"{window} cents in 24 hours, {data['usd_cents']} at once, not reviewed")
        self.outflow[data["withdrawal"]] = (now, data["usd_cents"])

    # the others

    def _other(self, kind: str, stream: str, data: dict[str, Any]) -> None:
        match kind:
            case "rewards.Issued" | "rewards.EpochMinted":
                self.issued += int(data["amount"])
                if self.issued > CAP or self.issued != int(data["issued_total"]):
                    self._say("M6", f"{self.issued} units were issued, the event says {data['issued_total']}")
            case "rewards.SupplyBurned":
                self.burned += int(data["amount"])
                if self.burned > self.issued:
                    self._say("M6", f"{self.burned} units were burned, {self.issued} issued")
            case "rewards.FeeSplit":
                self.split[data["receipt"]] += 1
                self._divided(stream, data)
            case "rewards.FeeTaken":
                self._burned(stream, data, _units(data["amount"]))
            case "rewards.Earned":
                self._earned(stream, data)
            case "rewards.RootPublished":
                self._published(int(stream), data)
            case "rewards.RootConfirmed":
                if int(stream) not in self.rooted:
                    self._say("M8", "its root was never published")
            case "rewards.Claimed":
                self._claimed(stream, data)
            case "staking.Staked":
                self.stakes[stream] += int(data["amount"])
                if "cause" in data:
                    self._staked(f"staking/collateral/{stream}", data)
            case "staking.Withdrawn" | "staking.Slashed":
                self.stakes[stream] -= int(data["amount"])
                if self.stakes[stream] < 0:
                    self._say("M7", f"{stream} has {self.stakes[stream]} units at stake")
            case "inference.ReceiptSettled":
                self.settled[stream] += 1

    def _staked(self, stream: str, data: dict[str, Any]) -> None:
        held, cause = self.held.get(data["cause"]), data["cause"]
        said = ("SPACE", int(data["amount"]), data["account"], data["hold"], f"stake:{stream}")
        if held is None:
            self._say("M7", f"it names {cause}, which is no hold of the treasury")
        elif said != (held["amount"]["asset"], _units(held["amount"]), held["account"], held["hold"], held["purpose"]):
            self._say("M7", f"it is not what {cause} says was held, of whom, and for whom")
        if cause in self.carried:
            self._say("M7", f"{cause} was staked before")
        self.carried[cause] = (data["account"], data["hold"])

    def _earned(self, stream: str, data: dict[str, Any]) -> None:
        self.earned[stream] += _units(data["amount"])
        self.earned_in[stream][data["epoch"]] += _units(data["amount"])
        if data["epoch"] in self.rooted:
            self._say("M8", f"was earned under epoch {data['epoch']}, whose root was out")
        if self.earned[stream] != int(data["cumulative"]):
            self._say("M8", f"{self.earned[stream]} units were earned, the event says {data['cumulative']}")

    def _published(self, epoch: int, data: dict[str, Any]) -> None:
        """A root's rows hold what was earned up to its epoch, in the assets that it has totals of."""
        totals = {amount["asset"]: _units(amount) for amount in data["totals"]}
        sums: Counter[str] = Counter()
        for stream, by_epoch in self.earned_in.items():
            asset = stream.partition(".")[2]
            units = sum(units for number, units in by_epoch.items() if number <= epoch)
            if asset not in totals or not units:
                continue
            if units < self.published[stream]:
                self._say("M8", f"{stream} had {self.published[stream]} units under a root, now {units}")
            self.published[stream] = units
            sums[asset] += units
        if sums != totals:
            self._say("M8", f"the root's totals are {totals}, what was earned is {dict(sums)}")
        self.rooted.add(epoch)
        self.counts["roots"] += 1

    def _claimed(self, stream: str, data: dict[str, Any]) -> None:
        self.claimed[stream] += _units(data["amount"])
        if not self.claimed[stream] <= self.published[stream] <= self.earned[stream]:
            numbers = (self.claimed[stream], self.published[stream], self.earned[stream])
            self._say("M8", "{} units claimed, {} under a root, {} earned".format(*numbers))
        if (log := (data["transaction"], data["log"])) in self.claim_logs:
            self._say("M8", f"the log {log[1]} of {log[0]} was recorded before")
        self.claim_logs.add(log)
        self.counts["claims"] += 1

    def _divided(self, stream: str, data: dict[str, Any]) -> None:
        name = "split_percent" if data["kind"] == "inference" else "storage_split_percent"
        for part, percent in self._by("rewards", name, data).items():
            share, self.left[stream][part] = divmod(self.left[stream][part] + _units(data["price"]) * percent, 100)
            if int(data[f"{part.removesuffix('s')}_share"]) != share:
                self._say("M11", f"its {part} are owed {share} units by {percent} per cent")
        self._burned(stream, data, int(data["treasury_share"]) + int(data["protocol_fee"]))

    def _burned(self, stream: str, data: dict[str, Any], receipt: int) -> None:
        left, percent = self.left[stream], self._by("rewards", "burn_percent", data)
        burned, left["burn"] = divmod(left["burn"] + receipt * percent, 100)
        if int(data["burn"]) + int(data["buyback"]) != burned:
            self._say("M11", f"{burned} units of it are burned or buy back by {percent} per cent")

    def _at_the_end(self) -> None:
        for what, counted in (("settled", self.settled), ("split", self.split), ("captured", self.captured)):
            for name, times in counted.items():
                if times > 1:
                    self._say("M9", f"was {what} {times} times", name)
        self.counts["receipts settled"], self.counts["receipts split"] = len(self.settled), len(self.split)
        for name in sorted(self.split.keys() - self.settled.keys()):
            if self.settled:
                self._say("M9", "was split and never settled", name)
        for cause, hold in self.carried.items():
            if hold in self.let_go:
                self._say("M7", f"what {cause} says was held was let go, and is at stake", " ".join(hold))

    # the ledger

    def _ledger(self) -> None:
        path = self.folder / "views.jsonl"
        rows = list(_rows(path)) if path.exists() else []
        entries = [row for row in rows if row["table"] == "ledger_entries"]
        posted: dict[tuple[str, int, str], int] = defaultdict(int)
        balances: Counter[tuple[str, str]] = Counter()
        for row in entries:
            units = int(row["gained"]) - int(row["given"])
            posted[row["shard"], int(row["sequence"]), row["asset"]] += units
            balances[row["account"], row["asset"]] += units
        self.counts["entries"] = len(entries)
        for (shard, sequence, asset), units in posted.items():
            if units:
                self._say("M10", f"its entries in {asset} sum to {units}", f"{shard}:{sequence}")
        there = {(shard, sequence) for shard, sequence, _ in posted}
        for place in sorted(self.moved.keys() - there):
            self._say("M10", "moved value and is not in the ledger", self.moved[place])
        self._balances(rows, balances)

    def _balances(self, rows: list[dict[str, Any]], folded: Counter[tuple[str, str]]) -> None:
        shown: Counter[tuple[str, str]] = Counter()
        for row in rows:
            if row["table"] == "ledger_balances":
                shown[row["account"], row["asset"]] += int(row["gained"]) - int(row["given"])
        for key in sorted(shown.keys() | folded.keys()):
            if shown[key] != folded[key]:
                self._say("M10", f"holds {shown[key]}, its entries sum to {folded[key]}", " ".join(key))
        self.counts["accounts"] = len(shown)
        for name, coin in self.coins.items():
            if shown["supply", name] != -coin.supply or shown["inflight", name] != coin.in_flight:
                self._say("M10", f"the ledger has a supply of {-shown['supply', name]}, the events {coin.supply}", name)
        for name, account in self.accounts.items():
            owner, _, asset = name.partition(".")
            if shown[f"account:{owner}", asset] != account.posted:
                self._say("M10", f"holds {shown[f'account:{owner}', asset]}, its events say {account.posted}", name)


def _units(amount: dict[str, str]) -> int:
    return int(amount["units"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot judge: {path}: {error}") from None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the dumps are")
    parser.add_argument("--json", action="store_true", help="one object on one line")
    options = parser.parse_args(arguments)
    if not (options.folder / "store.jsonl").exists():
        print(f"cannot judge: {options.folder}/store.jsonl is missing")
        return 2
    judge = Judge(options.folder)
    problems = judge.judge()
    broken = Counter(problem.invariant for problem in problems)
    if options.json:
        shown = [f"{p.invariant} {p.where}: {p.text}" for p in problems[:SHOWN]]
        print(json.dumps({"ok": not problems, **judge.counts, "broken": dict(sorted(broken.items())), "problems": shown}))
    else:
        for problem in problems[:SHOWN]:
            print(f"{problem.invariant:>4} {problem.where}\n     {problem.text}")
        for name, count in judge.counts.items():
            print(f"{name:>18} {count:>12,}")
        print(f"{len(problems)} problems" if problems else "every invariant held")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
