"""Emission: the curve of the white paper (9.2), the lines and buckets (9.3), and a cap that does not reopen."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts import sums
from contracts.rewards import (
    BUCKET_UNITS,
    CAP_UNITS,
    EMISSION,
    LINE_SECONDS,
    YEAR_SECONDS,
    AllotGrant,
    CreateGrant,
    DeclareGenesis,
    EpochMinted,
    GrantAllotted,
    GrantId,
    GrantReturned,
    Issue,
    Issued,
    MintEpoch,
    OpenYear,
    Recipient,
    RecordBurn,
    Reference,
    ReturnGrant,
    RevokeGrant,
    Words,
    grant_stream,
)
from domain import Refused
from domain.rewards import Emission, Grant
from domain.rewards.emission import (
    AlreadyAllotted,
    AlreadyDeclared,
    BucketEmpty,
    CapReached,
    EpochOutOfOrder,
    ExceedsBucket,
    ExceedsSupply,
    NotGenesis,
    NotReleased,
    ReferenceUsed,
    YearNotDue,
    line,
    minted,
)
from domain.rewards.grants import NotAllotted
from tests.domain.given import refused, then

GENESIS = datetime(2027, 1, 1, tzinfo=UTC)
DAY, YEAR = timedelta(days=1), timedelta(seconds=YEAR_SECONDS)
ONE = 10_000
LATER = GENESIS + 50 * YEAR
VEST = Recipient("spaceos.vest")


def a_network(years: int = 1) -> Emission:
    """After its genesis, in its first year."""
    emission = Emission(EMISSION)
    emission.declare_genesis(DeclareGenesis(at=GENESIS))
    if years:
        emission.open_year(OpenYear(year=1), LATER)
    emission.pending = []
    return emission


def mint(emission: Emission, epoch: int, until: datetime, now: datetime = LATER) -> int:
    before = emission.issued_total
    emission.mint(MintEpoch(epoch=epoch, until=until), now)
    return emission.issued_total - before


def not_minted(emission: Emission, refusal: type[Refused], epoch: int, until: datetime, now: datetime = LATER) -> None:
    refused(emission, lambda: emission.mint(MintEpoch(epoch=epoch, until=until), now), refusal)


def a_grant(emission: Emission, amount: int, bucket: Any = "treasury", name: str = "g1") -> Grant:
    """Allotted, created, and released at once."""
    emission.allot(AllotGrant(grant=GrantId(name), bucket=bucket, amount=amount))
    grant = Grant(grant_stream(name))
    grant.create(CreateGrant(bucket=bucket, beneficiary=VEST, total=amount, kind="immediate", start=GENESIS), (bucket, amount))
    grant.release(GENESIS)
    return grant


def issue(amount: int, bucket: Any = "treasury", name: str = "g1", reference: str = "t1", to: Recipient = VEST) -> Issue:
    return Issue(grant=GrantId(name), bucket=bucket, amount=amount, to=to, reference=Reference(reference))


def burn(amount: int, reference: str = "b1") -> RecordBurn:
    return RecordBurn(amount=amount, source="fees", reference=Reference(reference))


def test_genesis_issues_the_liquidity_bucket() -> None:
    emission = Emission(EMISSION)

    then(
        emission, lambda: emission.declare_genesis(DeclareGenesis(at=GENESIS)),
        *_genesis(),
    )  # fmt: skip
    assert emission.left("liquidity") == 0
    refused(emission, lambda: emission.declare_genesis(DeclareGenesis(at=GENESIS + DAY)), AlreadyDeclared)


def _genesis() -> list[Any]:
    emission = Emission(EMISSION)
    emission.declare_genesis(DeclareGenesis(at=GENESIS))
    declared, issued = emission.pending
    assert isinstance(issued, Issued)
    assert (issued.amount, issued.to, issued.issued_total) == (100_000_000 * ONE, "eosio", 100_000_000 * ONE)
    return [declared, issued]


@pytest.mark.parametrize(
    "ask",
    [
        lambda emission: emission.mint(MintEpoch(epoch=1, until=GENESIS), LATER),
        lambda emission: emission.allot(AllotGrant(grant=GrantId("g"), bucket="team", amount=1)),
        lambda emission: emission.open_year(OpenYear(year=1), LATER),
        lambda emission: emission.issue(issue(1), Grant(grant_stream("g1")), LATER),
    ],
)
def test_before_genesis_nothing_is_minted(ask: Callable[[Emission], None]) -> None:
    emission = Emission(EMISSION)

    refused(emission, lambda: ask(emission), NotGenesis)


def test_the_first_two_days_mint_what_the_formula_says() -> None:
    emission = a_network()

    assert mint(emission, 1, GENESIS + DAY) == 54_794_520
    assert mint(emission, 2, GENESIS + 2 * DAY) == 54_794_521
    assert minted(100_000_000 * ONE, YEAR_SECONDS) == 2_000_000 * ONE


def test_ten_years_of_emission_alone_follow_the_curve() -> None:
    emission, found = a_network(0), []
    for year in range(1, 11):
        emission.open_year(OpenYear(year=year), GENESIS + (year - 1) * YEAR)
        found.append(mint(emission, year, GENESIS + year * YEAR))

    assert found == [
        20_000_000_000, 20_400_000_000, 20_808_000_000, 21_224_160_000, 21_648_643_200, 22_081_616_064, 22_523_248_385,
        22_973_713_352, 23_433_187_620, 23_901_851_372,
    ]  # fmt: skip


def test_a_leap_day_pays_one_day_of_a_31_536_000_second_year() -> None:
    """The 366th day of 2028 is the next year's first."""
    emission = a_network()
    mint(emission, 1, GENESIS + 364 * DAY)

    whole = mint(emission, 2, GENESIS + 365 * DAY)
    not_minted(emission, YearNotDue, 3, GENESIS + 366 * DAY)
    emission.open_year(OpenYear(year=2), GENESIS + 365 * DAY)

    assert whole in (54_794_520, 54_794_521)
    assert mint(emission, 3, GENESIS + 366 * DAY) == minted(102_000_000 * ONE, 86_400)


def test_a_skipped_epoch_is_minted_by_the_next_one_and_the_years_sum_is_unchanged() -> None:
    emission = a_network()
    mint(emission, 1, GENESIS + DAY)

    assert mint(emission, 3, GENESIS + 3 * DAY) == minted(10**12, 3 * 86_400) - minted(10**12, 86_400)
    mint(emission, 400, GENESIS + 400 * DAY)

    assert emission.minted_in_year == 2_000_000 * ONE


def test_an_epoch_that_is_minted_again_or_early_or_in_between_mints_nothing() -> None:
    emission = a_network()
    command = MintEpoch(epoch=5, until=GENESIS + 5 * DAY)
    emission.mint(command, LATER)
    emission.mint(command, LATER)

    assert len(emission.pending) == 1
    not_minted(emission, EpochOutOfOrder, 4, GENESIS + 6 * DAY)
    not_minted(emission, EpochOutOfOrder, 6, GENESIS + 4 * DAY)
    not_minted(emission, EpochOutOfOrder, 6, GENESIS + 6 * DAY, GENESIS + 5 * DAY)


def test_years_are_opened_in_their_order_and_not_before_the_last_is_minted() -> None:
    emission = a_network(0)

    refused(emission, lambda: emission.open_year(OpenYear(year=2), LATER), YearNotDue)
    refused(emission, lambda: emission.open_year(OpenYear(year=1), GENESIS - DAY), YearNotDue)
    not_minted(emission, YearNotDue, 1, GENESIS + DAY)
    emission.open_year(OpenYear(year=1), GENESIS)
    emission.open_year(OpenYear(year=1), GENESIS)
    mint(emission, 1, GENESIS + DAY)
    refused(emission, lambda: emission.open_year(OpenYear(year=2), LATER), YearNotDue)


def test_the_base_of_a_year_is_what_was_issued_and_not_burned() -> None:
    emission = a_network()
    mint(emission, 1, GENESIS + YEAR)
    emission.burn(burn(2_000_000 * ONE))
    emission.open_year(OpenYear(year=2), GENESIS + YEAR)

    assert emission.base == 100_000_000 * ONE


def test_the_emission_that_would_pass_the_cap_mints_what_is_left_and_then_nothing() -> None:
    emission = a_network()
    _issue_all(emission, left=1_000)

    assert mint(emission, 1, GENESIS + 10 * YEAR) == 1_000
    assert emission.issued_total == CAP_UNITS
    not_minted(emission, CapReached, 2, GENESIS + 11 * YEAR)


def test_burning_space_does_not_let_more_be_issued() -> None:
    emission = a_network()
    _issue_all(emission, left=0)
    emission.burn(burn(CAP_UNITS // 2))

    not_minted(emission, CapReached, 1, GENESIS + YEAR)
    refused(
        emission, lambda: emission.allot(AllotGrant(grant=GrantId("more"), bucket="treasury", amount=1)), ExceedsBucket
    )  # fmt: skip
    assert emission.issued_total == CAP_UNITS


def _issue_all(emission: Emission, left: int) -> None:
    for bucket, share in BUCKET_UNITS.items():
        amount = share - (left if bucket == "providers" else 0)
        if bucket != "liquidity":
            grant = a_grant(emission, amount, bucket, bucket)
            emission.issue(issue(amount, bucket, bucket, bucket), grant, LATER)


def test_emission_stops_where_the_rest_of_its_bucket_is_set_aside() -> None:
    """A voted grant is a promise; emission is a rate."""
    emission = a_network()
    emission.allot(AllotGrant(grant=GrantId("g"), bucket="providers", amount=BUCKET_UNITS["providers"]))

    not_minted(emission, BucketEmpty, 1, GENESIS + DAY)


def test_the_line_bounds_what_has_left_the_bucket_by_emission_and_by_grants() -> None:
    seconds = YEAR_SECONDS // 2
    half = GENESIS + timedelta(seconds=seconds)
    emission = a_network()
    grant = a_grant(emission, line(seconds) + 1, "providers")

    refused(emission, lambda: emission.issue(issue(grant.released, "providers"), grant, half), ExceedsBucket)
    emission.issue(issue(grant.released - 1, "providers"), grant, half)

    assert mint(emission, 1, half) == 0, "the grant has taken all that the line had opened"
    assert mint(emission, 2, half + DAY) == line(seconds + 86_400) - line(seconds), "and emission takes what opens since"
    assert (line(-1), line(LINE_SECONDS), line(LINE_SECONDS * 2)) == (0, 4 * 10**12, 4 * 10**12)


def test_a_grant_is_allotted_once_and_within_its_bucket() -> None:
    emission = a_network()
    command = AllotGrant(grant=GrantId("g"), bucket="team", amount=BUCKET_UNITS["team"])

    then(emission, lambda: emission.allot(command), GrantAllotted(**dict(command)))
    refused(emission, lambda: emission.allot(command.model_copy(update={"amount": 1})), AlreadyAllotted)
    refused(emission, lambda: emission.allot(command.model_copy(update={"grant": GrantId("h"), "amount": 1})), ExceedsBucket)


def test_what_is_issued_was_released_to_that_beneficiary() -> None:
    emission = a_network()
    grant = a_grant(emission, 100)

    refused(emission, lambda: emission.issue(issue(101), grant, LATER), NotReleased)
    refused(emission, lambda: emission.issue(issue(1, to=Recipient("mallory")), grant, LATER), NotReleased)
    refused(emission, lambda: emission.issue(issue(1, bucket="team"), grant, LATER), ExceedsBucket)
    refused(emission, lambda: emission.issue(issue(1, name="h"), grant, LATER), NotAllotted)
    emission.issue(issue(60), grant, LATER)
    emission.issue(issue(60), grant, LATER)
    refused(emission, lambda: emission.issue(issue(61), grant, LATER), ReferenceUsed)
    refused(emission, lambda: emission.issue(issue(41, reference="t2"), grant, LATER), NotReleased)

    assert emission.issued["treasury"] == 60


def test_a_revoked_grant_keeps_what_was_released_and_returns_the_rest_to_its_bucket() -> None:
    emission = a_network()
    emission.allot(AllotGrant(grant=GrantId("g1"), bucket="team", amount=360))
    grant = Grant(grant_stream("g1"))
    command = CreateGrant(
        bucket="team", beneficiary=VEST, total=360, kind="linear", start=GENESIS, duration_seconds=36 * 2_628_000
    )  # fmt: skip
    grant.create(command, ("team", 360))
    grant.release(GENESIS + timedelta(seconds=2_628_000))
    grant.revoke(RevokeGrant(reason=Words("left")))
    emission.pending = []

    refused(emission, lambda: emission.give_back(ReturnGrant(grant=GrantId("g1"), amount=351), grant), ExceedsBucket)
    back = ReturnGrant(grant=GrantId("g1"), amount=350)
    then(emission, lambda: emission.give_back(back, grant), GrantReturned(**dict(back)))
    emission.issue(issue(10, "team"), grant, LATER)

    assert emission.left("team") == BUCKET_UNITS["team"] - 10
    refused(emission, lambda: emission.give_back(ReturnGrant(grant=GrantId("g1"), amount=1), grant), ExceedsBucket)


def test_a_grant_that_lives_gives_nothing_back() -> None:
    emission = a_network()
    grant = a_grant(emission, 100)

    refused(emission, lambda: emission.give_back(ReturnGrant(grant=GrantId("g1"), amount=1), grant), ExceedsBucket)
    refused(emission, lambda: emission.give_back(ReturnGrant(grant=GrantId("none"), amount=1), grant), NotAllotted)


def test_a_burn_is_counted_once_and_never_beyond_what_was_issued() -> None:
    emission = a_network()
    emission.burn(burn(7))
    emission.burn(burn(7))

    assert (emission.burned_total, emission.issued_total) == (7, 10**12)
    refused(emission, lambda: emission.burn(burn(8)), ReferenceUsed)
    refused(emission, lambda: emission.burn(burn(10**12 - 6, "b2")), ExceedsSupply)
    assert sums(emission.pending[-1].legs(EMISSION)) == {"SPACE": 0}


def test_what_is_minted_goes_to_the_rewards_pool() -> None:
    emission = a_network()
    mint(emission, 1, GENESIS + DAY)

    [event] = emission.pending
    assert isinstance(event, EpochMinted)
    assert {leg.account: leg.units for leg in event.legs(EMISSION)} == {"issued": -54_794_520, "pool:rewards": 54_794_520}
