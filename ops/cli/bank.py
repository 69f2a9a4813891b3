"""`spaceos bank`: read a bank's statement, and say of each in it whether it is believed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.money import amount
from ops.cli.output import NETWORK, Exit, Failure, Json, answer, say, table

if TYPE_CHECKING:
    from adapters.bank.statements import Statement, StatementRefused

bank = typer.Typer(no_args_is_help=True, help="Bank statements: what is in them, and why one is refused.")

SHOWN = 40


@bank.command()
def read(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="MT940, or CAMT.052, .053 or .054.")],
    as_json: Json = False,
) -> None:
    """Show the entries of a statement file; nothing is sent. Exit code 1 if one in it is refused, with line and rule."""
    from adapters.bank.statements import StatementRefused, verdicts

    found = list(verdicts(file.read_bytes()))
    refused = [verdict for verdict in found if isinstance(verdict, StatementRefused)]
    if as_json:
        answer({"ok": not refused, "statements": [_document(verdict) for verdict in found]})
    else:
        for verdict in found:
            _show(verdict)
        say("{} statements are believed, {} are not", len(found) - len(refused), len(refused))
    if refused:
        raise typer.Exit(Exit.FOUND_WRONG)


@bank.command()
def submit(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="MT940, or CAMT.053.")],
    rail: Annotated[str, typer.Option(help="The way on which the money came: wire, sepa, wise, stripe.")] = "wire",
    key: Annotated[str, typer.Option(help="The cashier's key.")] = "treasury.cashier",
    as_json: Json = False,
) -> None:
    """Observe and settle every credit of a statement. One that does not add up is refused whole, and no money moves.

    Sent again, nothing happens twice: an entry is known by its bank reference.
    """
    import asyncio

    from adapters.bank.statements import StatementRefused, parse_statement
    from ops.asking import NotAccepted
    from ops.compose import deployment
    from ops.treasury import settle_credits

    try:
        statements = parse_statement(file.read_bytes())
    except StatementRefused as error:
        raise Failure(f"{file.name}: {error}", "nothing of it was sent; spaceos bank read shows each statement") from None
    try:
        done = asyncio.run(settle_credits(deployment("clients"), statements, rail, key))
    except NotAccepted as error:
        raise Failure(str(error), "what was accepted before it stays; the same file may be sent again") from None
    if as_json:
        answer({"statements": len(statements), "deposits": done})
    else:
        say("{} credits of {} statements are observed and settled", len(done), len(statements))
        say("A deposit becomes coins once its owner is known: treasury.AssignDeposit")


@bank.command()
def match(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="MT940, or CAMT.053.")],
    rail: Annotated[str, typer.Option(help="The way on which the money came.")] = "wire",
    as_json: Json = False,
) -> None:
    """Compare a statement with the books, entry by entry. Exit code 1 if something does not fit."""
    from dataclasses import asdict

    from adapters.bank.statements import StatementRefused, parse_statement
    from domain.treasury.matching import Line
    from domain.treasury.matching import match as compare
    from ops.cli.money import views
    from projections.treasury.outside import booked_in

    try:
        statements = parse_statement(file.read_bytes())
    except StatementRefused as error:
        raise Failure(f"{file.name}: {error}", "spaceos bank read shows each statement") from None
    asset = statements[0].asset
    lines = [
        Line(entry.payment_reference if entry.cents < 0 and entry.payment_reference else entry.reference, entry.cents)
        for statement in statements
        if statement.asset == asset
        for entry in statement.entries
    ]
    with views() as connection:
        found = compare(lines, booked_in(asset, rail, connection))
    if as_json:
        answer({"asset": asset, "fit": found.fit, "mismatches": [asdict(each) for each in found.mismatches]})
    else:
        rows = [
            (each.kind, each.name, *(None if n is None else amount(n, asset) for n in (each.bank_cents, each.books_cents)))
            for each in found.mismatches
        ]
        table(f"{asset}: what does not fit", ("", "entry", "bank", "books"), rows)
        say("{} of {} entries fit, {} together", found.fit, len(lines), amount(found.cents, asset))
    if found.mismatches:
        raise typer.Exit(Exit.FOUND_WRONG)


def _show(verdict: "Statement | StatementRefused") -> None:
    from adapters.bank.statements import StatementRefused

    if isinstance(verdict, StatementRefused):
        say("[bold red]refused[/] {}", verdict)
        return
    rows = [
        (entry.booked_at, entry.value_date, amount(entry.cents, verdict.asset), entry.reference[:24], entry.text[:50])
        for entry in verdict.entries[:SHOWN]
    ]
    title = f"{verdict.account} {verdict.asset.removesuffix('.bank')} {verdict.kind} {verdict.number}"
    table(title, ("booked", "value", "amount", "reference", "text"), rows)
    if len(verdict.entries) > SHOWN:
        say("… and {} more (--json shows all)", len(verdict.entries) - SHOWN)
    if verdict.opening is not None and verdict.closing is not None:
        say(
            "opening {}, closing {}: it adds up", amount(verdict.opening, verdict.asset), amount(verdict.closing, verdict.asset)
        )


def _document(verdict: "Statement | StatementRefused") -> dict[str, Any]:
    from dataclasses import asdict

    from adapters.bank.statements import StatementRefused

    if isinstance(verdict, StatementRefused):
        return {"believed": False, "line": verdict.line, "path": verdict.path, "rule": verdict.rule, "text": verdict.text}
    return {"believed": True, **asdict(verdict)}


def register(app: typer.Typer) -> None:
    app.add_typer(bank, name="bank", rich_help_panel=NETWORK)
