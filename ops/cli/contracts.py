"""`spaceos contracts`: the language on paper, for those who change it."""

import typer

from ops.cli.output import CARE, Failure, Json, answer, say

contracts = typer.Typer(no_args_is_help=True, help="JSON Schemas, AsyncAPI and test vectors, kept equal to the code.")


@contracts.command()
def check(as_json: Json = False) -> None:
    """Compare what is stored with what the code generates."""
    from ops.contracts import broken, differing

    lines, names = list(broken()), differing()
    if as_json:
        answer({"ok": not lines and not names, "broken": lines, "differing": names})
    for line in [] if as_json else lines:
        say("{}", line)
    if lines:
        raise Failure(f"{len(lines)} promises of stored schemas are broken", "give the message a new version")
    if names:
        raise Failure(f"not what the code generates: {', '.join(names)}", "spaceos contracts write")
    if not as_json:
        say("Schemas, AsyncAPI and vectors are what the code says")


@contracts.command()
def write(
    may_break: bool = typer.Option(False, "--may-break", help="Also where a promise breaks: nothing relies on it yet."),
    as_json: Json = False,
) -> None:
    """Store what the code generates. A change that breaks a stored schema is refused."""
    from ops.contracts import BreaksContract
    from ops.contracts import write as write_all

    try:
        changed = write_all(may_break=may_break)
    except BreaksContract as error:
        raise Failure(str(error)) from None
    if as_json:
        answer({"changed": changed})
    else:
        say("{}", f"Wrote {len(changed)} files: {', '.join(changed)}" if changed else "Everything was as the code says")


def register(app: typer.Typer) -> None:
    app.add_typer(contracts, name="contracts", rich_help_panel=CARE)
