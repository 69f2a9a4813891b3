"""What the router learns of stakes, bonds and cases, as the clock runs."""

from pathlib import Path

import pytest

from commands.providers import Providers
from contracts.providers import ModelId, ProviderRegistered
from contracts.staking import SPACE, ResumeDevice, collateral_stream
from domain.staking.arithmetic import epoch_at
from projections.providers import ProviderStanding, standings
from streams import providers
from tests.domain.fleets import registration
from tests.domain.given import did, digest
from tests.domain.staking import WALLET
from tests.streams.test_staking import BOND, DEVICE, Village

PROVIDER = f"providers/provider/{DEVICE}"


@pytest.fixture
def village(tmp_path: Path) -> Village:
    found = Village(tmp_path)
    found.services["providers"] = Providers(found.streams, lambda *_: True)
    found.wire(*providers.streams(None))  # type: ignore[arg-type]
    found.stake("bond", DEVICE, 100 * SPACE)
    found.register()
    found.oracles()
    found.happened(serving("serial"), PROVIDER)
    found.work()
    return found


def serving(serial: str) -> ProviderRegistered:
    """The machine that the bond is for, or another."""
    said = registration("device")
    return said.model_copy(update={"gpu": said.gpu.model_copy(update={"serial_hash": digest(serial)})})


def standing(village: Village) -> ProviderStanding:
    with village.views() as connection:
        return standings(connection)[DEVICE]


def test_a_provider_whose_bond_is_whole_serves_and_nothing_has_to_be_said(village: Village) -> None:
    assert (standing(village).bonded, standing(village).suspended) == (True, False)
    assert village.names("providers.StandingNoted") == []


def test_a_stake_s_tier_is_the_router_s_from_the_epoch_in_which_it_counts(village: Village) -> None:
    village.stake("stake", WALLET, 10_000 * SPACE)
    assert standing(village).tier == "free"

    village.wait(days=1)
    village.wait(hours=1)

    assert standing(village).tier == "pro"
    [noted] = [event for event, record in village.log if record.type == "providers.StandingNoted"]
    assert noted.from_epoch == epoch_at(village.now)  # type: ignore[attr-defined]


def test_a_slashed_device_is_not_routed_until_its_bond_is_whole_and_its_owner_resumes_it(village: Village) -> None:
    village.a_day(missed=15)
    village.attest()
    village.wait(hours=25)
    assert (standing(village).bonded, standing(village).suspended) == (False, True)

    village.stake("bond", DEVICE, 10 * SPACE)
    assert (standing(village).bonded, standing(village).suspended) == (True, True)
    village.ask(ResumeDevice(), BOND)
    village.work()

    assert (standing(village).bonded, standing(village).suspended) == (True, False)


def test_what_the_manifest_allows_stays_whatever_staking_says(village: Village) -> None:
    allowed = (ModelId("llama"),)
    with village.views() as connection:
        [said] = providers.bonded_devices(epoch_at(village.now), connection)
    known = ProviderStanding(None, "free", False, False, allowed, 24_576, None)

    task = providers._noting(said, True, known, 7)

    assert (task.command.allowed, task.command.attested.vram_mib) == (allowed, 24_576)  # type: ignore[attr-defined]
    assert task.subject == PROVIDER


def test_whoever_serves_with_another_machine_than_his_bond_s_has_none(village: Village) -> None:
    """So a machine that two claim is not bonded again by staking."""
    village.happened(serving("somebody else's"), PROVIDER)
    village.work()

    assert not standing(village).bonded


def test_who_never_staked_keeps_the_standing_that_was_noted(village: Village) -> None:
    village.happened(registration("stranger"), f"providers/provider/{did('stranger')}")

    village.wait(days=2)

    assert village.names("providers.StandingNoted") == []
    assert collateral_stream("bond", DEVICE) == BOND
