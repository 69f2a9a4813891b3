"""`spaceos show ledger`: what every account holds, and that each asset sums to zero."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import Exit, Json, answer, say, table
from ops.cli.show import show

if TYPE_CHECKING:
    from sqlalchemy import Connection


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
        say(
            f"[bold red]{', '.join(wrong)} does not sum to zero[/]: is the view to blame? spaceos rebuild ledger --verify"
        )
        raise typer.Exit(Exit.FOUND_WRONG)


def amount(units: int, asset: str) -> Any:
    """Of an asset's minor units, for a table: it stands to the right."""
    from rich.text import Text

    from contracts import written

    return Text(written(units, asset), justify="right")
