"""`spaceos show ledger|reconciliation|rewards|claim|slash`: where money is, whether it fits, who earned it and who loses it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import Exit, Failure, Json, answer, say, table
from ops.cli.show import show

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from contracts import Amount
    from projections.rewards.overview import Earnings
    from projections.rewards.queries import BucketState, ClaimState, EpochState, Supply
    from projections.treasury.outside import Taken
    from projections.treasury.queries import Break, Coin, Review, SlotStanding


@contextmanager
def views() -> "Iterator[Connection]":
    """One snapshot of the views."""
    from adapters.sql import engine_for, reading
    from ops.compose import deployment

    engine = engine_for(deployment().settings.views)
    try:
        with reading(engine) as connection:
            yield connection
    finally:
        engine.dispose()


@show.command()
def ledger(
    account: Annotated[str | None, typer.Argument(help="An account or the beginning of some, `payable:`.")] = None,
    asset: Annotated[str | None, typer.Option(help="One asset only, `USD.s`.")] = None,
    entries: Annotated[int, typer.Option(min=0, max=10_000, help="So many newest entries as well.")] = 0,
    as_json: Json = False,
) -> None:
    """Double entry over every event that moved value. Exit code 1 if an asset does not sum to zero."""
    from projections.ledger import accounts, postings, trial_balance

    with views() as connection:
        trials = trial_balance(connection)
        found = [b for b in accounts(connection, account or "", asset) if b.entries]
        newest = postings(connection, account=account, limit=entries) if entries else []
    if as_json:
        answer(
            {"trial": [{**asdict(t), "difference": t.difference} for t in trials],
             "accounts": [{**asdict(b), "units": b.units} for b in found], "entries": [asdict(p) for p in newest]}
        )  # fmt: skip
    else:
        rows = [(b.asset, b.account, amount(b.units, b.asset), b.entries) for b in found]
        table(
            "Accounts: what each holds (negative: what it brought forth or owes)",
            ("asset", "account", "holds", "entries"),
            rows,
        )
        if newest:
            listed = [(p.at, p.account, amount(p.units, p.asset), p.asset, p.type, p.stream) for p in newest]
            table("Newest entries", ("at", "account", "moved", "asset", "event", "stream"), listed)
        sums = [(t.asset, amount(t.gained, t.asset), amount(t.given, t.asset), amount(t.difference, t.asset)) for t in trials]
        table("Trial balance", ("asset", "gained", "given", "difference"), sums)
    wrong = [trial.asset for trial in trials if trial.difference]
    if wrong:
        say("[bold red]{} does not sum to zero[/]: is the view to blame? spaceos rebuild ledger --verify", ", ".join(wrong))
        raise typer.Exit(Exit.FOUND_WRONG)


@show.command()
def reconciliation(
    coin: Annotated[str | None, typer.Argument(help="One coin only, `USD.s`.")] = None,
    slots: Annotated[int, typer.Option(min=1, max=1000, help="So many newest comparisons of each coin.")] = 8,
    as_json: Json = False,
) -> None:
    """Bank, books and chain, and what does not fit. Exit code 1 while a break is open or a coin has a deficit."""
    from datetime import UTC, datetime, timedelta
    from functools import partial

    from contracts.inference import FEES
    from contracts.treasury import UNDIVIDED_SECONDS
    from projections.rewards import divided_of
    from projections.treasury import awaiting_review, breaks_open, coins, outflow_in_window, slots_of
    from projections.treasury.outside import taken_for
    from streams.outside.comparing import undivided

    now = datetime.now(UTC)
    a_day_ago = now - timedelta(seconds=UNDIVIDED_SECONDS)
    with views() as connection:
        found = [each for each in coins(now, connection) if coin in (None, each.coin)]
        compared = {each.coin: slots_of(each.coin, connection, slots) for each in found}
        open_ = [each for each in breaks_open(now, connection) if coin in (None, each.coin)]
        window, left = outflow_in_window(now, connection)
        waiting = awaiting_review(now, connection)
        left_over = list(undivided(taken_for(FEES, a_day_ago, connection), partial(divided_of, connection=connection)))
    if as_json:
        answer(
            {"coins": [_plain(each) for each in found], "breaks": [_plain(each) for each in open_],
             "slots": {name: [_plain(each) for each in rows] for name, rows in compared.items()},
             "outflow_usd_cents": {"window": window, "left": left}, "awaiting_review": [_plain(each) for each in waiting],
             "undivided": [_plain(each) for each in left_over]}
        )  # fmt: skip
    else:
        _tell_coins(found)
        for name, rows in compared.items():
            _tell_slots(name, rows)
        _tell_open(open_, waiting, window, left)
        _tell_undivided(left_over, now)
    if open_ or any(each.deficit.units for each in found):
        raise typer.Exit(Exit.FOUND_WRONG)


def _tell_coins(found: "Sequence[Coin]") -> None:
    rows = [
        (
            each.coin, _of(each.supply), _of(each.in_flight), _of(each.reserves), _of(each.surplus), _of(each.deficit),
            _age(each.age_seconds), f"paused: {each.pause_cause}" if each.paused else "minting",
        )
        for each in found
    ]  # fmt: skip
    columns = ("coin", "supply", "of it in flight", "reserves", "surplus", "deficit", "attested", "state")
    table("Coins against the money that a bank holds for them", columns, rows)


def _tell_slots(name: str, found: "Sequence[SlotStanding]") -> None:
    rows = [
        (
            each.slot[:28], each.block, _of(each.bank), _of(each.owed), _of(each.evm_supply), _of(each.in_flight),
            _of(each.books_supply), _of(each.surplus), ", ".join(n.rpartition(".")[2] for n in each.breaks) or "fits",
        )
        for each in found
    ]  # fmt: skip
    if rows:
        columns = ("slot", "block", "bank", "owed", "on the EVM", "in flight", "books", "surplus", "")
        table(f"{name}: comparisons, the newest first", columns, rows)


def _tell_open(open_: "Sequence[Break]", waiting: "Sequence[Review]", window: int, left: int) -> None:
    if open_:
        rows = [(b.coin, b.slot[:28], b.kind, _of(b.amount), _age(b.age_seconds), b.break_id) for b in open_]
        table("Breaks that nobody has explained", ("coin", "slot", "kind", "amount", "age", "id"), rows)
    else:
        say("[green]No break is open[/]")
    if waiting:
        shown = [
            (r.withdrawal.withdrawal, _of(r.withdrawal.payout), r.withdrawal.payout.asset, r.withdrawal.approvals,
             ", ".join(r.withdrawal.reasons), _age(r.age_seconds))
            for r in waiting
        ]  # fmt: skip
        table("Withdrawals that wait for two persons", ("withdrawal", "payout", "asset", "approvals", "because", "age"), shown)
    say("In the last 24 hours ${:,.2f} of payouts count; ${:,.2f} may go without review", window / 100, left / 100)


def _tell_undivided(left_over: "Sequence[Taken]", now: "datetime") -> None:
    if left_over:
        ages = [_age(int((now - each.since).total_seconds())) for each in left_over]
        rows = [(t.account, t.hold, _of(t.amount), t.purpose, age) for t, age in zip(left_over, ages, strict=True)]
        table("Captured for fees a day ago and divided by nobody", ("account", "hold", "amount", "for", "age"), rows)


@show.command()
def rewards(
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="So many newest days.")] = 7,
    as_json: Json = False,
) -> None:
    """Supply, buckets, days and their roots, and what each wallet may claim.

    Exit code 1 if the contract has paid what the rules refuse to record.
    """
    from datetime import UTC, datetime

    from projections.rewards import buckets_at, epoch_of, supply_at
    from projections.rewards.overview import last_epochs, payees

    with views() as connection:
        supply, buckets = supply_at(None, connection), buckets_at(datetime.now(UTC), connection)
        days = [found for number in last_epochs(epochs, connection) if (found := epoch_of(number, connection))]
        earned, refused = payees(connection), _claims_refused(connection)
    if as_json:
        answer({"supply": _plain(supply), "buckets": [_plain(b) for b in buckets], "epochs": [_plain(d) for d in days],
                "payees": [_plain(e) for e in earned], "refused_claims": refused})  # fmt: skip
    else:
        _tell_rewards(supply, buckets, days, earned)
        for claim in refused:
            say(
                "[bold red]the contract has paid and the books refuse it[/]: {} {} {}",
                claim["name"],
                claim["log"],
                claim["text"],
            )
    if refused:
        raise typer.Exit(Exit.FOUND_WRONG)


def _claims_refused(connection: "Connection") -> list[dict[str, str]]:
    """Logs of claims that are in no book: a root that we did not publish, or a contract that is not ours."""
    from sqlalchemy import select

    from adapters.views.tables import refused_tasks
    from streams.rewards.claiming import CLAIMS

    rows = connection.execute(select(refused_tasks).where(refused_tasks.c.list == CLAIMS).order_by(refused_tasks.c.at))
    return [{"log": row.key.removeprefix("claim:"), "name": row.name, "text": row.text, "at": row.at} for row in rows]


def _tell_rewards(
    supply: "Supply", buckets: "Sequence[BucketState]", days: "Sequence[EpochState]", earned: "Sequence[Earnings]"
) -> None:
    space = [amount(units, "SPACE") for units in (supply.issued, supply.burned, supply.circulating)]
    table("SPACE (a billion at most)", ("issued", "burned", "circulating"), [space])
    shown = [(b.bucket, *(amount(n, "SPACE") for n in (b.share, b.issued, b.set_aside, b.left, b.ceiling))) for b in buckets]
    table("Buckets", ("bucket", "share", "issued", "set aside", "left", "open by now"), shown)
    rows = [(_day(d.epoch), _state(d), *(_space(n) for n in (d.pool, d.owed, d.paid, d.lapsed)), d.root) for d in days]
    table("Days", ("day", "state", "pool", "owed", "paid", "lapsed", "root"), rows)
    claims = [(e.payee, e.asset, *(amount(n, e.asset) for n in (e.earned, e.claimed, e.claimable, e.open))) for e in earned]
    table("Wallets", ("wallet", "asset", "earned", "claimed", "claimable", "fees of open days"), claims)


@show.command()
def claim(
    address: Annotated[str, typer.Argument(help="A wallet's EVM address.")],
    as_json: Json = False,
) -> None:
    """What a wallet may claim, ready for the rewards contract. Each proof was verified against the root that it has."""
    from ops.compose import deployment
    from projections.rewards import OtherTable, claim_of

    found = deployment()
    try:
        with views() as connection:
            states = claim_of(address.lower(), found.tokens, connection)
    except OtherTable as error:
        hint = "is a view behind? spaceos rebuild rewards --verify; or this shell reaches another chain: SPACEOS_OUTSIDE"
        raise Failure(str(error), hint) from None
    contract = str(found.outside.chain.rewards) if found.outside is not None else None
    if as_json:
        answer({"contract": contract, "claims": [_claim(each) for each in states]})
        return
    for each in states:
        _tell_claim(each, contract)
    if not states:
        say("nothing was earned by this wallet")


def _claim(state: "ClaimState") -> dict[str, Any]:
    """For programs: large integers as text."""
    call, root = None, state.root
    if (row := state.claim) is not None:
        call = {"account": row.account, "token": row.token, "cumulative": str(row.cumulative), "proof": state.proof}
    return {
        "asset": state.asset, "earned": str(state.earned), "claimed": str(state.claimed), "claimable": str(state.claimable),
        "call": call, "root": {"epoch": root.epoch, "root": root.root, "block": root.block} if root else None,
        "waiting": state.waiting,
    }  # fmt: skip


def _tell_claim(state: "ClaimState", contract: str | None) -> None:
    earned, claimed, claimable = (_text(n, state.asset) for n in (state.earned, state.claimed, state.claimable))
    say("[bold]{}[/]: {} earned, {} claimed, {} claimable", state.asset, earned, claimed, claimable)
    if state.root is not None:
        say("  root of {}, on the chain since block {}: {}", _day(state.root.epoch), state.root.block, state.root.root)
    if state.waiting is not None:
        say("  the root of {} waits for the contract", _day(state.waiting))
    if state.claim is not None and state.claimable:
        row = state.claim
        say("  {}.claim(", contract or "the rewards contract")
        for argument in (row.account, row.token, row.cumulative):
            say("    {},", argument)
        say("    {})", f"[{', '.join(state.proof)}]")
    elif state.claim is None:
        say("  no row under a root that the contract has")


def _state(day: "EpochState") -> str:
    return day.state if day.block is None else f"confirmed in block {day.block}"


@show.command()
def slash(
    case: Annotated[str | None, typer.Argument(help="A case; without one, the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Who is accused, who witnessed it, what it costs. `spaceos explain slash CASE --recompute` computes it again."""
    from ops.cli import explain
    from projections.staking.overview import recent_cases

    if case is not None:
        explain.slash(case, recompute=False, source="kafka", log=None, as_json=as_json)
        return
    with views() as connection:
        found = recent_cases(connection)
    if as_json:
        answer({"cases": [asdict(each) for each in found]})
    else:
        rows = [(each.case, each.offence, each.state, each.opened_at[:19], (each.until or "")[:19] or None) for each in found]
        table("Cases, the newest first", ("case", "offence", "state", "opened", "until"), rows)


def _plain(found: Any) -> dict[str, Any]:
    """For programs: amounts as they stand in events."""
    from contracts import Amount

    return {
        name: {"asset": value.asset, "units": str(value.units)} if isinstance(value, Amount) else value
        for name, value in ((name, getattr(found, name)) for name in found.__dataclass_fields__)
    }


def _of(found: "Amount") -> Any:
    return amount(found.units, found.asset)


def _space(units: int | None) -> Any:
    return None if units is None else amount(units, "SPACE")


def _text(units: int, asset: str) -> str:
    from contracts import written

    return written(units, asset)


def _day(epoch: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(epoch * 86_400, UTC):%Y-%m-%d}"


def _age(seconds: int | None) -> str | None:
    if seconds is None:
        return None
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def amount(units: int, asset: str) -> Any:
    """Of an asset's minor units, for a table: it stands to the right."""
    from rich.text import Text

    from contracts import written

    return Text(written(units, asset), justify="right")
