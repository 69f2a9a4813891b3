"""One at a time changes a view's versions, and who comes second is told who it is."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from adapters.sql import engine_for
from adapters.views.exclusive import Exclusive, ViewTaken

HOLD = """
import sys
from adapters.sql import engine_for
from adapters.views.exclusive import Exclusive
with Exclusive(engine_for(sys.argv[1]), "tally", "a rebuild"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def views(store_url: str) -> Iterator[Engine]:
    engine = engine_for(store_url)
    yield engine
    engine.dispose()


@pytest.fixture
def holder(views: Engine) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has the view."""
    command = [sys.executable, "-c", HOLD, views.url.render_as_string(hide_password=False)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def taken(views: Engine) -> str:
    with pytest.raises(ViewTaken) as found, Exclusive(views, "tally", "going back"):
        pass
    return str(found.value)


def test_the_second_is_told_who_the_first_is_and_what_he_does(views: Engine, holder: "subprocess.Popen[bytes]") -> None:
    said = taken(views)

    assert f"tally is taken: a rebuild of tally, pid {holder.pid} on {socket.gethostname()} since 2" in said
    assert "end it" in said
    with Exclusive(views, "another", "a rebuild"):
        pass


def test_a_holder_that_was_killed_holds_nothing(views: Engine, holder: "subprocess.Popen[bytes]") -> None:
    holder.kill()
    holder.wait()

    with Exclusive(views, "tally", "a rebuild"):
        pass


def test_a_holder_that_is_suspended_still_holds(views: Engine, holder: "subprocess.Popen[bytes]") -> None:
    """It will write when it wakes."""
    holder.send_signal(signal.SIGSTOP)
    try:
        assert str(holder.pid) in taken(views)
    finally:
        holder.send_signal(signal.SIGCONT)


def test_who_has_it_may_enter_again_and_lets_go_at_the_end(views: Engine) -> None:
    exclusive = Exclusive(views, "tally", "a rebuild")
    with exclusive:
        with exclusive:
            assert str(os.getpid()) in taken(views)
        assert str(os.getpid()) in taken(views)
        assert exclusive.is_held
        assert str(os.getpid()) in taken(views)

    with Exclusive(views, "tally", "a rebuild"):
        assert not exclusive.is_held


def test_one_whose_session_was_ended_knows_that_it_holds_nothing(views: Engine) -> None:
    """The server was started again, and the lock may be another's."""
    if views.dialect.name == "sqlite":
        return
    with Exclusive(views, "tally", "a rebuild") as exclusive:
        with views.begin() as connection:
            connection.execute(
                text(
                    "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' "
                    "and database = (select oid from pg_database where datname = current_database())"
                )
            )

        assert not exclusive.is_held
        with Exclusive(views, "tally", "a rebuild"):
            pass
