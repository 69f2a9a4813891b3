"""`spaceos up`, and the processes that it runs, each alone."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from ops.cli.output import FIRST_STEPS, NETWORK, Json, answer, say


def up(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Command workers; one a core is enough.")] = 1,
    as_json: Json = False,
) -> None:
    """Run workers, projectors and auditor, and start again whatever crashes or stops answering. Ctrl-C stops them all."""
    from ops.compose import deployment
    from ops.serve import parts_of
    from ops.supervisor import Happening, Supervisor

    def tell(happening: Happening) -> None:
        if as_json:
            answer({"part": happening.part, "what": happening.what, "detail": happening.detail, "pid": happening.pid})
        else:
            colour = {"started": "green", "stopped": "dim"}.get(happening.what, "yellow")
            pid = f" pid {happening.pid}" if happening.pid else ""
            say("[{}]{:>8}[/] {}{} {}", colour, happening.what, happening.part, pid, happening.detail)

    async def run() -> None:
        found = deployment()
        # Before anything is prepared under whoever runs there already.
        supervisor = Supervisor(parts_of(found, workers), found.settings.home, tell)
        await found.prepare()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
        await supervisor.run()

    asyncio.run(run())


Slot = Annotated[str, typer.Option(help="A name that stays: restarted with it, a process has its partitions at once.")]


def worker(slot: Slot = "") -> None:
    """Decide commands and publish what follows: one process; start as many as there are cores."""
    from ops.compose import deployment
    from ops.serve import run_worker

    _run(f"worker{'-' + slot if slot else ''}", run_worker(deployment("worker"), slot or None))


def projector(
    name: Annotated[str, typer.Argument(metavar="[SET]", help="Of readers, as SPACEOS_SETS names it.")] = "default",
    slot: Slot = "",
) -> None:
    """Read the log into views: one process, one consumer for all readers of a set; start as many as there are partitions."""
    from ops.compose import deployment
    from ops.serve import run_readers

    _run("projector" if name == "default" else f"projector-{name}", run_readers(deployment(), name, slot or None))


def auditor(slot: Slot = "") -> None:
    """Keep the audit log: one process is enough, more share its shards."""
    from ops.auditor import run_auditor
    from ops.compose import deployment

    _run("auditor", run_auditor(deployment(), slot or None))


def _run(name: str, main: Coroutine[Any, Any, None]) -> None:
    import setproctitle
    import uvloop

    from ops import logs, telemetry
    from ops.settings import Settings

    setproctitle.setproctitle(f"spaceos {name}")
    settings = Settings()
    logs.configure(name, settings.log_level)
    telemetry.set_up(name, settings)
    # Also for the threads that Faust starts: their loops come from the policy. It halves what a small fetch costs.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=FIRST_STEPS)(up)
    app.command(rich_help_panel=NETWORK)(worker)
    app.command(rich_help_panel=NETWORK)(projector)
    app.command(rich_help_panel=NETWORK)(auditor)
