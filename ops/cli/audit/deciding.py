"""What people decide about the audit log: holds, erasures, witnesses, schemas, and shards that stand still."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops.cli.output import Exit, Failure, Json, answer, hint, say, table, working

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.tlog.notes import NoteKey
    from contracts import Command
    from ops.compose import Deployment

_DECIDING = "Deciding"
_CARE = "Care"

Officer = Annotated[str, typer.Option("--as", "-k", help="The key that decides; it has the role audit.officer.")]
Keyholder = Annotated[str, typer.Option("--as", "-k", help="The key that decides; it has the role audit.keyholder.")]
Operator = Annotated[str, typer.Option("--as", "-k", help="The key that decides; it has the role audit.operator.")]
Publisher = Annotated[str, typer.Option("--as", "-k", help="The key that publishes; it has the role audit.publisher.")]

hold = typer.Typer(no_args_is_help=True, help="What must not be erased.")
witness = typer.Typer(no_args_is_help=True, help="Who cosigns the log's heads.")


@hold.command("place")
def place_hold(
    name: Annotated[str, typer.Argument(help="The hold's name, `2026-117`.")],
    matter: Annotated[str, typer.Option(help="What it is about.")],
    person: Annotated[list[str] | None, typer.Option(help="Whose keys, later ones too; without any, all there are.")] = None,
    stream: Annotated[list[str] | None, typer.Option(help="The beginning of streams' names.")] = None,
    type: Annotated[list[str] | None, typer.Option(help="Types of events.")] = None,
    key: Officer = "auditor-1",
    as_json: Json = False,
) -> None:
    """Keep what it covers from being erased, at once. Releasing it takes another officer."""
    from contracts.audit import PlaceHold
    from ops.compose import deployment
    from ops.sealing import open_vault

    found = deployment()
    vault = open_vault(found)
    keys = [made.key for one in person or () for made in vault.keys_of(one)]
    tags = [vault.tag_of(one) for one in person or ()]
    scope = {"keys": keys, "persons": tags, "streams": stream or [], "types": type or []}
    _decide(found, key, PlaceHold.read({"hold": name, "matter": matter, "scope": scope}), f"audit/hold/{found.network}")
    held = f"{len(keys)} keys, and those that are made later" if person else "every key"
    _done(as_json, f"{name} holds {held}", hold=name, keys=keys)


@hold.command("release")
def release_hold(
    name: Annotated[str, typer.Argument(help="The hold's name.")], key: Officer = "auditor-2", as_json: Json = False
) -> None:
    """End a hold; not by the officer who placed it. Erasures that it barred are carried out then."""
    from contracts.audit import ReleaseHold
    from ops.compose import deployment

    found = deployment()
    _decide(found, key, ReleaseHold.read({"hold": name}), f"audit/hold/{found.network}")
    _done(as_json, f"{name} is released", hold=name)


@hold.command("list")
def list_holds(as_json: Json = False) -> None:
    """The holds that are in force."""
    from projections.audit import holds_in_force

    rows = _view(holds_in_force)
    if as_json:
        answer({"holds": rows})
    else:
        columns = ("hold", "matter", "placed", "scope")
        table("Holds in force", columns, [_values(row, *columns) for row in rows])


def erase(
    person: Annotated[str, typer.Argument(help="The person, as the vault knows them.")],
    basis: Annotated[str, typer.Option(help="request, court or end.")] = "request",
    key: Officer = "auditor-1",
    wait_seconds: Annotated[float, typer.Option(help="How long to wait until it is carried out.")] = 30,
    as_json: Json = False,
) -> None:
    """Erase a person: two officers order it, the keys are destroyed, and the log says so; every proof stays valid.

    Run it once for each officer (--as). What a hold or a retention class bars is carried out when the last bar falls.
    """
    from contracts.audit import OrderErasure
    from ops.compose import deployment
    from ops.sealing import open_vault

    found = deployment()
    keys = sorted(open_vault(found).keys_of(person), key=lambda made: made.key)
    if not keys:
        raise Failure(f"the vault has no key of {person}", "either nothing was sealed of them, or it is erased already")
    names = [made.key for made in keys]
    name = erasure_of(names)
    _decide(found, key, OrderErasure.read({"keys": names, "basis": basis}), f"audit/erasure/{name}")
    with working(f"Waiting for what becomes of {name}"):
        row = _settled(name, wait_seconds)
    _tell(row, name, as_json)


def erasures(as_json: Json = False) -> None:
    """Every erasure: proposed, ordered, deferred by what, done."""
    from sqlalchemy import select

    from projections.audit import erasures as erasures_table

    rows = _view(lambda connection: connection.execute(select(erasures_table)).all())
    if as_json:
        answer({"erasures": rows})
    else:
        columns = ("erasure", "state", "basis", "bars", "until", "since")
        table("Erasures", columns, [_values(row, *columns) for row in rows])


@witness.command("add")
def add_witness(
    name: Annotated[str, typer.Argument(help="What you call it.")],
    verifier_key: Annotated[str, typer.Argument(help="<name>+<id>+<key>, as the witness publishes it.")],
    group: Annotated[str, typer.Option(help="The policy's group that it counts in.")] = "witnesses",
    key: Keyholder = "auditor-1",
    as_json: Json = False,
) -> None:
    """Say in the log that a witness is asked to cosign. Run it once for each of two keyholders (--as)."""
    from contracts.audit import AddWitness
    from ops.compose import deployment

    found = deployment()
    command = AddWitness.read({"name": name, "key": verifier_key, "group": group})
    _decide(found, key, command, f"audit/log/{found.network}")
    _done(as_json, f"{name}: said by {key}; a second keyholder makes it so", witness=name)


@witness.command("retire")
def retire_witness(
    name: Annotated[str, typer.Argument(help="What you call it.")],
    cause: Annotated[str, typer.Option(help="Why.")],
    key: Keyholder = "auditor-1",
    as_json: Json = False,
) -> None:
    """Say in the log that a witness is asked no more. Run it once for each of two keyholders (--as)."""
    from contracts.audit import RetireWitness
    from ops.compose import deployment

    found = deployment()
    _decide(found, key, RetireWitness.read({"name": name, "cause": cause}), f"audit/log/{found.network}")
    _done(as_json, f"{name}: said by {key}; a second keyholder makes it so", witness=name)


@witness.command("list")
def list_witnesses(as_json: Json = False) -> None:
    """The witnesses that are asked, as the log says."""
    from projections.audit import witnesses_asked

    rows = _view(witnesses_asked)
    if as_json:
        answer({"witnesses": rows})
    else:
        columns = ("name", "group", "since", "key")
        table("Witnesses", columns, [_values(row, *columns) for row in rows])


@witness.command("serve")
def serve_witness(
    name: Annotated[str, typer.Argument(help="The witness's name, like a host's.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where logs submit their heads.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    log: Annotated[list[str] | None, typer.Option(help="Verifier keys of the logs; this network's without.")] = None,
) -> None:
    """Be a witness (c2sp.org/tlog-witness) until Ctrl-C: for another network, on a machine that is not its own."""
    import signal

    from adapters.keys import write_key
    from adapters.tlog.notes import NoteKey
    from ops.auditor import log_key
    from ops.compose import deployment
    from ops.witness import run_witness

    found = deployment()
    key_file = found.settings.keys / "witness.key"
    if not key_file.exists():
        write_key(key_file)
    logs = [NoteKey.parse(text) for text in log or ()] or [log_key(found)]

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        hint("Listening at http://{}:{}; put its key into the log's policy (SPACEOS_AUDIT_POLICY):", host, port)
        say("{}", witness_key(name, key_file))
        await run_witness(name, key_file, found.settings.home / "witness.db", logs, host=host, port=port, stop=stop)

    asyncio.run(run())


def adopt(
    head: Annotated[typer.FileText, typer.Argument(metavar="HEAD", help="A signed head, as `audit checkpoint` prints it.")],
    as_json: Json = False,
) -> None:
    """Say which head was signed last, where the file that holds it was lost; the log signs again if it continues that head.

    Each witness of the policy is asked first: a head that is not the last one that it has cosigned is not adopted.
    """
    from adapters.audit.signing import Forked, RolledBack, adopt_head
    from adapters.tlog.notes import NoteInvalid
    from ops.auditor import LAST_SIGNED, ask_witnesses, log_signer, open_audit
    from ops.compose import deployment

    found, note = deployment(), head.read()
    engine = open_audit(found)
    try:
        silent = asyncio.run(ask_witnesses(found, engine, note))
        adopted = adopt_head(engine, log_signer(found), found.settings.home / LAST_SIGNED, note)
    except (NoteInvalid, RolledBack, Forked, FileExistsError) as error:
        raise Failure(str(error), "give the newest head that a witness or an auditor has kept") from None
    for name, why in silent.items():
        hint("{} was not heard: {}", name, why)
    _done(as_json, f"the head of {adopted.size:,} entries is the one that was signed last", size=adopted.size, silent=silent)


@witness.command("trust")
def trust_again(
    why: Annotated[str, typer.Option(help="What you found when you looked into it.")], as_json: Json = False
) -> None:
    """Sign heads again after a witness or the patrol had refused one, once you know why it did."""
    from adapters.audit.cosignatures import resolve_refusal
    from ops.auditor import open_audit
    from ops.compose import deployment

    refusal = resolve_refusal(open_audit(deployment()), int(time.time()), why)
    if refusal is None:
        raise Failure("neither a witness nor the patrol has refused a head", "`spaceos audit checkpoint` shows the newest one")
    _done(as_json, f"Heads are signed again; it was the head of {refusal.size:,} entries", size=refusal.size)


def token(
    reader: Annotated[str, typer.Argument(help="The DID that has the role audit.reader.")], as_json: Json = False
) -> None:
    """Make a token with which a reader gets entries by HTTP. It is shown once; the file holds its digest."""
    import hashlib
    import secrets

    from ops.compose import deployment

    path = deployment().settings.audit_readers
    if path is None:
        raise Failure("SPACEOS_AUDIT_READERS names no file", "set it, for the auditor too", exit_code=Exit.USAGE)
    made = secrets.token_urlsafe(32)
    with path.open("a") as file:
        file.write(f"{hashlib.sha256(made.encode()).hexdigest()} {reader}\n")
    _done(as_json, made, token=made, reader=reader)


def witness_key(name: str, key_file: "Path") -> "NoteKey":
    """Whose cosignatures a witness with that key file makes."""
    from adapters.keys import read_seed
    from adapters.tlog.notes import COSIGNATURE, NoteSigner

    return NoteSigner.of(name, read_seed(key_file), COSIGNATURE).key


def resume(
    shard: Annotated[str, typer.Argument(help="The shard, as `audit shards` names it.")],
    key: Operator = "auditor-1",
    as_json: Json = False,
) -> None:
    """Try a shard again that stood still, once you know why it did."""
    from sqlalchemy import select

    from adapters.audit import tables
    from adapters.audit.sequencer import release_shard
    from adapters.sql import reading
    from contracts.audit import ResumeShard
    from ops.auditor import open_audit
    from ops.compose import deployment

    found = deployment()
    engine = open_audit(found)
    with reading(engine) as connection:
        row = connection.execute(select(tables.shards).where(tables.shards.c.shard == shard)).first()
    if row is None or row.halted is None:
        raise Failure(f"{shard} does not stand still", "list the shards with: spaceos audit shards")
    if not shard.startswith("audit.events/"):
        # Where the log's own context stands still, its word cannot come first.
        _decide(found, key, ResumeShard.read({"sequence": row.next}), f"audit/shard/{shard}")
    release_shard(engine, shard)
    _done(as_json, f"{shard} goes on at {row.next}; it stood still because: {row.halted}", shard=shard, next=row.next)


def publish_schemas(
    key: Publisher = "auditor-1",
    as_json: Json = False,
) -> None:
    """State every event's schema in the log: its digest, its retention class, its sealed fields. Again is harmless."""
    from ops.asking import Asking
    from ops.compose import deployment
    from ops.contracts.published import publications

    found = deployment()
    asked = list(publications())

    with working(f"Publishing {len(asked)} schemas"):
        events = asyncio.run(Asking(found, key)(*asked, seconds=60))
    fresh = sum(bool(recorded) for recorded in events)
    _done(as_json, f"{fresh} schemas published, {len(asked) - fresh} were", published=fresh, known=len(asked) - fresh)


def erasure_of(keys: list[str]) -> str:
    """An erasure's name follows from its keys, so that two officers who order the same mean the same."""
    import hashlib

    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:32]


def _settled(name: str, seconds: float) -> dict[str, Any] | None:
    """The erasure's row once it is proposed by one, deferred or done; what it is when the time is over."""
    deadline, row = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        row = _erasure(name)
        if row is not None and row["state"] in {"done", "deferred"}:
            return row
        if row is not None and row["state"] == "proposed" and time.monotonic() > deadline - seconds + 2:
            return row
        time.sleep(0.2)
    return row


def _erasure(name: str) -> dict[str, Any] | None:
    from sqlalchemy import select

    from projections.audit import erasures as erasures_table

    rows = _view(lambda c: c.execute(select(erasures_table).where(erasures_table.c.erasure == name)).all())
    return rows[0] if rows else None


def _tell(row: dict[str, Any] | None, name: str, as_json: bool) -> None:
    state = row["state"] if row else "unknown"
    if as_json:
        answer({"erasure": name, "state": state, "bars": row["bars"] if row else None})
    elif state == "proposed":
        say("{} is proposed; a second officer orders it with the same words (--as auditor-2)", name)
    elif state == "deferred" and row:
        say("{} is deferred by {}{}", name, row["bars"], f" until {row['until']}" if row["until"] else "")
    elif state == "done":
        say("{}: the keys are destroyed, and the log says so", name)
    else:
        hint("{} is {}; the auditor carries it out: is `spaceos up` running?", name, state)
    raise typer.Exit(Exit.UNAVAILABLE if state in {"unknown", "ordered"} else Exit.OK)


def _decide(found: "Deployment", key: str, command: "Command", subject: str) -> None:
    from ops.asking import Asking

    asyncio.run(Asking(found, key)((command, subject)))


def _done(as_json: bool, text: str, **document: Any) -> None:
    if as_json:
        answer({"ok": True, **document})
    else:
        say("{}", text)


def _view(ask: Any) -> list[dict[str, Any]]:
    from adapters.sql import engine_for, reading
    from ops.compose import deployment

    with reading(engine_for(deployment().settings.views)) as connection:
        return [row._asdict() for row in ask(connection)]


def _values(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def register(app: typer.Typer) -> None:
    app.add_typer(hold, name="hold", rich_help_panel=_DECIDING)
    for command in (erase, erasures):
        app.command(rich_help_panel=_DECIDING)(command)
    app.add_typer(witness, name="witness", rich_help_panel=_CARE)
    app.command(rich_help_panel=_CARE)(resume)
    app.command(rich_help_panel=_CARE)(token)
    app.command(rich_help_panel=_CARE)(adopt)
    app.command("publish-schemas", rich_help_panel=_CARE)(publish_schemas)
