"""`spaceos bench`: how fast, as ratios to a baseline of the same run."""

from typing import Annotated

import typer

from ops.cli.output import CARE, Exit, Failure, Json, answer, hint, table


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all without. --list names them.")] = None,
    list_names: Annotated[bool, typer.Option("--list", help="Say which there are.")] = False,
    as_json: Json = False,
) -> None:
    """Measure against a peer or a bare loop in the same run. With --json a measure a line."""
    from importlib import import_module
    from pkgutil import iter_modules

    import ops.bench

    known = sorted(module.name for module in iter_modules(ops.bench.__path__) if not module.name.startswith("_"))
    if list_names:
        if as_json:
            answer({"benchmarks": known})
        else:
            typer.echo("\n".join(known))
        return
    if unknown := set(names or ()) - set(known):
        raise Failure(f"no benchmark {min(unknown)}", f"there are: {', '.join(known)}", exit_code=Exit.USAGE)
    found = []
    for name in names or known:
        hint(f"[dim]measuring {name}…[/]")
        for measure in import_module(f"ops.bench.{name}").measures():
            found.append(measure)
            if as_json:
                answer(measure.document())
    if not as_json:
        verdict = {True: "met", False: "missed", None: "inconclusive"}
        rows = [
            (m.measure, f"{_plain(m.ours)} {m.unit}", _plain(m.baseline), f"{m.ratio:.3g}", f"{m.goal} {verdict[m.met]}")
            for m in found
        ]
        table("Benchmarks: the medians of ours and of the baseline", ("", "ours", "baseline", "ratio", "goal"), rows)
    if any(measure.met is False for measure in found):
        raise typer.Exit(Exit.FOUND_WRONG)


def _plain(value: float) -> str:
    """Four figures, or all of a whole number's."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CARE)(bench)
