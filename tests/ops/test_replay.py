"""What an analyst is told, about a deployment that has worked: the same as what happened, and what would have."""

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import inspect

from adapters.sql import engine_for, reading
from adapters.views import digest, positions_of
from contracts import Uuid
from ops.cli.output import Exit
from ops.local import kafka as local_kafka
from ops.replay.answering import Answered, ask_otherwise
from ops.replay.opening import Asked, reading_from
from ops.replay.registry import UnknownWhatIf, all_whatifs, chosen
from ops.replay.states import live_digest, state_at, stream_at
from ops.replay.windows import GroupIsLive, NoSuchFunction, refuse_live, replay_window
from streams import Projection
from tests.ops.played import Played, play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def played(own_broker: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("played"), local_kafka.address(own_broker))


def ask(played: Played, question: Any, **asked: Any) -> Any:
    async def run() -> Any:
        async with reading_from(played.deployment, Asked(**asked)) as opened:
            return await question(opened)

    return asyncio.run(run())


def otherwise(played: Played, kind: str, *settings: str, first: str = "start") -> list[Answered]:
    found: list[Answered] = ask(played, lambda opened: ask_otherwise(opened, kind, settings, first, "now"))
    return found


async def committed(played: Played) -> dict[str, Any]:
    """Every group's offsets."""
    admin = AIOKafkaAdminClient(bootstrap_servers=played.kafka)
    await admin.start()
    try:
        groups = sorted(group[0] for group in await admin.list_consumer_groups())
        return {group: await admin.list_consumer_group_offsets(group) for group in groups}
    finally:
        await admin.close()


def projections(played: Played) -> list[Projection]:
    return [stream for stream in played.deployment.streams if isinstance(stream, Projection)]


# States


def test_the_state_now_equals_every_live_view(played: Played) -> None:
    """Read from Kafka, from the audit log, and with every signature verified."""
    views = engine_for(played.settings.views)
    for projection in projections(played):
        cut, shown = live_digest(views, projection)
        text = ",".join(f"{shard}={next_}" for shard, next_ in cut.items() if next_) or "start"

        then = ask(played, lambda opened, p=projection, t=text: state_at(opened, p, t, 3), verify=True)

        assert then.digest == shown, projection.name
    views.dispose()


def test_the_audit_log_gives_the_state_of_what_is_sealed(played: Played) -> None:
    projection = played.deployment.projection("key_registry")

    sealed = ask(played, lambda opened: state_at(opened, projection, "now", 0), source="log")
    same = ",".join(f"{shard}={next_}" for shard, next_ in sealed.cut.items() if next_)

    assert sealed.events > 20
    assert ask(played, lambda opened: state_at(opened, projection, same, 0)).digest == sealed.digest


def test_a_stream_is_shown_as_its_aggregate(played: Played) -> None:
    views = engine_for(played.settings.views)
    with reading(views) as connection:
        device = connection.exec_driver_sql("select device from providers_providers where state = 'registered'").scalar()
    views.dispose()

    _, fields = ask(played, lambda opened: stream_at(opened, f"providers/provider/{device}", "now"))

    assert list(fields) == ["Provider"]
    assert fields["Provider"]["registered"]["device"] == device


def test_commands_answer_programs_and_say_what_is_wrong(played: Played) -> None:
    state = json.loads(played.spaceos("replay", "state", "decision_log", "--json", "--limit", "1").stdout)
    request = state["tables"]["inference_decisions"]["rows"][0]["request"]
    why = json.loads(played.spaceos("replay", "why", "decision_log", request, "--json").stdout)
    event = why["events"][0]["id"]
    diff = json.loads(played.spaceos("replay", "diff", "decision_log", "--from", event, "--json").stdout)
    at = json.loads(played.spaceos("replay", "state", "decision_log", "--at", event, "--json").stdout)
    wrong = played.spaceos("replay", "state", "decision_log", "--at", "yesterday")

    assert [found["type"] for found in why["events"]] == ["inference.RouteDecided"]
    assert at["rows"] + diff["total"] == state["rows"]
    assert diff["digests"] == [at["digest"], state["digest"]]
    assert (wrong.returncode, wrong.stdout) == (Exit.USAGE, "")
    assert "there are: now" in wrong.stderr


# What-ifs


@pytest.mark.parametrize("whatif", list(all_whatifs()), ids=lambda each: each.title)
def test_a_what_if_with_nothing_changed_differs_in_nothing(played: Played, whatif: Any) -> None:
    """The check that the tool itself is honest; it looked at something, and the recorded rules gave what was recorded."""
    [answered] = otherwise(played, f"{whatif.kind}:{whatif.name}")

    assert answered.verdict.is_empty, answered.verdict.document()
    assert answered.verdict.unfaithful == []
    # No day ends while the demo runs, so no epoch is closed in it.
    assert answered.verdict.decisions > 0 or whatif.name in ("epochs", "uptime")
    assert (answered.verdict.changed, answered.verdict.first) == ([], None)


def test_a_wider_cost_band_moves_requests_from_provider_to_provider(played: Played) -> None:
    """What one loses another has."""
    [answered] = otherwise(played, "redecide", "band_percent=80")
    verdict = answered.verdict

    assert verdict.changed
    assert sum(units.get("requests", 0) for units in verdict.accounts.values()) == 0
    assert verdict.first is not None
    assert verdict.first.cause.time == min(parted.cause.time for parted in verdict.changed)
    assert verdict.unfaithful == []


def test_an_older_heartbeat_counts_for_nothing_where_it_goes_stale_sooner(played: Played) -> None:
    [answered] = otherwise(played, "redecide", "stale_seconds=0")

    assert answered.verdict.newly_refused == answered.verdict.decisions > 0
    assert all(parted.tried == "" for parted in answered.verdict.changed)


def test_a_lower_limit_refuses_what_was_accepted_and_a_higher_one_nothing(played: Played) -> None:
    [lower] = otherwise(played, "recommand", "max_price_units=1000")
    [higher] = otherwise(played, "recommand", f"max_price_units={10**20}")

    assert lower.verdict.newly_refused > 0
    assert {parted.tried for parted in lower.verdict.changed} == {"refused: PriceOutOfBounds"}
    assert higher.verdict.is_empty


def test_a_window_begins_where_it_is_said_to(played: Played) -> None:
    """What lies before is as recorded, so fewer decisions are in question."""
    [whole] = otherwise(played, "recommand:requests", "table_age_seconds=60")
    state = json.loads(played.spaceos("replay", "state", "decision_log", "--json", "--limit", "500").stdout)
    rows = sorted(state["tables"]["inference_decisions"]["rows"], key=lambda row: row["decided_at"])
    half = rows[len(rows) // 2]["decided_at"]

    [part] = otherwise(played, "recommand:requests", "table_age_seconds=60", first=half)

    assert 0 < part.verdict.decisions < whole.verdict.decisions
    assert part.verdict.is_empty


def test_an_unknown_parameter_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UnknownWhatIf, match=r"no parameter band_width; there are: .*band_percent \(5\)"):
        chosen("redecide", ["band_width=3"])
    with pytest.raises(UnknownWhatIf, match="redecide:routes"):
        chosen("redecide:roads", [])
    with pytest.raises(UnknownWhatIf, match="is no value of band_percent"):
        chosen("redecide", ["band_percent=wide"])
    with pytest.raises(UnknownWhatIf, match="name=value"):
        chosen("redecide", ["band_percent"])


def test_a_what_if_says_so_in_every_line_and_leaves_the_rules_alone(played: Played) -> None:
    from domain.inference import policy

    done = played.spaceos("replay", "whatif", "redecide", "--set", "band_percent=80", "--limit", "2")
    told = [line for line in done.stdout.splitlines() if line and not line.startswith((" ", "─"))]

    assert done.returncode == Exit.OK
    assert told
    assert all(line.startswith("WHAT-IF ") for line in told), told
    run = told[0].split()[1]
    assert Uuid.checked(run)
    assert all(run in line for line in told)
    otherwise(played, "redecide", "band_percent=80")
    assert policy.BAND_PERCENT == 5


def test_nothing_of_a_what_if_is_left_or_published(played: Played) -> None:
    before = asyncio.run(_everything(played))

    for kind in ("refold", "redecide", "recommand"):
        otherwise(played, kind)

    assert asyncio.run(_everything(played)) == before


async def _everything(played: Played) -> Any:
    """Where every topic ends, what every group has committed, which tables and positions there are."""
    from aiokafka import TopicPartition

    from adapters.kafka.bare import bare_consumer

    views = engine_for(played.settings.views)
    with reading(views) as connection:
        digests = {p.name: (digest(connection, p), positions_of(connection, p.name)) for p in projections(played)}
    tables = set(inspect(views).get_table_names())
    views.dispose()
    async with bare_consumer({"bootstrap_servers": played.kafka}) as consumer:
        topics = sorted(name for name in await consumer.topics() if not name.startswith("__"))
        places = [TopicPartition(name, n) for name in topics for n in consumer.partitions_for_topic(name) or ()]
        ends = await consumer.end_offsets(places)
    return digests, tables, ends, await committed(played)


# Windows


def count(record: Any) -> None:
    """For `--into`: whatever it is."""


def kinds(record: Any) -> list[str]:
    """For `--into`: the record's type."""
    return [orjson.loads(record.value)["type"]]


def compose(record: Any) -> list[str]:
    """For `--into`: where somebody who composes a deployment finds himself."""
    from ops.compose import deployment
    from ops.local.kafka import NotStarted

    settings = deployment().settings
    try:
        return [settings.kafka_address()]
    except NotStarted:
        return [str(settings.home)]


def test_a_window_leaves_groups_and_topics_as_they_were(played: Played) -> None:
    before = asyncio.run(_everything(played))

    done = asyncio.run(replay_window(played.deployment, "liveness.heartbeats", "start", "now", f"{__name__}:kinds"))
    again = asyncio.run(replay_window(played.deployment, "liveness.heartbeats", "offset:0", "now", f"{__name__}:count"))

    assert (done.seen.records, done.results) == (again.seen.records, done.seen.records)
    assert done.seen.records > 10
    assert done.seen.digest == again.seen.digest
    assert again.results == 0
    assert asyncio.run(_everything(played)) == before


def test_a_window_of_events_is_between_two_positions(played: Played) -> None:
    why = json.loads(played.spaceos("replay", "state", "decision_log", "--json", "--limit", "1").stdout)
    cut = ",".join(f"{shard}={next_}" for shard, next_ in why["cut"].items() if next_)

    whole = asyncio.run(replay_window(played.deployment, "inference.events", "start", "now", f"{__name__}:kinds"))
    none = asyncio.run(replay_window(played.deployment, "inference.events", cut, "now", f"{__name__}:kinds"))

    assert whole.seen.records == why["events"] == whole.results
    assert none.seen.records == 0


def test_a_time_is_the_brokers_in_a_topic_of_raw_records(played: Played) -> None:
    everything = asyncio.run(
        replay_window(played.deployment, "liveness.heartbeats", "2020-01-01T00:00:00Z", "now", f"{__name__}:count")
    )
    nothing = asyncio.run(
        replay_window(played.deployment, "liveness.heartbeats", "start", "2020-01-01T00:00:00Z", f"{__name__}:count")
    )

    assert everything.seen.records > 10
    assert nothing.seen.records == 0


def test_the_twin_world_knows_no_broker(played: Played) -> None:
    """A function that composes a deployment finds an empty one, thrown away afterwards."""
    done = played.spaceos(
        "replay", "window", "liveness.heartbeats", "--from", "start", "--into", "tests.ops.test_replay:compose", "--json"
    )
    found = json.loads(done.stdout)

    assert found["results"] == found["records"]
    from ops.replay.windows import imported, twin_world

    with twin_world():
        [home] = imported("tests.ops.test_replay:compose")(None)  # type: ignore[misc, arg-type]
    assert "spaceos-twin-" in home
    assert not Path(home).exists()


def test_a_live_groups_name_is_refused(played: Played) -> None:
    live = sorted(asyncio.run(committed(played)))
    assert {"dev.readers.default", "dev.heartbeats"} <= set(live)

    for name in (*live, "readers.default", "heartbeats"):
        with pytest.raises(GroupIsLive):
            asyncio.run(refuse_live(played.deployment, name))
    asyncio.run(refuse_live(played.deployment, "mine"))


def test_what_is_no_function_is_refused(played: Played) -> None:
    for name in ("json:nothing", "no_such_module_at_all:f", "json"):
        with pytest.raises(NoSuchFunction):
            asyncio.run(replay_window(played.deployment, "liveness.heartbeats", "start", "now", name))
