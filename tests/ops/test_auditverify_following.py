"""A writer who uses true commands for what they do not ask: each kind of false history is named by a check of its own.

Everything here is consistent: chained, sealed, signed by the writer and the log, cosigned. It just does not follow.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.audit.packs import Enclosed, write_bundle, write_pack
from adapters.audit.search import Filter
from adapters.keys import Signer
from contracts import event_id, rfc3339
from ops.judging import UNCLEAR, judge_log
from tests.independent.history import (
    COMMAND_HASH,
    END,
    GPU,
    NETWORK,
    NEW,
    OFFICER,
    OLD,
    ROOTS,
    SEALING,
    SECOND,
    UNWITNESSED,
    WRITER,
    Deployed,
    Event,
    History,
    hand_out,
    lively,
    openings,
)  # fmt: skip
from tests.independent.verifier import Stranger, changed, read_pack, repaired, without, write_zip

NEVER = "2020-01-01T00:00:00.000000Z"
FALSE: dict[str, tuple[str, Callable[[History], object]]] = {}
"""By name: the check that names it first, and what the dishonest writer does in a network in which a GPU is registered."""


def false(check: str) -> Callable[[Callable[[History], object]], Callable[[History], object]]:
    def named(make: Callable[[History], object]) -> Callable[[History], object]:
        FALSE[make.__name__] = (check, make)
        return make

    return named


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return Stranger.in_folder(tmp_path_factory.mktemp("stranger"), "coincurve", "Crypto")


@pytest.fixture
def given(tmp_path: Path) -> list[object]:
    policy, genesis = hand_out(tmp_path / "handed-out")
    return ["--policy", policy, "--genesis", genesis]


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[[History], Deployed]]:
    made: list[Deployed] = []

    def deployed(history: History) -> Deployed:
        made.append(Deployed(tmp_path / f"log-{len(made)}", history))
        return made[-1]

    yield deployed
    for one in made:
        one.engine.dispose()


def enclosed(deployed: Deployed) -> Enclosed:
    return Enclosed(commands=deployed.commands, openings=openings("opened"), note=deployed.witnessed())


def begun() -> History:
    history = History()
    history.found()
    history.register(GPU)
    history.act(GPU)
    return history


def ask(history: History, signer: Signer, kind: str, stream: str, event: str, data: dict[str, Any], **wrong: Any) -> Event:
    return history.ask(signer, kind, stream, [(event, data)], **wrong)[0]


# Not here and now


@false("network")
def of_another_network(history: History) -> None:
    history.act(GPU, asked={"network": "testnet"})


@false("expired")
def expired_in_2020(history: History) -> None:
    history.act(GPU, asked={"expires": NEVER})


@false("version")
def of_another_expected_version(history: History) -> None:
    history.act(GPU, asked={"streamversion": 77})


# Not once


@false("once")
def executed_twice(history: History) -> None:
    """One signed command, two events of one id, at versions 2 and 3, and an outcome for each in its own pack file."""
    history.act(GPU)
    history.again()


@false("outcome")
def with_an_event_that_is_not_there(history: History) -> None:
    def more(data: dict[str, Any]) -> None:
        first = data["events"][0]
        name = event_id(GPU.did, history.next_id(), 1)
        data["events"].append({**first, "id": name, "sequence": first["sequence"] + 1, "streamversion": 3})

    history.act(GPU, told=more)
    history.act(GPU)


# Does not follow


@false("follows")
def a_registration_for_a_withdrawal(history: History) -> None:
    """The writer withdraws a role of its own, and writes that it may mint."""
    data = {"key": WRITER.did, "roles": [{"role": "treasury.minter", "prefix": "treasury/"}], "not_after": END}
    ask(history, WRITER, "identity.WithdrawRole", f"identity/key/{WRITER.did}", "identity.KeyRegistered", data)


@false("follows")
def another_event_of_the_context(history: History) -> None:
    ask(history, GPU, "providers.DrainProvider", "providers/provider/p1", "providers.ProviderLeft", {})


@false("follows")
def founded_again_by_one_root(history: History) -> None:
    """Whoever is named a root by it may register keys."""
    roots = {"roots": [NEW.did, OLD.did, GPU.did], "quorum": 2, "chain_id": 1, "profile": "consumer"}
    ask(history, ROOTS[0], "identity.Found", "identity/network/mine", "identity.Founded", roots)


@false("context")
def a_mint_for_a_drained_provider(history: History) -> None:
    ask(history, GPU, "providers.DrainProvider", "providers/provider/p1", "treasury.Minted", {"amount": "1"})


@false("context")
def in_the_shard_of_another_context(history: History) -> None:
    history.act(GPU, shard="treasury.events/0")


@false("context")
def by_the_schema_of_another_event(history: History) -> None:
    history.act(GPU, dataschema="urn:spaceos:providers.ProviderLeft:1")


@false("context")
def one_stream_in_two_shards(history: History) -> None:
    history.act(GPU, shard="providers.events/1")


@false("amount")
def of_another_amount(history: History) -> None:
    history.register(NEW, "treasury.minter")
    one, thousand = ({"asset": "EUR", "units": units} for units in ("1", "1000"))
    asked = {"data": {"amount": one}}
    ask(history, NEW, "treasury.Mint", "treasury/asset/eur", "treasury.Minted", {"amount": thousand}, asked=asked)


# By too few


@false("persons")
def one_officer_orders_an_erasure(history: History) -> None:
    history.order("erased", officers=(OFFICER, OFFICER))


@false("persons")
def nobody_else_orders_an_erasure(history: History) -> None:
    data = {"keys": [SEALING["erased"]], "basis": "request"}
    ask(history, OFFICER, "audit.OrderErasure", "audit/erasure/e1", "audit.ErasureOrdered", data)


@false("persons")
def an_erasure_of_other_keys_than_the_first_officer_said(history: History) -> None:
    history.order("erased", officers=(OFFICER, SECOND))
    data = {"keys": [SEALING["opened"]], "basis": "request"}
    ask(history, SECOND, "audit.OrderErasure", "audit/erasure/erased", "audit.ErasureOrdered", data)


@false("persons")
def two_keys_of_one_person_order_an_erasure(history: History) -> None:
    grant = {"roles": [{"role": "audit.officer", "prefix": "audit/"}], "not_after": END}
    history.register(OLD, "audit.officer")
    data = {"key": OLD.did, "successor": NEW.did, "until": END, **grant}
    ask(history, OLD, "identity.RotateKey", f"identity/key/{OLD.did}", "identity.KeyRotated", data)
    history.order("erased", officers=(OLD, NEW))


@false("persons")
def whoever_placed_a_hold_releases_it(history: History) -> None:
    stream, hold = f"audit/hold/{NETWORK}", {"hold": "2026-1"}
    ask(history, SECOND, "audit.PlaceHold", stream, "audit.HoldPlaced", {"hold": "2026-2", "placed_by": SECOND.did})
    ask(history, OFFICER, "audit.PlaceHold", stream, "audit.HoldPlaced", {**hold, "placed_by": OFFICER.did})
    ask(history, OFFICER, "audit.ReleaseHold", stream, "audit.HoldReleased", {**hold, "released_by": OFFICER.did})


@false("persons")
def one_registrar_makes_a_registrar(history: History) -> None:
    history.register(NEW, "identity.registrar")


@false("persons")
def one_registrar_approves_what_he_proposed(history: History) -> None:
    propose_and_approve(history, ROOTS[0], ROOTS[0])


# By whoever may not


@false("writer")
def signed_after_the_writers_role_ended(history: History) -> None:
    data = {"key": WRITER.did, "role": "store.writer", "prefix": ""}
    stream = f"identity/key/{WRITER.did}"
    ask(history, ROOTS[1], "identity.WithdrawRole", stream, "identity.RoleWithdrawn", data)
    history.act(GPU)


@false("authority")
def on_a_stream_that_its_prefix_only_begins(history: History) -> None:
    history.register(NEW, prefix="providers/provider/p1")
    history.act(NEW, "providers/provider/p1-2")


@false("authority")
def in_a_role_whose_own_end_is_over(history: History) -> None:
    """The registration lives on, and one of its roles does not."""
    ends = rfc3339(history.now + timedelta(minutes=1))
    roles = [{"role": "providers.gpu", "prefix": "providers/", "not_after": ends}]
    history.register(NEW, roles=[*roles, {"role": "liveness.collector", "prefix": "liveness/", "not_after": END}])
    history.now += timedelta(minutes=2)
    history.act(NEW)


@false("time")
def dated_after_the_head_was_cosigned(history: History) -> None:
    history.now += timedelta(days=2)
    history.act(GPU)


def propose_and_approve(history: History, first: Signer, second: Signer) -> None:
    """A registrar, as two consent to it."""
    stream, grant = f"identity/key/{NEW.did}", {"roles": [{"role": "identity.registrar", "prefix": "identity/"}]}
    said = {"key": NEW.did, **grant, "not_after": END}
    proposed = {**said, "proposal": COMMAND_HASH, "held_by": "x"}
    proposal = ask(history, first, "identity.ProposeKey", stream, "identity.KeyProposed", proposed).document["commandhash"]
    approved = {"key": NEW.did, "proposal": proposal, "approved_by": second.did}
    events = [("identity.KeyApproved", approved), ("identity.KeyRegistered", said)]
    history.ask(second, "identity.ApproveKey", stream, events)


# Not what the command says, nor what it carries

STAKE, ACCOUNT = "staking/collateral/stake/0x" + "a" * 40, "treasury/account/alice.SPACE"


@false("follows")
def to_another_account(history: History) -> None:
    history.register(NEW, "staking.holder")
    said = {"request": "r", "amount": "5", "account": "treasury/account/thief.SPACE", "epoch": 1}
    asked = {"data": {"request": "r", "account": ACCOUNT}}
    ask(history, NEW, "staking.Withdraw", STAKE, "staking.Withdrawn", said, asked=asked)


@false("follows")
def a_thousand_times_what_was_asked(history: History) -> None:
    history.register(NEW, "staking.holder")
    said = {"amount": "5000", "request": "r", "releasable_at": END, "epoch": 1}
    ask(history, NEW, "staking.RequestUnstake", STAKE, "staking.UnstakeRequested", said, asked={"data": {"amount": "5"}})


@false("follows")
def of_another_key(history: History) -> None:
    said = {"key": OFFICER.did, "role": "audit.officer", "prefix": "audit/"}
    ask(history, ROOTS[1], "identity.WithdrawRole", f"identity/key/{GPU.did}", "identity.RoleWithdrawn", said)


@false("follows")
def ends_what_nobody_suspected(history: History) -> None:
    said = {"key": GPU.did, "reason": "compromised", "ends": [{"key": OFFICER.did, "at": END}]}
    ask(history, ROOTS[1], "identity.RevokeKey", f"identity/key/{GPU.did}", "identity.KeyRevoked", said)


@false("authority")
def relies_on_nothing(history: History) -> None:
    history.act(GPU, told=lambda data: data.update(authority=[]))


@false("authority")
def hands_on_what_the_key_never_had(history: History) -> None:
    roles = [{"role": "treasury.minter", "prefix": "treasury/"}]
    said = {"key": GPU.did, "successor": NEW.did, "roles": roles, "not_after": END, "until": END}
    ask(history, GPU, "identity.RotateKey", f"identity/key/{GPU.did}", "identity.KeyRotated", said)
    ask(history, NEW, "treasury.Mint", "treasury/asset/eur", "treasury.Minted", {"reference": "r"})


@false("follows")
def adopts_other_numbers(history: History) -> None:
    """Of a parameter that has several, in a context whose objects are not compared otherwise."""
    history.register(NEW, "audit.process")
    said = {"name": "p", "value": {"a": 1, "b": 2}, "version": 2, "policy_version": 2, "at": END}
    asked = {"data": {"name": "p", "value": {"a": 1, "b": 3}, "version": 2}}
    ask(history, NEW, "audit.AdoptParameter", "audit/policy/network", "audit.ParameterAdopted", said, asked=asked)


def held(history: History, units: str = "100", stream: str = STAKE) -> tuple[Event, dict[str, str]]:
    """What the treasury holds, and as a command carries it."""
    history.register(SECOND, "treasury.process")
    history.register(NEW, "staking.process")
    said = {"hold": "h-1", "amount": {"asset": "SPACE", "units": units}, "purpose": f"stake:{stream}", "expires_at": END}
    found = ask(history, SECOND, "treasury.Hold", ACCOUNT, "treasury.Held", said)
    return found, carried(found.value)


def carried(value: bytes) -> dict[str, str]:
    return {"value": urlsafe_b64encode(value).rstrip(b"=").decode(), "signature": WRITER.sign(value)}


def stake(history: History, record: dict[str, str], cause: str, stream: str = STAKE, **otherwise: str) -> None:
    said = {"amount": "100", "hold": "h-1", "account": ACCOUNT, "active": "100", "epoch": 1, "cause": cause, **otherwise}
    asked = {"data": {"held": record}, "dataschema": "urn:spaceos:staking.Stake:2"}
    ask(history, NEW, "staking.Stake", stream, "staking.Staked", said, asked=asked)


def test_a_stake_that_is_what_was_held_is_verified(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed]
) -> None:
    history = begun()
    found, record = held(history)
    stake(history, record, found.id)
    made = deploy(history)

    said = stranger.verify(write_bundle(made.log, tmp_path / "p.zip", Filter(first=0), enclosed(made)).path, *given)

    assert (said.code, said.answer["found"], said.answer["unclear"]) == (0, [], [])


@pytest.mark.parametrize("days", [-400, 400])
def test_what_the_asker_s_clock_says_is_held_against_nobody(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed], days: int
) -> None:
    """Whoever signs says when. Were it doubted, any client could make the whole log inconclusive."""
    history = begun()
    history.act(GPU, asked={"time": rfc3339(history.now + timedelta(days=days))})
    made = deploy(history)

    said = stranger.verify(write_bundle(made.log, tmp_path / "p.zip", Filter(first=0), enclosed(made)).path, *given)

    assert (said.code, said.answer["found"], said.answer["unclear"]) == (0, [], [])


@false("carried")
def stakes_more_than_was_held(history: History) -> None:
    found, record = held(history)
    stake(history, record, found.id, amount="1000000")


@false("carried")
def stakes_by_another_cause(history: History) -> None:
    _, record = held(history)
    stake(history, record, history.events[0].id)


@false("carried")
def stakes_what_is_held_for_another(history: History) -> None:
    found, record = held(history, stream=STAKE[:-1] + "b")
    stake(history, record, found.id)


@false("carried")
def stakes_one_hold_twice(history: History) -> None:
    found, record = held(history)
    stake(history, record, found.id)
    stake(history, record, found.id, active="200")


@false("carried")
def stakes_by_a_record_that_was_never_logged(history: History) -> None:
    found, _ = held(history)
    stake(history, carried(found.value.replace(b'"100"', b'"900"')), found.id, amount="900")


@false("carried")
def adopts_by_a_cause_that_nobody_brought(history: History) -> None:
    history.register(NEW, "staking.process")
    said = {"name": "tier", "value": 1, "version": 2, "policy_version": 2, "at": END}
    stream, asked = "staking/policy/network", {"data": {"name": "tier", "value": 1, "version": 2}}
    cause = {"cause": history.events[0].id}
    ask(history, NEW, "staking.AdoptParameter", stream, "staking.ParameterAdopted", {**said, **cause}, asked=asked)


NEEDS_ANOTHER = {
    "executed_twice", "with_an_event_that_is_not_there", "one_stream_in_two_shards", "stakes_one_hold_twice",
    "stakes_by_a_record_that_was_never_logged",
}  # fmt: skip
"""What shows only beside another event."""


@pytest.mark.parametrize("name", FALSE)
def test_a_false_history_is_named_by_its_own_check(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed], name: str
) -> None:
    """In the whole log; and it is verified without what is false."""
    check, make = FALSE[name]
    honest, history = begun(), begun()
    make(history)

    packs = [write_bundle(made.log, tmp_path / f"{n}.zip", Filter(first=0), enclosed(made)).path
             for n, made in enumerate(map(deploy, (honest, history)))]  # fmt: skip
    verdicts = [stranger.verify(pack, *given) for pack in packs]

    assert verdicts[0].code == 0
    assert (verdicts[1].code, verdicts[1].first["check"]) == (1, check), verdicts[1].answer["found"]


@pytest.mark.parametrize("name", FALSE)
def test_our_own_verifier_judges_as_strangers_do(deploy: Callable[[History], Deployed], given: list[Any], name: str) -> None:
    """`spaceos audit verify` of the live log. It has no cosignature in it, so nothing tells of the time."""
    check, make = FALSE[name]
    honest, history = begun(), begun()
    make(history)

    found = [
        [finding.check for finding in judge_log(made.engine, UNWITNESSED.encode(), given[3].read_bytes(), made.commands)]
        for made in map(deploy, (honest, history))
    ]

    assert found[0] == []
    assert found[1][:1] == ([check] if check != "time" else [])


@pytest.mark.parametrize("name", [name for name in FALSE if name not in NEEDS_ANOTHER])
def test_a_pack_of_the_last_event_alone_does_not_verify_it_either(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed], name: str
) -> None:
    """What needs the rest of the stream, how many persons there were, is inconclusive there: never verified."""
    check, make = FALSE[name]
    history = begun()
    make(history)
    made = deploy(history)

    found = stranger.verify(
        write_pack(made.log, tmp_path / "p.zip", event=history.events[-1].id, enclosed=enclosed(made)).path, *given
    )

    assert found.code in ((1, 3) if check == "persons" else (1,)), found.answer


def test_two_persons_order_an_erasure_and_two_registrars_make_a_third(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed]
) -> None:
    """And a pack of the order alone has the first officer's word with it."""
    history = begun()
    order = history.order("erased")
    propose_and_approve(history, ROOTS[0], ROOTS[2])
    made = deploy(history)

    whole = write_bundle(made.log, tmp_path / "w.zip", Filter(first=0), enclosed(made)).path
    alone = write_pack(made.log, tmp_path / "a.zip", event=order.id, enclosed=enclosed(made)).path

    for pack in (whole, alone):
        found = stranger.verify(pack, *given)
        assert (found.code, found.answer["unclear"]) == (0, []), found.answer
    assert any(name.startswith("persons/") for name in read_pack(alone))


def test_who_else_consented_cannot_be_left_out_of_a_pack(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed]
) -> None:
    """It may be an older pack, which had none of them: nothing is shown, and nobody accused."""
    history = begun()
    order = history.order("erased")
    made = deploy(history)
    files = read_pack(write_pack(made.log, tmp_path / "a.zip", event=order.id, enclosed=enclosed(made)).path)
    [gone] = [name.partition("/")[2] for name in files if name.startswith("persons/")]
    rest = without(files, f"persons/{gone}", f"proofs/{gone}.tlog-proof", f"commands/{gone}.json")
    older = changed(rest, "manifest.json", lambda manifest: manifest["supporting"].pop("persons") and None)
    pack = write_zip(tmp_path / "b.zip", repaired(older))

    found = stranger.verify(pack, *given)

    assert found.code == 3
    assert "takes 2 persons" in str(found.answer["unclear"])


def test_a_role_that_a_rotation_prolonged_is_doubted_and_nobody_accused(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed]
) -> None:
    """Older workers handed over all roles with the last one's end."""
    history = begun()
    ends = rfc3339(history.now + timedelta(minutes=1))
    roles = [{"role": "providers.gpu", "prefix": "providers/"}]
    history.register(OLD, roles=[{**roles[0], "not_after": ends}])
    data = {"key": OLD.did, "successor": NEW.did, "roles": roles, "not_after": END, "until": ends}
    ask(history, OLD, "identity.RotateKey", f"identity/key/{OLD.did}", "identity.KeyRotated", data)
    history.act(NEW)
    before = deploy(replace(history, shards={name: list(records) for name, records in history.shards.items()}))
    history.now += timedelta(minutes=5)
    history.act(NEW)
    after = deploy(history)

    verdicts = [
        stranger.verify(write_bundle(made.log, tmp_path / f"{n}.zip", Filter(first=0), enclosed(made)).path, *given)
        for n, made in enumerate((before, after))
    ]

    assert [found.code for found in verdicts] == [0, 3]


def test_each_role_counts_to_its_own_end(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed]
) -> None:
    """As newer events write them; older ones have one end for all."""
    history = begun()
    ends = rfc3339(history.now + timedelta(minutes=1))
    roles = [{"role": "providers.gpu", "prefix": "providers/provider/p9", "not_after": ends}]
    history.register(NEW, roles=[{"role": "liveness.collector", "prefix": "liveness/", "not_after": END}, *roles])
    history.now += timedelta(seconds=59)
    history.act(NEW, "providers/provider/p9")
    made = deploy(history)

    found = stranger.verify(write_bundle(made.log, tmp_path / "p.zip", Filter(first=0), enclosed(made)).path, *given)

    assert (found.code, found.answer["unclear"]) == (0, [])


def test_an_event_that_is_newer_than_the_verifier_is_inconclusive(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed]
) -> None:
    history = begun()
    ask(history, GPU, "providers.DrainProvider", "providers/provider/p1", "providers.SomethingNew", {})
    made = deploy(history)

    found = stranger.verify(write_bundle(made.log, tmp_path / "p.zip", Filter(first=0), enclosed(made)).path, *given)

    assert found.code == 3
    assert "SomethingNew" in str(found.answer["unclear"])


def test_the_last_event_of_a_command_may_wait_for_the_next_batch(
    stranger: Stranger, given: list[object], tmp_path: Path, deploy: Callable[[History], Deployed]
) -> None:
    """The head may stand between two events of one command: no accusation, and no verdict."""
    history = begun()
    history.register(NEW)
    history.shards["identity.events/0"].pop()
    made = deploy(history)

    found = stranger.verify(write_bundle(made.log, tmp_path / "p.zip", Filter(first=0), enclosed(made)).path, *given)

    assert found.code == 3
    assert "yet" in str(found.answer["unclear"])


def test_everything_that_a_network_honestly_does_is_verified_by_ours_too(
    deploy: Callable[[History], Deployed], given: list[Any]
) -> None:
    made = deploy(lively())

    assert list(judge_log(made.engine, UNWITNESSED.encode(), given[3].read_bytes(), made.commands)) == []


def test_ours_says_what_it_cannot_judge(deploy: Callable[[History], Deployed], given: list[Any]) -> None:
    history = begun()
    history.kept.popitem()
    made = deploy(history)

    [found] = judge_log(made.engine, UNWITNESSED.encode(), given[3].read_bytes(), made.commands)

    assert (found.check, "who asked" in found.text) == (UNCLEAR, True)
