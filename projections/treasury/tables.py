"""Treasury's tables. Coins are counted in their own units (18 decimals), bank money in cents."""

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, Text

from projections import METADATA, MoneyColumn, WholeColumn

coins = Table(
    "treasury_coins",
    METADATA,
    Column("coin", String(30), primary_key=True),
    Column("supply", MoneyColumn(), nullable=False, comment="with the mints in flight"),
    Column("in_flight", MoneyColumn(), nullable=False),
    Column("reserves", MoneyColumn(), nullable=False, comment="cents"),
    Column("bank", MoneyColumn(), nullable=False, comment="cents, as attested"),
    Column("owed", MoneyColumn(), nullable=False, comment="cents, as attested"),
    Column("as_of", String(30)),
    Column("statement", String(64)),
    Column("paused", Boolean, nullable=False),
    Column("pause_cause", String(100)),
    Column("resume_approved_by", String(90)),
    # When minting may have become possible again: attested, resumed, or a minter configured.
    Column("turn", BigInteger, nullable=False, comment="version of the stream"),
    Column("turned", String(30), nullable=False),
    Column("since", String(30), nullable=False),
)

minters = Table(
    "treasury_minters",
    METADATA,
    Column("coin", String(30), primary_key=True),
    Column("minter", String(90), primary_key=True),
    Column("allowance", MoneyColumn(), nullable=False, comment="what is left"),
    Column("removed", Boolean, nullable=False),
)

mint_burn_log = Table(
    "treasury_mint_burn_log",
    METADATA,
    # Append only: a row is one event and never changes.
    Column("coin", String(30), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False, comment="of the coin's stream"),
    Column("kind", String(10), nullable=False, comment="minted, confirmed, failed or burned"),
    Column("units", MoneyColumn(), nullable=False),
    Column("reference", String(200), nullable=False),
    Column("actor", String(90), nullable=False),
    Column("transaction", String(66)),
    Column("block", BigInteger),
    Column("supply", MoneyColumn(), nullable=False),
    Column("reserves", MoneyColumn(), nullable=False, comment="cents"),
    Column("shard", String(80), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("prevhash", String(64), nullable=False),
    Column("event", String(36), nullable=False),
    Column("at", String(30), nullable=False, index=True),
)

mints = Table(
    "treasury_mints",
    METADATA,
    Column("coin", String(30), primary_key=True),
    Column("reference", String(200), primary_key=True),
    Column("state", String(10), nullable=False, index=True, comment="in_flight, confirmed or failed"),
    Column("units", MoneyColumn(), nullable=False),
    Column("to", String(42), nullable=False),
    Column("minter", String(90), nullable=False),
    Column("transaction", String(66)),
    Column("block", BigInteger),
    Column("failures", WholeColumn, nullable=False),
    Column("event", String(36), nullable=False, comment="the last Minted"),
    Column("minted", String(30), nullable=False),
    Column("since", String(30), nullable=False),
)

backings = Table(
    "treasury_backings",
    METADATA,
    Column("coin", String(30), primary_key=True),
    Column("reference", String(200), primary_key=True),
    Column("received", MoneyColumn(), nullable=False, comment="cents"),
    Column("written_down", MoneyColumn(), nullable=False, comment="cents"),
    Column("since", String(30), nullable=False),
)

burns = Table(
    "treasury_burns",
    METADATA,
    Column("coin", String(30), primary_key=True),
    Column("withdrawal", String(110), primary_key=True),
    Column("units", MoneyColumn(), nullable=False),
    Column("payout", MoneyColumn(), nullable=False, comment="cents"),
    Column("transaction", String(66), nullable=False),
    Column("at", String(30), nullable=False),
)

deposits = Table(
    "treasury_deposits",
    METADATA,
    Column("deposit", String(120), primary_key=True),
    Column("rail", String(20), nullable=False),
    Column("reference", String(98), nullable=False),
    Column("state", String(10), nullable=False, index=True, comment="observed, settled, issued or closed"),
    Column("asset", String(30), nullable=False),
    Column("amount", MoneyColumn(), nullable=False, comment="cents, as all that follows"),
    Column("net", MoneyColumn(), nullable=False),
    Column("fee", MoneyColumn(), nullable=False),
    Column("refunded", MoneyColumn(), nullable=False),
    Column("lost", MoneyColumn(), nullable=False),
    Column("left", MoneyColumn(), nullable=False, comment="less than nothing where the rail's fee was lost too"),
    Column("disputes_open", WholeColumn, nullable=False),
    Column("owner", String(100), index=True),
    Column("to", String(42)),
    Column("booked_at", String(30), nullable=False),
    Column("value_date", String(30), nullable=False),
    Column("available_on", String(30)),
    Column("issued", String(200), comment="the mint's reference"),
    Column("event", String(36), nullable=False, comment="the last"),
    Column("since", String(30), nullable=False),
)

refunds = Table(
    "treasury_refunds",
    METADATA,
    Column("deposit", String(120), primary_key=True),
    Column("reference", String(200), primary_key=True),
    Column("asset", String(30), nullable=False),
    Column("amount", MoneyColumn(), nullable=False, comment="cents"),
    Column("settled", Boolean, nullable=False, comment="the bank had booked the deposit"),
    Column("event", String(36), nullable=False),
    Column("at", String(30), nullable=False),
)

disputes = Table(
    "treasury_disputes",
    METADATA,
    Column("deposit", String(120), primary_key=True),
    Column("dispute", String(98), primary_key=True),
    Column("state", String(10), nullable=False, index=True, comment="open, won or lost"),
    Column("amount", MoneyColumn(), nullable=False),
    Column("issued", Boolean, nullable=False, comment="coins had been issued when it was lost"),
    Column("event", String(36), nullable=False),
    Column("since", String(30), nullable=False),
)

withdrawals = Table(
    "treasury_withdrawals",
    METADATA,
    Column("withdrawal", String(120), primary_key=True),
    Column("account", String(100), nullable=False, index=True),
    Column("state", String(12), nullable=False, index=True),
    Column("coin", String(30), nullable=False),
    Column("units", MoneyColumn(), nullable=False),
    Column("payout", MoneyColumn(), nullable=False, comment="cents"),
    Column("destination", Text, nullable=False, comment="sealed, JSON"),
    Column("command", String(36), nullable=False, comment="that the destination is sealed for"),
    Column("destination_digest", String(64), nullable=False, index=True),
    Column("requested_by", String(90), nullable=False),
    Column("requested", String(30), nullable=False),
    Column("wallet", String(42)),
    Column("escrow", String(66), comment="its transaction"),
    Column("escrowed", String(30)),
    Column("usd_cents", BigInteger),
    Column("reasons", Text, nullable=False, comment="JSON list"),
    Column("route", String(10)),
    Column("approvals", WholeColumn, nullable=False),
    Column("review_since", String(30)),
    Column("rail", String(20)),
    Column("attempt", WholeColumn, nullable=False),
    Column("key", String(120), comment="under which the bank is told"),
    Column("bank_reference", String(98)),
    Column("returned", String(30)),
    Column("return_reason", String(100)),
    Column("may_retry", Boolean, nullable=False),
    Column("event", String(36), nullable=False, comment="the last"),
    Column("since", String(30), nullable=False),
)

reviews = Table(
    "treasury_reviews",
    METADATA,
    Column("event", String(36), primary_key=True),
    Column("withdrawal", String(120), nullable=False, index=True),
    Column("verdict", String(7), nullable=False),
    Column("reviewed_by", String(90), nullable=False),
    Column("person", String(90), nullable=False),
    Column("at", String(30), nullable=False),
)

outflow = Table(
    "treasury_outflow",
    METADATA,
    Column("withdrawal", String(120), primary_key=True),
    Column("usd_cents", BigInteger, nullable=False),
    Column("reviewed", Boolean, nullable=False),
    Column("at", String(30), nullable=False, index=True),
    Column("window_usd_cents", BigInteger, nullable=False),
    Column("released", String(30)),
    Column("event", String(36), nullable=False),
)

accounts = Table(
    "treasury_accounts",
    METADATA,
    Column("account", String(140), primary_key=True, comment="owner, dot, asset"),
    Column("owner", String(100), nullable=False, index=True),
    Column("asset", String(30), nullable=False),
    Column("posted", MoneyColumn(), nullable=False),
    Column("held", MoneyColumn(), nullable=False),
    Column("frozen", MoneyColumn(), nullable=False),
    Column("since", String(30), nullable=False),
)

holds = Table(
    "treasury_holds",
    METADATA,
    Column("account", String(140), primary_key=True),
    Column("hold", String(120), primary_key=True),
    Column("state", String(10), nullable=False, index=True, comment="open, captured, released or expired"),
    Column("units", MoneyColumn(), nullable=False),
    Column("captured", MoneyColumn(), nullable=False),
    Column("purpose", String(300), nullable=False, index=True),
    Column("expires_at", String(30), nullable=False),
    Column("counter", String(200)),
    Column("held_by", String(90), nullable=False),
    Column("event", String(36), nullable=False, comment="the Held"),
    Column("at", String(30), nullable=False),
    Column("since", String(30), nullable=False),
    # What was captured for something, in the order of time.
    Index("ix_treasury_holds_taken", "counter", "since"),
)

held_records = Table(
    "treasury_held_records",
    METADATA,
    Column("account", String(140), primary_key=True),
    Column("hold", String(120), primary_key=True),
    Column("event", String(36), nullable=False, comment="the Held"),
    Column("value", Text, nullable=False, comment="as it was signed"),
    Column("signature", String(200), nullable=False),
    comment="What other contexts' commands carry: the records of holds that are open and whose purpose names a stream.",
)

freezes = Table(
    "treasury_freezes",
    METADATA,
    Column("account", String(140), primary_key=True),
    Column("cause", String(200), primary_key=True),
    Column("units", MoneyColumn(), nullable=False),
    Column("at", String(30), nullable=False),
    Column("lifted", String(30)),
)

reconciliations = Table(
    "treasury_reconciliations",
    METADATA,
    Column("coin", String(30), primary_key=True),
    Column("slot", String(80), primary_key=True),
    Column("block", BigInteger, nullable=False),
    Column("bank", MoneyColumn(), nullable=False, comment="cents"),
    Column("owed", MoneyColumn(), nullable=False, comment="cents"),
    Column("evm_supply", MoneyColumn(), nullable=False),
    Column("native_supply", MoneyColumn(), nullable=False, comment="4 decimals"),
    Column("native_locked", MoneyColumn(), nullable=False, comment="4 decimals"),
    Column("in_flight", MoneyColumn(), nullable=False),
    Column("books_supply", MoneyColumn(), nullable=False),
    Column("surplus", MoneyColumn(), nullable=False),
    Column("at", String(30), nullable=False, index=True),
)

breaks = Table(
    "treasury_breaks",
    METADATA,
    Column("coin", String(30), primary_key=True),
    Column("break_id", String(120), primary_key=True),
    Column("slot", String(80), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("units", MoneyColumn(), nullable=False),
    Column("found", String(30), nullable=False),
    Column("explanation", Text),
    Column("closed_by", String(90)),
    Column("closed", String(30)),
)

adjustments = Table(
    "treasury_adjustments",
    METADATA,
    Column("adjustment", String(120), primary_key=True),
    Column("lines", Text, nullable=False, comment="JSON list"),
    Column("reason", Text, nullable=False),
    Column("proposed_by", String(90), nullable=False),
    Column("proposed", String(30), nullable=False),
    Column("approved_by", String(90)),
    Column("approved", String(30)),
)

TABLES = (
    coins, minters, mint_burn_log, mints, backings, burns, deposits, refunds, disputes, withdrawals, reviews, outflow,
    accounts, holds, freezes, reconciliations, breaks, adjustments,
)  # fmt: skip
