"""The command line, `spaceos`.

A module in this package that has `register(app: typer.Typer) -> None` adds its commands; nothing else is to be edited.

    # ops/cli/topics.py
    topics = typer.Typer(no_args_is_help=True, help="The topics and their settings.")

    @topics.command()
    def create(as_json: Json = False) -> None:
        '''Create the topics that are missing.'''
        from adapters.kafka import create_topics      # heavy imports stay inside: `--help` loads every module

    def register(app: typer.Typer) -> None:
        app.add_typer(topics, name="topics", rich_help_panel=SERVERS)

A command that cannot go on raises `output.Failure`, or lets an error of our own through: `main` turns each into one or
two lines and an exit code.
"""

import os
import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import typer
from typer.core import TyperGroup

from ops.cli.output import PANELS, Exit, Failure, answer, fail, wants_traceback

EXIT_CODES = (
    "Exit codes: 0 done, 1 something was found wrong, 2 wrong usage or settings, 69 a broker or database is away, "
    "70 a fault of ours, 130 Ctrl-C. Settings are environment variables that begin with SPACEOS_; "
    "SPACEOS_DEBUG=1 shows tracebacks."
)


class _InOrder(TyperGroup):
    """Lists commands by panel, in the panels' order."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  the name is click's
        def place(name: str) -> tuple[int, str]:
            panel = getattr(self.commands[name], "rich_help_panel", None)
            return (PANELS.index(panel) if panel in PANELS else len(PANELS), name)

        return sorted(self.commands, key=place)


app = typer.Typer(
    name="spaceos",
    cls=_InOrder,
    help="SPACE OS back end: signed commands in, signed events on Kafka, views that can be rebuilt.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# __main__ is a way in, not a set of commands: importing it would run one.
for _module in sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_")):
    if _register := getattr(import_module(f"{__name__}.{_module}"), "register", None):
        _register(app)


def main() -> None:
    """Run a command; every way in which it can end has its exit code."""
    # Whatever is made here and by what is started here is for nobody else: databases, keys, logs, a broker's segments.
    os.umask(0o077)
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away (`spaceos … | head`), which is its right.
        sys.stderr.close()
        sys.exit(Exit.OK)
    except Exception as error:
        if wants_traceback():
            raise
        failure = _as_failure(error)
        if "--json" in sys.argv[1:]:
            answer({"ok": False, "error": str(failure), "remedy": failure.remedy})
        fail(str(failure), failure.remedy)
        sys.exit(failure.exit_code)


def _as_failure(error: Exception) -> Failure:
    # By name: importing the classes would load a database driver and a Kafka client to print one line.
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, Failure):
        return error
    if names & {"InvalidSettings", "NoSuchProjection", "NoSuchSet", "NoSuchReader"}:
        return Failure(str(error), exit_code=Exit.USAGE)
    if names & _FOUND_WRONG:
        return Failure(str(error), getattr(error, "remedy", None), exit_code=Exit.FOUND_WRONG)
    if names & _AWAY:
        return Failure(str(error) or type(error).__name__, exit_code=Exit.UNAVAILABLE)
    if "ConnectionError" in names or "OperationalError" in names or "KafkaConnectionError" in names:
        said = str(error).splitlines() or [type(error).__name__]
        remedy = "`spaceos doctor` says which server is away and how to start it"
        return Failure(said[0], remedy, exit_code=Exit.UNAVAILABLE)
    problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return Failure(problem, "SPACEOS_DEBUG=1 shows where; please report it", exit_code=Exit.INTERNAL)


# What was asked cannot be, and the text says why.
_FOUND_WRONG = frozenset(
    {"NotAccepted", "NotInLog", "KeyFileUnsafe", "BadGenesis", "NoSuchKey", "AlreadyRuns", "NoAuthorizer", "NotAllowed"}
)
# Errors whose own text says what to do.
_AWAY = frozenset(
    {"Unavailable", "NotStarted", "ServerFailed", "PortTaken", "JavaMissing", "JarsMissing", "PostgresMissing", "NoSuchUser"}
)
