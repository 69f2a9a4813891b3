"""`spaceos doctor`: what is wrong with this machine, and how to mend it."""

import typer

from ops.cli.output import CARE, Exit, Json, answer, hint, say, table


def doctor(as_json: Json = False) -> None:
    """Say what is wrong with this machine or these settings, and how to mend it. Exit code 1 if something is."""
    from rich.text import Text

    from ops.doctor import Health, examine
    from ops.settings import Settings

    findings = list(examine(Settings()))
    wrong = [finding for finding in findings if finding.health is Health.WRONG]
    if as_json:
        rows = [{"subject": one.subject, "health": one.health, "said": one.said, "remedy": one.remedy} for one in findings]
        answer({"ok": not wrong, "findings": rows})
    else:
        marks = {Health.OK: Text("✓", "green"), Health.NOTE: Text("·", "yellow"), Health.WRONG: Text("✗", "bold red")}
        table("This machine", ["", "What", "Found"], [(marks[one.health], one.subject, one.said) for one in findings])
        for one in findings:
            if one.remedy:
                mark = marks[one.health]
                say("[{}]{}[/] [bold]{}[/]  {}", str(mark.style), mark.plain, one.subject, one.remedy)
        hint("\n{}", "Nothing is wrong" if not wrong else f"{len(wrong)} to mend")
    raise typer.Exit(Exit.FOUND_WRONG if wrong else Exit.OK)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CARE)(doctor)
