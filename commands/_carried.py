"""What a command brings along of another context: opened and verified before any rule looks at it."""

from collections.abc import Callable

from contracts import BadRecord, Carried, Record

Stands = Callable[[Record], bool]
"""Whether the store's row at the record's shard and sequence is these bytes, and its source might sign for that stream then."""

NOT_RECORDED = "is what a writer of this network recorded: the store has other bytes there, none, or he was not entitled then"


def opened(carried: Carried, network: str, verify: Callable[[str, bytes, str], bool], stands: Stands) -> Record:
    """The record that was carried: of this network, of a type that may be carried there, signed, and in the store.

    Raises BadRecord, with the record's attribute that is to blame.
    """
    record = carried.record()
    if record.network != network:
        raise BadRecord("network", f"is {network}")
    if not verify(record.source, record.value, carried.signature):
        raise BadRecord("signature", "is the record's source's over these bytes")
    if not stands(record):
        raise BadRecord("value", NOT_RECORDED)
    return record
