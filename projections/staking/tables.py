"""Staking's tables. Amounts are units of SPACE (4 decimals), those of `space_stakes` wei."""

from sqlalchemy import BigInteger, Boolean, Column, String, Table, Text

from projections import METADATA, MoneyColumn, WholeColumn

collateral = Table(
    "staking_collateral",
    METADATA,
    Column("kind", String(10), primary_key=True, comment="stake, bond or oracle"),
    Column("subject", String(90), primary_key=True),
    Column("active", MoneyColumn(), nullable=False),
    Column("unbonding", MoneyColumn(), nullable=False),
    Column("held", MoneyColumn(), nullable=False, comment="by cases; a part of active and unbonding"),
    Column("withdrawn", MoneyColumn(), nullable=False),
    Column("slashed", MoneyColumn(), nullable=False),
    Column("tombstoned", Boolean, nullable=False),
    Column("holding", Text, nullable=False, comment="JSON: every request and every hold"),
    Column("since", String(30), nullable=False),
)

levels = Table(
    "staking_levels",
    METADATA,
    Column("kind", String(10), primary_key=True),
    Column("subject", String(90), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("active", MoneyColumn(), nullable=False, comment="at the end of the epoch"),
    Column("at_risk", MoneyColumn(), nullable=False, comment="active and unbonding"),
    Column("tombstoned", Boolean, nullable=False),
)

fundings = Table(
    "staking_fundings",
    METADATA,
    Column("kind", String(10), primary_key=True),
    Column("subject", String(90), primary_key=True),
    Column("account", String(250), primary_key=True),
    Column("hold", String(120), primary_key=True),
    Column("units", MoneyColumn(), nullable=False),
    Column("event", String(36), nullable=False),
    Column("at", String(30), nullable=False),
)

tiers = Table(
    "staking_tiers",
    METADATA,
    Column("wallet", String(90), primary_key=True),
    Column("from_epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("tier", String(10), nullable=False),
    Column("event", String(36), comment="that said so"),
)

devices = Table(
    "staking_devices",
    METADATA,
    Column("device", String(90), primary_key=True),
    Column("device_key", String(90), nullable=False, index=True),
    Column("wallet", String(42), nullable=False, index=True),
    Column("serial_hash", String(64), nullable=False),
    Column("state", String(12), nullable=False, index=True, comment="asked, registered, declined or deregistered"),
    Column("suspended_by", String(120), comment="the case, as long as the owner has not resumed it"),
    Column("first_epoch", WholeColumn, comment="the first one that counts"),
    Column("cause", String(100), comment="of a refusal"),
    Column("since", String(30), nullable=False),
    Column("event", String(36), comment="the last one"),
)

claims = Table(
    "staking_claims",
    METADATA,
    Column("claim", String(64), primary_key=True, comment="SHA-256 of a serial number or key"),
    Column("device", String(90), index=True),
    Column("since", String(30), nullable=False),
)

cases = Table(
    "staking_cases",
    METADATA,
    Column("case", String(120), primary_key=True),
    Column("subject", String(90), nullable=False, index=True),
    Column("offence", String(10), nullable=False),
    Column("epoch", WholeColumn, nullable=False),
    Column("state", String(10), nullable=False, index=True,
           comment="open, attested, disputed, upheld, appealed, voided, executed or lapsed"),
    Column("opened", Text, nullable=False, comment="JSON: staking.CaseOpened"),
    Column("attested", Text, comment="JSON: staking.CaseAttested"),
    Column("disputed", Text, comment="JSON: staking.Disputed"),
    Column("resolved", Text, comment="JSON: staking.DisputeResolved"),
    Column("appealed", Text, comment="JSON: staking.Appealed"),
    Column("closed", Text, comment="JSON: staking.CaseExecuted or CaseVoided"),
    Column("deadline", String(30), comment="of the window that is open"),
    Column("upholding", WholeColumn, nullable=False, comment="council members who upheld it on appeal"),
    Column("opened_at", String(30), nullable=False),
    Column("since", String(30), nullable=False),
)  # fmt: skip

findings = Table(
    "staking_findings",
    METADATA,
    Column("case", String(120), primary_key=True),
    Column("oracle", String(90), primary_key=True),
    Column("key", String(90), nullable=False),
    Column("missed", WholeColumn),
    Column("verdict", String(10)),
    Column("root", String(64), nullable=False),
    Column("at", String(30), nullable=False),
)

answers = Table(
    "staking_answers",
    METADATA,
    Column("case", String(120), primary_key=True),
    Column("person", String(90), primary_key=True),
    Column("verdict", String(10), nullable=False),
    Column("at", String(30), nullable=False),
)

holds = Table(
    "staking_holds",
    METADATA,
    Column("case", String(120), primary_key=True),
    Column("kind", String(10), primary_key=True),
    Column("subject", String(90), primary_key=True),
    Column("units", MoneyColumn(), nullable=False),
    Column("state", String(10), nullable=False, comment="held, released or slashed"),
    Column("since", String(30), nullable=False),
)

tombstones = Table(
    "staking_tombstones",
    METADATA,
    Column("kind", String(10), primary_key=True),
    Column("subject", String(90), primary_key=True),
    Column("key", String(90), primary_key=True),
    Column("case", String(120), nullable=False, index=True),
    Column("since", String(30), nullable=False),
)

suspensions = Table(
    "staking_suspensions",
    METADATA,
    Column("device", String(90), primary_key=True),
    Column("case", String(120), primary_key=True),
    Column("since", String(30), nullable=False),
)

bonds = Table(
    "staking_bonds",
    METADATA,
    Column("case", String(120), primary_key=True),
    Column("account", String(250), primary_key=True),
    Column("hold", String(120), primary_key=True),
    Column("units", MoneyColumn(), nullable=False),
    Column("state", String(10), nullable=False, index=True, comment="posted, burned or returned"),
    Column("since", String(30), nullable=False),
)

uptimes = Table(
    "staking_uptimes",
    METADATA,
    Column("device_key", String(90), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False, index=True),
    Column("first_slot", BigInteger, nullable=False),
    Column("end_slot", BigInteger, nullable=False),
    Column("missed", WholeColumn, nullable=False),
    Column("root", String(64), nullable=False),
    Column("evidence", String(64), nullable=False, comment="SHA-256 of the record that closed it"),
    Column("event", String(36), nullable=False),
    Column("closed_at", String(30), nullable=False),
)

epochs = Table(
    "staking_epochs",
    METADATA,
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("seed", String(64), nullable=False, comment="SHA-256 of the record that ended it: panels are drawn by it"),
    Column("excused_slots", Text, nullable=False, comment="JSON array"),
    Column("ended_at", String(30), nullable=False),
)

faucet = Table(
    "staking_faucet",
    METADATA,
    Column("address", String(42), primary_key=True),
    Column("drips", WholeColumn, nullable=False),
    Column("units", MoneyColumn(), nullable=False),
    Column("next_at", String(30), nullable=False),
)

faucet_days = Table(
    "staking_faucet_days",
    METADATA,
    Column("day", String(20), primary_key=True, comment="days since 1970-01-01 UTC"),
    Column("units", MoneyColumn(), nullable=False),
)

space_stakes = Table(
    "staking_space_stakes",
    METADATA,
    Column("address", String(42), primary_key=True),
    Column("staked", MoneyColumn(), nullable=False),
    Column("unstaking", MoneyColumn(), nullable=False),
    Column("withdrawn", MoneyColumn(), nullable=False),
    Column("rewarded", MoneyColumn(), nullable=False),
    Column("funded", MoneyColumn(), nullable=False, comment="into the pool of rewards"),
    Column("accrued", MoneyColumn(), nullable=False, comment="owed until `since`, paid or not"),
    Column("since", String(30), nullable=False),
)

refuted = Table(
    "staking_refuted",
    METADATA,
    Column("request", String(36), primary_key=True),
    Column("number", WholeColumn, primary_key=True, autoincrement=False),
    Column("device_key", String(90), primary_key=True),
    Column("evidence", String(64), nullable=False),
    Column("event", String(36), nullable=False),
    Column("at", String(30), nullable=False, index=True),
)
