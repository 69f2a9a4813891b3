"""`spaceos show`: what the network is, did and decided."""

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ops.cli.output import NETWORK, Failure, Json, answer, say, table

show = typer.Typer(no_args_is_help=True, help="Look at outcomes and views.")


@show.command()
def outcome(
    command_id: Annotated[str, typer.Argument(help="The command's id, a UUID.")],
    as_json: Json = False,
) -> None:
    """What became of a command: its outcome as it is signed, and where its events are."""
    from adapters.sql import engine_for
    from adapters.sql.outbox import outcomes_of
    from ops.compose import deployment

    found = outcomes_of(engine_for(deployment().settings.store), command_id)
    if not found:
        raise Failure(f"no command {command_id} has an outcome here", "is the worker running? spaceos doctor tells")
    for value in found:
        document: dict[str, Any] = json.loads(value)
        if as_json:
            answer(document)
            continue
        data = document["data"]
        say("[bold]{}[/] {}", document["type"], document["subject"])
        say("  at {}, asked by {}", document["time"], document["actor"] or "nobody")
        if refusal := data.get("refusal"):
            say("  refused: [bold]{}[/] {}", refusal["name"], refusal["text"])
        rows = [(e["shard"], e["sequence"], e["streamversion"], e["id"]) for e in data.get("events", ())]
        if rows:
            table("Events", ("shard", "sequence", "version", "id"), rows)


@show.command()
def keys(as_json: Json = False) -> None:
    """The key registry: every key, its roles and their ends."""
    from sqlalchemy import select

    from adapters.sql import engine_for, reading
    from ops.compose import deployment
    from projections.identity import keys as keys_table
    from projections.identity import roles

    with reading(engine_for(deployment().settings.views)) as connection:
        states = {row.key: row.state for row in connection.execute(select(keys_table))}
        rows = connection.execute(select(roles).order_by(roles.c.key, roles.c.role, roles.c.prefix)).all()
    columns = ("key", "role", "prefix", "not_after", "withdrawn")
    shown = [{"state": states.get(row.key, "root"), **{name: getattr(row, name) for name in columns}} for row in rows]
    if as_json:
        answer({"keys": shown})
    else:
        table("Keys", ("state", "key", "role", "on", "until", "withdrawn"), [tuple(row.values()) for row in shown])


@show.command()
def routing(
    model: Annotated[str | None, typer.Argument(help="A model; all models without.")] = None,
    as_json: Json = False,
) -> None:
    """Who may serve what now, and why the others may not."""
    from adapters.sql import engine_for, reading
    from contracts.providers import ModelId
    from ops.compose import deployment
    from projections.providers import offers_of, router_models

    now_ms = time.time_ns() // 1_000_000
    with reading(engine_for(deployment().settings.views)) as connection:
        if model is None:
            _models(router_models(now_ms, connection), as_json)
            return
        offers = offers_of(ModelId(model), now_ms, connection)
    if as_json:
        answer({"model": model, "offers": [asdict(offer) for offer in offers]})
        return
    rows = [
        (o.offer, o.gpu, o.country, o.tier, _dollars(o.prompt_price), _dollars(o.completion_price), o.reason) for o in offers
    ]
    table(f"Offers of {model}", ("offer", "machine", "in", "tier", "prompt $/M", "completion $/M", "why not"), rows)


def _models(models: Any, as_json: bool) -> None:
    if as_json:
        answer({"models": [asdict(model) for model in models]})
        return
    rows = [
        (m.model, m.kind, m.context_tokens, m.offers, _dollars(m.cheapest_prompt_price), _dollars(m.cheapest_completion_price))
        for m in models
    ]
    table("Models", ("model", "kind", "context", "offers now", "prompt $/M from", "completion $/M from"), rows)


def _dollars(units: int | None) -> str | None:
    """USD.s units a token as dollars a million tokens."""
    return None if units is None else f"{units / 10**12:.3f}"


@show.command()
def providers(
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    as_json: Json = False,
) -> None:
    """The registered machines and what is known of them."""
    from sqlalchemy import select

    from adapters.sql import engine_for, reading
    from ops.compose import deployment
    from projections.providers import providers as machines

    with reading(engine_for(deployment().settings.views)) as connection:
        rows = connection.execute(select(machines).order_by(machines.c.device).limit(limit)).all()
    if as_json:
        answer({"providers": [dict(row._mapping) for row in rows]})
        return
    tiers = ("free", "basic", "pro", "enterprise")
    shown = [(r.device, r.state, r.gpu, r.vram_mib, r.country, tiers[r.tier], r.bonded) for r in rows]
    table("Providers", ("device", "state", "machine", "VRAM MiB", "in", "tier", "bonded"), shown)


@show.command()
def decision(
    request: Annotated[str, typer.Argument(help="The request's id, a UUID.")],
    as_json: Json = False,
) -> None:
    """Why a request went where it went."""
    from adapters.sql import engine_for, reading
    from contracts import Uuid
    from ops.compose import deployment
    from projections.inference import explain

    with reading(engine_for(deployment().settings.views)) as connection:
        found = explain(Uuid(request), connection)
    if found is None:
        raise Failure(f"no decision of {request} in the view", "spaceos show outcome says what became of a command")
    if as_json:
        answer(asdict(found))
        return
    say(
        "{} by {}, decided at {} by {} ({} {})",
        found.model,
        found.strategy,
        found.decided_at,
        found.router,
        found.shard,
        found.sequence,
    )
    rows = [(each.offer, f"{each.cost / 10**18:.6f}", each.reason or "in the chain") for each in found.considered]
    table(f"Chosen: {found.chain[0]}", ("offer", "cost $", "why"), rows)


@show.command()
def parameters(
    context: Annotated[str | None, typer.Argument(help="A context; all contexts without.")] = None,
    as_json: Json = False,
) -> None:
    """What each context decides by: value, default, bounds, version and since when; and what is halted until when."""
    from adapters.sql import engine_for, reading
    from contracts import contexts, rfc3339
    from ops.compose import deployment
    from projections._policy import halts_of, shown

    if context not in (None, *contexts()):
        raise Failure(f"no context is called {context}", f"there are: {', '.join(contexts())}")
    with reading(engine_for(deployment().settings.views)) as connection:
        found, halts = shown(connection, context), halts_of(connection, context)
    if as_json:
        stopped = [{**asdict(halt), "until": rfc3339(halt.until)} for halt in halts]
        answer({"parameters": [asdict(each) for each in found], "halts": stopped})
        return
    rows = [
        (f"{p.context}.{p.name}{part and '.' + part}", value, default, f"{p.bounds[part][0]}–{p.bounds[part][1]}", *adopted)
        for p in found
        for part, value, default in _numbers(p.value, p.default)
        for adopted in [(p.version, p.since, p.actor)]
    ]
    table("Parameters", ("parameter", "value", "default", "bounds", "version", "since", "adopted by"), rows)
    if halts:
        stopped_rows = [(halt.context, halt.scope, rfc3339(halt.until), halt.since, halt.actor) for halt in halts]
        table("Halts", ("context", "scope", "until", "since", "halted by"), stopped_rows)


def _numbers(value: Any, default: Any) -> list[tuple[str, int, int]]:
    """A line for each number of a parameter: its name, what it is and what it was by the white paper."""
    if isinstance(value, dict):
        return [(part, value[part], number) for part, number in default.items()]
    return [("", value, default)]


def register(app: typer.Typer) -> None:
    app.add_typer(show, name="show", rich_help_panel=NETWORK)
