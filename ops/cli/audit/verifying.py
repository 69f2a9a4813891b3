"""`spaceos audit verify`: of the live log by this program, of packs, bundles and other logs by the standalone verifier."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.output import Exit, Failure, Json, answer, say, table

if TYPE_CHECKING:
    from adapters.audit.checking import Finding

_PROVING = "Proving"
SHOWN = 20


def verify(
    what: Annotated[str | None, typer.Argument(metavar="[PACK|URL]", help="A pack, a bundle, a log.")] = None,
    policy: Annotated[Path | None, typer.Option(help="The auditor's policy (c2sp.org/tlog-policy).")] = None,
    genesis: Annotated[Path | None, typer.Option(help="The network's genesis.json.")] = None,
    since: Annotated[Path | None, typer.Option(help="A checkpoint that was kept: nothing before it may have changed.")] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Of this log only: not against topics, store and registry.")] = False,
    as_json: Json = False,
) -> None:
    """Verify everything: this log against itself, the topics, the store and the registry; or somebody else's pack or log.

    Exit codes: 0 verified, 1 tampering shown, 2 wrong usage, 3 inconclusive (a key, a policy or a quorum is missing).
    """
    if what is not None:
        raise typer.Exit(_by_the_standalone_verifier(what, policy, genesis, since, as_json=as_json))
    findings, entries = asyncio.run(_live(since, against_sources=not alone, quiet=as_json))
    from ops.judging import UNCLEAR

    is_wrong = any(found.check != UNCLEAR for found in findings)
    if as_json:
        answer({"verified": not findings, "entries": entries, "findings": [found._asdict() for found in findings]})
    elif findings:
        table(f"{len(findings)} findings", ("check", "where", "what"), findings[:SHOWN])
        if is_wrong:
            say("[bold red]✗ The log is not as it was written.[/] The first finding is the one to look into")
        else:
            say("[yellow]? Inconclusive.[/] Nothing is shown to be wrong, and something that is needed is missing")
    else:
        against = "itself" if alone else "itself, the topics, the event store and the registry of keys"
        say("[green]✓[/] {:,} entries fit: checked against {}", entries, against)
    raise typer.Exit(Exit.FOUND_WRONG if is_wrong else Exit.INCONCLUSIVE if findings else Exit.OK)


async def _live(since: Path | None, *, against_sources: bool, quiet: bool) -> "tuple[list[Finding], int]":
    from rich.console import Console
    from rich.progress import Progress

    from ops.auditor import open_audit
    from ops.compose import deployment
    from ops.verifying import compare_kept, verify_live

    found = deployment()
    engine = open_audit(found)
    findings: list[Finding] = []
    checked = 0
    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("Verifying the audit log", total=None)

        def tell(done: int, total: int) -> None:
            nonlocal checked
            checked = done
            if not done % 500 or done == total:
                progress.update(task, completed=done, total=total)

        if since is not None:
            findings += compare_kept(found, engine, _read(since))
        async for finding in verify_live(found, engine, tell, against_sources=against_sources):
            findings.append(finding)
    return findings, checked


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(str(error), "give a file with a checkpoint's note", exit_code=Exit.USAGE) from None


def _by_the_standalone_verifier(
    what: str, policy: Path | None, genesis: Path | None, since: Path | None, *, as_json: bool
) -> int:
    """In a process of its own, isolated: it is the file that strangers run, and nothing of ours may help it."""
    import ops

    script = Path(ops.__path__[0]) / "auditverify.py"
    options = [("--policy", policy), ("--genesis", genesis), ("--since", since)]
    given = [text for name, path in options if path is not None for text in (name, str(path))]
    command = [sys.executable, "-I", str(script), what, *given, *(["--json"] if as_json else [])]
    return subprocess.run(command, check=False).returncode


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=_PROVING)(verify)
