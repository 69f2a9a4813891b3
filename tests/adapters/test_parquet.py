"""Events as Parquet: nothing is lost or rounded, the same is the same bytes, and what is altered is not exported."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.keys import verify
from adapters.parquet import ExportDamaged, FolderTaken, NameIsPattern, NotExportable, Writer, duck, open_export, writing
from adapters.parquet.columns import ATTRIBUTES, fields_of
from adapters.parquet.views import view_name
from adapters.views.chain import ChainBroken
from contracts import Did, Digest, Event, Label, languages
from contracts.audit import HoldId, HoldPlaced, HoldReleased, Scope
from contracts.liveness import Beat, EpochClosed, HeartbeatsRecorded
from contracts.providers import ProviderDraining
from tests.adapters.exports import HUGE, NETWORK, WRITER, Chained, decided, declared, exported, written

OFFER = "providers/offer/one"


@pytest.fixture
def shard() -> Chained:
    """Four offers, two before midnight and two after, and a draining."""
    found = Chained()
    for n in range(4):
        found.append(declared(HUGE + n), OFFER)
    found.append(ProviderDraining(), "providers/provider/x")
    return found


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is in it


def test_every_attribute_field_and_signature_is_a_column(out: Path, shard: Chained) -> None:
    exported(out, shard)

    with open_export(out) as opened:
        answer = opened.query("SELECT * FROM providers_offer_declared ORDER BY sequence")
        first = dict(zip(answer.columns, next(answer.rows), strict=True))

    document = orjson.loads(shard.records[0].value)
    as_text = ATTRIBUTES.keys() - {"sequence", "time"}
    assert {name: first[name] for name in as_text} == {name: document[name] for name in as_text}
    assert (first["sequence"], first["time"].isoformat()) == (0, "2026-11-24T23:59:58")
    assert (first["prompt_price"], first["context_tokens"], first["race"]) == (str(HUGE), 8192, False)
    assert orjson.loads(first["capabilities"]) == ["tools"]
    assert orjson.loads(first["data"]) == document["data"]
    assert first["signature"] == shard.records[0].signature


def test_a_file_holds_one_type_one_day_and_one_shard(out: Path, shard: Chained) -> None:
    other = Chained(partition=1)
    other.append(declared(1), OFFER)

    manifest = exported(out, shard, other)

    assert [(file.path.removeprefix("events/"), file.first, file.last, file.rows) for file in manifest.files] == [
        ("providers.OfferDeclared/2026-11-24/providers.events-0.parquet", 0, 1, 2),
        ("providers.OfferDeclared/2026-11-24/providers.events-1.parquet", 0, 0, 1),
        ("providers.OfferDeclared/2026-11-25/providers.events-0.parquet", 2, 3, 2),
        ("providers.ProviderDraining/2026-11-25/providers.events-0.parquet", 4, 4, 1),
    ]
    assert contents(out).keys() == {"manifest.json", *(file.path for file in manifest.files)}


def test_the_bytes_that_were_signed_are_there_if_wanted(out: Path) -> None:
    """Byte for byte, or no hash of the log could be made from them; also where they are not ASCII."""
    shard = Chained()
    shard.append(ProviderDraining(), "providers/provider/x", data={"note": 'é "ü" \\ \u2028 \n 漢 \U0001f600 \x00'})
    exported(out, shard, values=True)

    with open_export(out) as opened:
        [(value, signature)] = opened.rows("SELECT value, signature FROM events")

    assert value == shard.records[0].value
    assert verify(WRITER.did, value, signature)


def test_an_amount_of_ten_to_the_sixtieth_survives_and_sums_exactly(out: Path, shard: Chained) -> None:
    """Parquet's decimals end at 38 digits; DuckDB reads what is longer as a float."""
    file = exported(out, shard).files[0].path

    with open_export(out) as opened:
        [(total, kind)] = opened.rows("SELECT sum(prompt_price), typeof(sum(prompt_price)) FROM providers_offer_declared")
        [(stored,)] = opened.rows(f"SELECT DISTINCT typeof(prompt_price) FROM '{out}/{file}'")

    assert (int(total), kind) == (4 * HUGE + 6, "BIGNUM")
    assert stored == "VARCHAR"


def test_sealed_fields_leave_as_they_are(out: Path) -> None:
    sealed = {"sealed": 1, "suite": 1, "key": "0" * 32, "nonce": "n" * 32, "body": "x", "commitment": "0" * 64}
    shard = Chained()
    shard.append(declared(1), OFFER, data={"device": sealed, "model": "m"})
    exported(out, shard)

    with open_export(out) as opened:
        [(device, model, data)] = opened.rows("SELECT device, model, data->'device' FROM providers_offer_declared")

    assert (device, model) == (None, "m")
    assert orjson.loads(data) == sealed


@pytest.mark.parametrize(
    ("changed", "columns"),
    [
        ({"data": {"model": 5, "race": "yes", "context_tokens": True, "prompt_price": None}}, 12),
        ({"data": []}, 12),
        ({"dataschema": "urn:spaceos:providers.OfferDeclared:2"}, 12),
        ({"type": "providers.OfferInvented"}, 0),
    ],
)
def test_what_this_code_cannot_read_is_exported_without_its_fields(out: Path, changed: dict[str, object], columns: int) -> None:
    """An analyst is owed the whole log, also what a newer network says or what parks our own readers."""
    shard = Chained()
    shard.append(declared(1), OFFER)
    shard.append(declared(1), OFFER, **changed)

    manifest = exported(out, shard)

    name = str(changed.get("type", "providers.OfferDeclared"))
    with open_export(out) as opened:
        [(data,)] = opened.rows(f"SELECT data FROM events WHERE sequence = 1 AND type = '{name}'")
        fields = [f'"{field.column}"' for field in fields_of(name) if field.kind != "json"]
        [row] = opened.rows(f"SELECT {', '.join(fields) or 'NULL'} FROM {view_name(name)} WHERE sequence = 1")
    assert len(manifest.columns[name]) == columns
    assert orjson.loads(data) == orjson.loads(shard.records[1].value)["data"]
    assert set(row) == {None}


@pytest.mark.parametrize("event", [cls for cls in languages() if issubclass(cls, Event)], ids=lambda cls: cls.wire.type)
def test_no_two_fields_of_an_event_share_a_column(event: type[Event]) -> None:
    """DuckDB tells no capitals apart, and a field may be called like an attribute."""
    columns = [*ATTRIBUTES, "signature", "data", "value", *(field.column.lower() for field in fields_of(event.wire.type))]

    assert len(columns) == len(set(columns))
    assert {field.name for field in fields_of(event.wire.type)} == event.model_fields.keys()


# The same is the same


def test_the_same_records_make_the_same_bytes(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they came, and in whatever folder: a digest is worth something only if others find it too."""
    shard = Chained()
    for n in range(9_000):
        shard.append(declared(n), OFFER)
    monkeypatch.setattr(duck, "ROW_GROUP", 4_096)
    exported(out, shard, values=True)

    monkeypatch.setattr(writing, "SPOOLED_BYTES", 1_000)
    exported(tmp_path / "another folder's", shard, values=True)

    assert contents(out) == contents(tmp_path / "another folder's")
    with open_export(out) as opened:
        file = opened.manifest.files[-1]
        groups = opened.rows(f"SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata('{out}/{file.path}')")
        order = opened.rows(f"SELECT sequence FROM '{out}/{file.path}'")
    assert sorted(groups) == [(0, 4_096), (1, 4_096), (2, 806)]
    assert [sequence for (sequence,) in order] == list(range(2, 9_000))


def test_a_part_of_a_shard_hangs_from_the_record_before_it(out: Path, shard: Chained) -> None:
    manifest = exported(out, shard, start=3)

    stretch = manifest.cut[shard.name]
    assert (stretch.start, stretch.end, manifest.events) == (3, 5, 2)
    assert stretch.before == orjson.loads(shard.records[3].value)["prevhash"]
    assert stretch.head == shard.last_hash


def test_an_empty_export_can_be_opened(out: Path) -> None:
    manifest = exported(out, Chained())

    with open_export(out) as opened:
        assert opened.rows("SELECT 1") == [(1,)]
    assert (manifest.events, manifest.cut["providers.events/0"].end) == (0, 0)


# What is not exported


def _altered(shard: Chained) -> Chained:
    shard.records[1] = Chained(records=[]).take(shard.records[1].value.replace(b'"q8_0"', b'"q4_0"'))
    return shard


def _without_one(shard: Chained) -> Chained:
    del shard.records[2]
    return shard


def _of_another_network(shard: Chained) -> Chained:
    shard.append(declared(1), OFFER, network="another")
    return shard


def _of_another_shard(shard: Chained) -> Chained:
    shard.append(declared(1), OFFER, shard="providers.events/7")
    return shard


def _no_event(shard: Chained) -> Chained:
    value = {k: v for k, v in orjson.loads(shard.append(declared(1), OFFER).value).items() if k != "actor"}
    shard.records[-1] = Chained().take(orjson.dumps(value))
    return shard


def _no_version(shard: Chained) -> Chained:
    shard.append(declared(1), OFFER, streamversion="1")
    return shard


def _no_data(shard: Chained) -> Chained:
    shard.take(shard.append(declared(1), OFFER).value.partition(b',"data"')[0] + b"}")
    del shard.records[-2]
    return shard


def _no_json(shard: Chained) -> Chained:
    shard.take(b"{")
    return shard


@pytest.mark.parametrize(
    "spoil", [_altered, _without_one, _of_another_network, _of_another_shard, _no_event, _no_version, _no_data, _no_json]
)
@pytest.mark.parametrize("start", [0, 2])
def test_a_broken_chain_is_not_exported_and_leaves_nothing(
    out: Path, shard: Chained, spoil: Callable[[Chained], Chained], start: int
) -> None:
    with pytest.raises(ChainBroken):
        exported(out, spoil(shard), start=start)

    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "../../../tmp/x.Y"}, {"type": "providers/x.Y"}, {"type": "a.B/../../c"}, {"type": "x.Y\x00"}, {"type": ""},
        {"time": "../../.."}, {"time": "2026-11-24"}, {"time": "2026-99-99T00:00:00Z"}, {"time": "2026-11-24T00:00:00+01:00"},
    ],
)  # fmt: skip
def test_no_record_names_a_file_elsewhere(out: Path, changed: dict[str, str]) -> None:
    """The topic may hold what no worker of ours wrote."""
    shard = Chained()
    shard.append(declared(1), OFFER, **changed)

    with pytest.raises(NotExportable):
        exported(out, shard)

    assert list(out.parent.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(out: Path, shard: Chained) -> None:
    out.mkdir()
    exported(out, shard)
    before = contents(out)

    with pytest.raises(FolderTaken):
        exported(out, shard)
    with pytest.raises(FolderTaken):
        exported(out / "manifest.json", shard)

    assert contents(out) == before


def test_a_folder_appears_when_all_of_it_is_there(out: Path, shard: Chained) -> None:
    with Writer(out, NETWORK) as writer:
        written(writer, shard)
        assert not out.exists()
        writer.finish()

    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["a*b", "a[1]", "a?", "{a,b}"])
def test_a_folder_whose_name_is_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NameIsPattern):
        exported(tmp_path / name, Chained())


# The manifest


def _edit(folder: Path, file: str) -> None:
    with (folder / file).open("r+b") as opened:
        opened.seek(100)
        opened.write(b"\x00\xff")


def _cut_off(folder: Path, file: str) -> None:
    (folder / file).write_bytes((folder / file).read_bytes()[:-1])


def _remove(folder: Path, file: str) -> None:
    (folder / file).unlink()


def _add(folder: Path, file: str) -> None:
    shutil.copy(folder / file, (folder / file).with_name("another.parquet"))


def _link(folder: Path, file: str) -> None:
    shutil.move(folder / file, folder.parent / "moved.parquet")
    (folder / file).symlink_to(folder.parent / "moved.parquet")


def _rename(folder: Path, file: str) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{file}"', '"../moved.parquet"'))


@pytest.mark.parametrize(
    ("damage", "is_seen_unread"),
    [(_edit, False), (_cut_off, True), (_remove, True), (_add, True), (_link, True), (_rename, True)],
)
def test_an_export_that_was_changed_is_not_opened(
    out: Path, shard: Chained, damage: Callable[[Path, str], None], is_seen_unread: bool
) -> None:
    damage(out, exported(out, shard).files[0].path)

    with pytest.raises(ExportDamaged):
        open_export(out)
    if is_seen_unread:
        with pytest.raises(ExportDamaged):
            open_export(out, trust=True)
    else:
        open_export(out, trust=True).close()


def test_a_folder_without_a_manifest_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_export(tmp_path)


# Views


def test_routes_tell_who_was_chosen_and_the_spread_of_the_chain(out: Path) -> None:
    shard = Chained("inference")
    shard.append(decided(1, 30, 20, 40), "inference/request/1")
    shard.append(decided(2, HUGE), "inference/request/2")
    exported(out, shard)

    with open_export(out) as opened:
        columns = "offer, chain_length, considered_offers, cost, least_cost, greatest_cost"
        routes = opened.rows(f"SELECT {columns} FROM routes ORDER BY sequence")
        passed_over = opened.rows("SELECT DISTINCT offer, reason, place FROM considered WHERE place IS NULL")

    assert routes == [("offer-0", 3, 4, "30", "20", "40"), ("offer-0", 1, 2, str(HUGE), str(HUGE), str(HUGE))]
    assert passed_over == [("dear", "price", None)]


def test_a_hold_is_shown_with_its_end(out: Path) -> None:
    shard = Chained("audit")
    for hold in ("2026-1", "2026-2"):
        shard.append(
            HoldPlaced(hold=HoldId(hold), scope=Scope(), matter=Label("m"), placed_by=Did(WRITER.did)), f"audit/hold/{hold}"
        )
    shard.append(HoldReleased(hold=HoldId("2026-1"), released_by=Did(WRITER.did)), "audit/hold/2026-1")
    exported(out, shard)

    with open_export(out) as opened:
        holds = opened.rows("SELECT hold, released IS NOT NULL, released_by FROM holds ORDER BY hold")

    assert holds == [("2026-1", True, WRITER.did), ("2026-2", False, None)]


def test_uptime_leaves_excused_slots_out(out: Path) -> None:
    closed: dict[str, Any] = {
        "epoch": 20_781, "cut": (), "first_slot": 0, "end_slot": 288, "expected": 288, "excused": 88, "missed": 50,
        "bitmap": "0" * 72, "root": Digest("0" * 64), "policy_version": 1, "is_breach": True,
    }  # fmt: skip
    shard = Chained("liveness")
    shard.append(EpochClosed(**closed), "liveness/device/d")
    exported(out, shard)

    with open_export(out) as opened:
        uptime = opened.rows("SELECT device, day::VARCHAR, up_percent, is_breach FROM uptime")

    assert uptime == [("d", "2026-11-24", 75.0, True)]


def test_beats_are_a_row_each(out: Path) -> None:
    beat = Beat(
        device=Did(WRITER.did), slot=5_985_216, seq=1, boot=Label("b"), sent_at_ms=1_795_564_800_001,
        received_at_ms=1_795_564_801_000, load_percent=7, hash=Digest("0" * 64),
    )  # fmt: skip
    shard = Chained("liveness")
    shard.append(HeartbeatsRecorded(beats=(beat, beat), repeated=0), "liveness/fleet/1")
    exported(out, shard)

    with open_export(out) as opened:
        beats = opened.rows("SELECT device, slot_begins::VARCHAR, sent::VARCHAR, load_percent FROM beats")

    assert beats == [(WRITER.did, "2026-11-25 00:00:00", "2026-11-25 00:00:00.001", 7)] * 2


def test_an_offer_is_as_it_was_declared_last(out: Path) -> None:
    shard = Chained()
    shard.append(declared(1), OFFER)
    shard.append(declared(2), OFFER)
    exported(out, shard)

    with open_export(out) as opened:
        assert opened.rows("SELECT offer, prompt_price FROM offers") == [("one", "2")]
        assert "routes" not in opened.views
