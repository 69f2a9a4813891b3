"""What people want to look at when the demo is over."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from adapters.sql import engine_for, reading
from contracts import Uuid, written
from contracts.providers import ModelId
from ops.cli.output import say, table
from ops.compose import Deployment
from ops.demo.money import Told
from ops.demo.run import Result
from ops.fleet import CATALOGUE
from projections.inference import Looked, decisions, explain, most_chosen
from projections.providers import OfferStanding, offers_of


def show(deployment: Deployment, result: Result) -> None:
    """Who was chosen, why not the others, how fast, and whether all is there."""
    views: Engine = engine_for(deployment.settings.views)
    with reading(views) as connection:
        _chosen(connection)
        _explained(connection)
    if result.money is not None:
        _money(result.money)
    _speed(result)
    _checked(result)


def _chosen(connection: Connection) -> None:
    total = connection.execute(select(func.count()).select_from(decisions)).scalar_one()
    standing = _standing(connection)
    rows = []
    for offer, times in most_chosen(connection, 10):
        found = standing.get(offer)
        if found is not None:
            price = f"${found.prompt_price / 10**12:.3f}"
            rows.append((offer, found.gpu, found.country, found.tier, price, times, f"{times / total:.1%}"))
    table("Chosen most often", ("offer", "machine", "in", "tier", "a million tokens", "requests", "share"), rows)


def _standing(connection: Connection) -> dict[str, OfferStanding]:
    return {found.offer: found for model in CATALOGUE for found in offers_of(model.id, _now_ms(), connection)}


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def _explained(connection: Connection) -> None:
    # A decision in which somebody cheaper was passed over says more than one in which nobody was.
    passed_over = decisions.c.considered.contains('"reason"')
    most = select(decisions.c.request).order_by(passed_over.desc(), func.length(decisions.c.considered).desc()).limit(1)
    request = connection.scalar(most)
    found = explain(Uuid(request), connection) if request else None
    if found is None:
        return
    place = {offer: n for n, offer in enumerate(found.chain, 1)}
    rows = [(each.offer, f"${each.cost / 10**18:.6f}", _why(each, place)) for each in found.considered[:14]]
    seen = {each.offer for each in found.considered}
    others = Counter(
        offer.reason for offer in offers_of(ModelId(found.model), _now_ms(), connection) if offer.offer not in seen
    )
    for reason, count in others.most_common():
        rows.append((f"{count} more", "", reason or "able, but dearer or later by lot"))
    table(f"Why not the others: {found.model}, request {found.request}", ("offer", "cost", "why"), rows)
    say("Chosen: [bold]{}[/]; the whole decision: spaceos show decision {}", found.chain[0], found.request)


def _why(each: Looked, place: Mapping[str, int]) -> str:
    if each.offer not in place:
        return each.reason or "able, and not needed"
    return "chosen" if place[each.offer] == 1 else f"no. {place[each.offer]} in the chain"


def _money(told: Told) -> None:
    bank = told.coin.replace(".s", ".bank")
    rows = [
        (f"credits of {told.statement} that were claimed", f"{told.deposits:,}"),
        (f"issued as {told.coin} against them", written(told.minted, bank)),
        ("burned again and paid out, after two persons agreed", written(told.paid_out, bank)),
        ("requests whose receipts matched, were settled and divided", f"{told.receipts:,}"),
        ("what they cost, with the protocol fee", f"${written(told.settled_units, 'USD.s')}"),
        ("nights whose Merkle root the rewards contract has", f"{told.roots:,}"),
        ("SPACE that it paid a provider on its proof", written(told.claimed_units, "SPACE")),
    ]
    table("Money", ("what", ""), rows)
    say("Look closer: spaceos show ledger | reconciliation | rewards | claim | slash")


def _speed(result: Result) -> None:
    at = f"at {result.replayed.rate:,.0f} requests a second"
    rows: list[tuple[Any, ...]] = [
        (f"command to view {at}, p50", f"{result.percentile(0.5):,.1f} ms"),
        (f"command to view {at}, p99", f"{result.percentile(0.99):,.1f} ms"),
    ]
    if result.sustained is not None:
        least = "at least " if result.sustains_more else ""
        rows.append(("most with the views less than a second behind", f"{least}{result.sustained:,.0f} requests a second"))
    rows.append(("lag of the views at the end", "0 events" if result.tally.is_ok else "see below"))
    table(f"Speed: {result.source}", ("what", ""), rows)


def _checked(result: Result) -> None:
    found = result.tally
    refusals = ", ".join(f"{name} {count}" for name, count in sorted(found.refusals.items()))
    rows = [
        ("commands with an outcome", f"{found.commands:,}"),
        ("accepted", f"{found.accepted:,}"),
        ("refused", f"{found.refused:,} ({refusals})" if refusals else "0"),
        ("events", f"{found.events:,}"),
        ("lost", f"{found.lost:,}"),
        ("duplicated", f"{found.duplicated:,}"),
        ("out of order", f"{found.out_of_order:,}"),
        ("exact repeats on topics, which readers drop", f"{found.repeated_on_topics:,}"),
        ("decisions derived again from the log, with another answer", f"{len(result.differences):,} of {result.again:,}"),
        ("entries of the audit log, each verified", f"{result.entries:,}"),
        ("of these not as they were written", f"{len(result.findings):,}"),
        ("processes restarted", f"{result.restarts:,}"),
    ]
    table("Counted from store, topics and views", ("what", ""), rows)
    for problem in found.problems:
        say("[bold red]✗[/] {}", problem)
    for difference in result.differences[:5]:
        say("[bold red]✗[/] {} decided {} otherwise than its table says", difference.router, difference.request)
    for finding in result.findings[:5]:
        say("[bold red]✗[/] audit log, {}: {} {}", finding.check, finding.where, finding.text)
    if result.is_ok:
        say("[bold green]✓[/] Every accepted command has exactly its events, in order, on the topic and in every view.")
        say("[bold green]✓[/] The audit log holds each of them; its signed head, to be kept by whoever does not trust us:\n")
        for line in result.checkpoint.splitlines():
            say("{}", line)
