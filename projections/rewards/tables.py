"""The tables of rewards. Each row is written from one stream; what several streams tell is summed by the queries."""

from sqlalchemy import BigInteger, Boolean, Column, String, Table, Text

from projections import METADATA, MoneyColumn, WholeColumn

fee_splits = Table(
    "rewards_fee_splits",
    METADATA,
    Column("fees", String(120), primary_key=True, comment="the stream's id: kind, payee and asset"),
    Column("receipt", String(150), primary_key=True, index=True),
    Column("payee", String(42), nullable=False),
    Column("asset", String(30), nullable=False),
    Column("provider", String(90), nullable=False, index=True),
    Column("model", String(60)),
    Column("model_owner", String(42), comment="null: in escrow"),
    Column("prepaid", Boolean, nullable=False),
    Column("epoch", WholeColumn, nullable=False),
    Column("price", MoneyColumn(), nullable=False),
    Column("protocol_fee", MoneyColumn(), nullable=False),
    Column("provider_share", MoneyColumn(), nullable=False),
    Column("model_share", MoneyColumn(), nullable=False),
    Column("oracle_share", MoneyColumn(), nullable=False),
    Column("treasury_share", MoneyColumn(), nullable=False, comment="without the protocol fee"),
    Column("burn", MoneyColumn(), nullable=False),
    Column("buyback", MoneyColumn(), nullable=False),
    Column("kept", MoneyColumn(), nullable=False),
    Column("at", String(30), nullable=False),
)

fees_taken = Table(
    "rewards_fees_taken",
    METADATA,
    Column("fees", String(120), primary_key=True),
    Column("reference", String(150), primary_key=True),
    Column("source", String(10), nullable=False),
    Column("asset", String(30), nullable=False),
    Column("amount", MoneyColumn(), nullable=False),
    Column("burn", MoneyColumn(), nullable=False),
    Column("buyback", MoneyColumn(), nullable=False),
    Column("kept", MoneyColumn(), nullable=False),
    Column("epoch", WholeColumn, nullable=False),
    Column("at", String(30), nullable=False),
)

fee_totals = Table(
    "rewards_fee_totals",
    METADATA,
    Column("fees", String(120), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False, index=True),
    Column("kind", String(10), nullable=False, comment="inference, storage, vault or bundle"),
    Column("payee", String(90), nullable=False, index=True),
    Column("asset", String(30), nullable=False),
    Column("receipts", BigInteger, nullable=False),
    Column("price", MoneyColumn(), nullable=False),
    Column("provider_share", MoneyColumn(), nullable=False),
    Column("oracle_share", MoneyColumn(), nullable=False),
    Column("burn", MoneyColumn(), nullable=False),
    Column("buyback", MoneyColumn(), nullable=False),
    Column("kept", MoneyColumn(), nullable=False),
)

fee_sums = Table(
    "rewards_fee_sums",
    METADATA,
    # The same over all epochs: what is earned is the difference to what was earned, so a late fee is not lost.
    Column("fees", String(120), primary_key=True),
    Column("payee", String(90), nullable=False),
    Column("asset", String(30), nullable=False),
    Column("provider_share", MoneyColumn(), nullable=False),
    Column("oracle_share", MoneyColumn(), nullable=False),
    Column("burn", MoneyColumn(), nullable=False),
)

model_totals = Table(
    "rewards_model_totals",
    METADATA,
    Column("fees", String(120), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False, index=True),
    Column("model", String(60), primary_key=True),
    Column("owner", String(42), primary_key=True, comment="empty: in escrow"),
    Column("asset", String(30), nullable=False),
    Column("units", MoneyColumn(), nullable=False),
)

model_sums = Table(
    "rewards_model_sums",
    METADATA,
    Column("fees", String(120), primary_key=True),
    Column("owner", String(42), primary_key=True),
    Column("asset", String(30), nullable=False),
    Column("units", MoneyColumn(), nullable=False),
)

emission = Table(
    "rewards_emission",
    METADATA,
    Column("name", String(20), primary_key=True),
    Column("genesis_at", String(30)),
    Column("year", WholeColumn, nullable=False),
    Column("base", MoneyColumn(), nullable=False),
    Column("minted_in_year", MoneyColumn(), nullable=False),
    Column("minted", MoneyColumn(), nullable=False, comment="ever, into the rewards pool"),
    Column("last_epoch", WholeColumn),
    Column("minted_until", String(30)),
    Column("issued", MoneyColumn(), nullable=False, comment="SPACE units (4 decimals)"),
    Column("burned", MoneyColumn(), nullable=False),
)

supply = Table(
    "rewards_supply",
    METADATA,
    Column("version", BigInteger, primary_key=True, autoincrement=False, comment="of the emission's stream"),
    Column("issued", MoneyColumn(), nullable=False),
    Column("burned", MoneyColumn(), nullable=False),
    Column("at", String(30), nullable=False, index=True),
)

buckets = Table(
    "rewards_buckets",
    METADATA,
    Column("bucket", String(12), primary_key=True),
    Column("share", MoneyColumn(), nullable=False),
    Column("issued", MoneyColumn(), nullable=False),
    Column("set_aside", MoneyColumn(), nullable=False, comment="allotted to grants and not issued"),
)

allotments = Table(
    "rewards_allotments",
    METADATA,
    Column("name", String(60), primary_key=True),
    Column("bucket", String(12), nullable=False),
    Column("amount", MoneyColumn(), nullable=False),
    Column("issued", MoneyColumn(), nullable=False),
    Column("returned", MoneyColumn(), nullable=False),
)

burns = Table(
    "rewards_burns",
    METADATA,
    Column("reference", String(150), primary_key=True),
    Column("source", String(10), nullable=False),
    Column("amount", MoneyColumn(), nullable=False),
    Column("at", String(30), nullable=False),
)

grants = Table(
    "rewards_grants",
    METADATA,
    Column("name", String(60), primary_key=True),
    Column("bucket", String(12), nullable=False),
    Column("beneficiary", String(42), nullable=False),
    Column("total", MoneyColumn(), nullable=False),
    Column("kind", String(10), nullable=False, comment="linear, cliff, milestone or immediate"),
    Column("start", String(30), nullable=False),
    Column("duration_seconds", BigInteger, nullable=False),
    Column("cliff_seconds", BigInteger, nullable=False),
    Column("milestones", Text, nullable=False, comment="JSON list of decimal strings"),
    Column("reached", Text, nullable=False, comment="JSON list of milestones' numbers"),
    Column("released", MoneyColumn(), nullable=False),
    Column("released_at", String(30), comment="the last release"),
    Column("revoked", Boolean, nullable=False),
    Column("returned", MoneyColumn(), nullable=False),
    Column("since", String(30), nullable=False),
)

epochs = Table(
    "rewards_epochs",
    METADATA,
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("state", String(10), nullable=False, index=True, comment="open, closed, published or confirmed"),
    Column("start", String(30), nullable=False),
    Column("until", String(30), nullable=False),
    Column("pool", MoneyColumn()),
    Column("owed", MoneyColumn()),
    Column("positions", BigInteger),
    Column("closed_at", String(30)),
    Column("divided", Boolean, nullable=False),
    Column("root", String(66)),
    Column("totals", Text, comment="JSON object of assets"),
    Column("claims", BigInteger),
    Column("table_digest", String(64)),
    Column("confirmed_by", String(66), comment="transaction"),
    Column("confirmed_in", BigInteger, comment="block"),
)

oracle_pots = Table(
    "rewards_oracle_pots",
    METADATA,
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("asset", String(30), primary_key=True),
    Column("pot", MoneyColumn(), nullable=False),
    Column("carried", MoneyColumn(), nullable=False),
)

oracle_shares = Table(
    "rewards_oracle_shares",
    METADATA,
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("oracle", String(42), primary_key=True),
    Column("asset", String(30), primary_key=True),
    Column("units", MoneyColumn(), nullable=False),
)

yields = Table(
    "rewards_yields",
    METADATA,
    Column("position", String(120), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False, index=True),
    Column("stake", MoneyColumn(), nullable=False),
    Column("base_bp", WholeColumn, nullable=False),
    Column("multiplier", WholeColumn, nullable=False, comment="hundredths"),
    Column("inferences", BigInteger, nullable=False),
    Column("owed", MoneyColumn(), nullable=False),
    Column("paid", MoneyColumn(), comment="null until it is paid"),
    Column("lapsed", MoneyColumn()),
)

paid_ever = Table(
    "rewards_paid",
    METADATA,
    Column("position", String(120), primary_key=True),
    Column("units", MoneyColumn(), nullable=False, comment="that left the rewards pool"),
)

earned = Table(
    "rewards_earned",
    METADATA,
    Column("payee", String(42), primary_key=True),
    Column("asset", String(30), primary_key=True),
    Column("source", String(10), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False, index=True),
    Column("escrow", String(80), primary_key=True, comment="model and epoch of an escrow; else empty"),
    Column("units", MoneyColumn(), nullable=False),
)

earned_sums = Table(
    "rewards_earned_sums",
    METADATA,
    Column("payee", String(42), primary_key=True),
    Column("asset", String(30), primary_key=True),
    Column("source", String(10), primary_key=True, comment="fee, model, oracle, stake or escrow"),
    Column("units", MoneyColumn(), nullable=False),
)

claims = Table(
    "rewards_claims",
    METADATA,
    Column("payee", String(42), primary_key=True),
    Column("asset", String(30), primary_key=True),
    Column("cumulative", MoneyColumn(), nullable=False),
    Column("claimed", MoneyColumn(), nullable=False),
    Column("claimed_at", String(30)),
)

claim_logs = Table(
    "rewards_claim_logs",
    METADATA,
    # What the contract told and was recorded: how far its logs are read.
    Column("payee", String(42), primary_key=True),
    Column("asset", String(30), primary_key=True),
    Column("transaction", String(66), primary_key=True),
    Column("log", WholeColumn, primary_key=True, autoincrement=False),
    Column("block", BigInteger, index=True, comment="null where a person recorded it"),
    Column("units", MoneyColumn(), nullable=False),
)

models = Table(
    "rewards_models",
    METADATA,
    Column("model", String(60), primary_key=True),
    Column("owner", String(42), nullable=False),
    Column("registered_at", String(30), nullable=False, comment="when it first had an owner"),
)

lapsed = Table(
    "rewards_lapsed",
    METADATA,
    Column("model", String(60), primary_key=True),
    Column("epoch", WholeColumn, primary_key=True, autoincrement=False),
    Column("asset", String(30), primary_key=True),
    Column("units", MoneyColumn(), nullable=False),
)

TABLES = (
    fee_splits, fees_taken, fee_totals, fee_sums, model_totals, model_sums, emission, supply, buckets, allotments, burns,
    grants, epochs, oracle_pots, oracle_shares, yields, paid_ever, earned, earned_sums, claims, claim_logs, models,
    lapsed,
)  # fmt: skip
