"""`spaceos audit`: the log that proves itself: look, prove, export, verify; hold, erase, and care for it."""

import typer

from ops.cli.audit import deciding, proving, reading, verifying
from ops.cli.output import AUDIT

audit = typer.Typer(no_args_is_help=True, help="The audit log: look, prove, export, verify; hold and erase.")


def register(app: typer.Typer) -> None:
    reading.register(audit)
    proving.register(audit)
    verifying.register(audit)
    deciding.register(audit)
    app.add_typer(audit, name="audit", rich_help_panel=AUDIT)
