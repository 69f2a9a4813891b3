"""What strangers put on the wire fails in its own place: a batch that cannot be read is passed over, and named.

aiokafka raises from its iterator, and reads the same batch again: a header's name that is not UTF-8, a codec that is not
there, or 200 kB that inflate to 400 MB stopped a partition, and then its neighbours. `guard` changes what every consumer of
this process does. Private methods are used, so tests/adapters/test_decoding.py pins what was read.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records, legacy_records
from aiokafka.structs import ConsumerRecord

MOST_INFLATED_BYTES = 4 * 1024 * 1024
"""What a batch may become: as much as a topic takes of one that is not compressed."""
MOST_RECORD_BYTES = 96 * 1024
"""A record with its key and headers. A document has 60,000 bytes at most: what is larger is not even looked at."""

_Real: Any = fetcher.PartitionRecords


class Inflated(Exception):
    """The batch would take more memory than any of ours does."""


class Unreadable(ConsumerRecord):  # type: ignore[misc]
    """In the place of what could not be read: a record, or the rest of a batch, whose last offset it has. Its value is none."""

    reason: str = ""


def guard() -> None:
    """From now on, for all consumers of this process. May be called again."""
    fetcher.PartitionRecords = _Guarded
    for module in _modules():
        for codec, decode in _DECODERS.items():
            if hasattr(module, codec):
                setattr(module, codec, decode)


class _Guarded(_Real):  # type: ignore[misc]
    def __init__(self, tp: Any, records: Any, *rest: Any) -> None:
        super().__init__(tp, _Noting(records), *rest)

    def _unpack_records(self) -> Iterator[Any]:
        while True:
            before = self._records.batch
            try:
                for record in super()._unpack_records():
                    yield record if _size(record) <= MOST_RECORD_BYTES else self._unreadable(record.offset, _TOO_LARGE, record)
                return
            except Exception as error:
                batch = self._records.batch
                if batch is before or str(error).startswith("Invalid CRC"):
                    # That is the broker's disk or the way from there: the client reads it again.
                    raise
                self.next_fetch_offset = batch.next_offset
                yield self._unreadable(batch.next_offset - 1, _said(error), None)

    def _unreadable(self, offset: int, reason: str, record: Any) -> Unreadable:
        time = (record.timestamp, record.timestamp_type) if record is not None else (0, 0)
        found = Unreadable(self._tp.topic, self._tp.partition, offset, *time, None, None, None, -1, -1, ())
        found.reason = reason
        return found


class _Noting:
    """The batches of a fetch, and which of them was taken last."""

    def __init__(self, records: Any) -> None:
        self._records, self.batch = records, None

    def has_next(self) -> bool:
        found: bool = self._records.has_next()
        return found

    def next_batch(self) -> Any:
        self.batch = self._records.next_batch()
        return self.batch


_TOO_LARGE = f"a record of more than {MOST_RECORD_BYTES} bytes"


def _size(record: Any) -> int:
    size = len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers)


def _said(error: Exception) -> str:
    match error:
        case Inflated():
            return str(error)
        case UnicodeDecodeError():
            return "the name of a header is not UTF-8"
        case CorruptRecordException():
            return "the records of the batch are not of Kafka's form"
        case _:
            return f"the batch cannot be inflated: {type(error).__name__}"


def _gzip(payload: Any) -> bytes:
    found, rest = bytearray(), bytes(payload)
    while rest:
        # A file of gzip may have several members.
        member = zlib.decompressobj(wbits=31)
        found += member.decompress(rest, MOST_INFLATED_BYTES + 1 - len(found))
        if len(found) > MOST_INFLATED_BYTES:
            raise _too_much()
        if not member.eof:
            raise zlib.error("the end is missing")
        rest = member.unused_data
    return bytes(found)


def _into(decompress: Callable[[bytes, bytearray], int]) -> Callable[[Any], bytes]:
    """Into a buffer that is full at the limit."""

    def decode(payload: Any) -> bytes:
        compressed = bytes(payload)
        for size in (min(16 * len(compressed) + 1024, MOST_INFLATED_BYTES), MOST_INFLATED_BYTES):
            buffer = bytearray(size)
            try:
                return bytes(memoryview(buffer)[: decompress(compressed, buffer)])
            except cramjam.DecompressionError as error:
                if "failed to write whole buffer" not in str(error):
                    raise
        raise _too_much()

    return decode


def _snappy(payload: Any) -> bytes:
    whole, found = bytes(payload), bytearray()
    if not whole.startswith(_XERIAL):
        return _snappy_block(whole, 0)
    at = 16
    while at < len(whole):
        size = int.from_bytes(whole[at : at + 4])
        found += _snappy_block(whole[at + 4 : at + 4 + size], len(found))
        at += 4 + size
    return bytes(found)


def _snappy_block(block: bytes, before: int) -> bytes:
    # Its first bytes say how long it will be, and it cannot become longer.
    if cramjam.snappy.decompress_raw_len(block) + before > MOST_INFLATED_BYTES:
        raise _too_much()
    return bytes(cramjam.snappy.decompress_raw(block))


def _too_much() -> Inflated:
    return Inflated(f"a batch that inflates to more than {MOST_INFLATED_BYTES} bytes")


_XERIAL = b"\x82SNAPPY\x00"
_DECODERS: dict[str, Callable[[Any], bytes]] = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _into(cramjam.lz4.decompress_into),
    "zstd_decode": _into(cramjam.zstd.decompress_into),
}


def _modules() -> list[Any]:
    """Those that name the decoders: in C where it was built, and in Python."""
    found: list[Any] = [default_records, legacy_records]
    try:
        from aiokafka.record._crecords import default_records as quick
        from aiokafka.record._crecords import legacy_records as quick_legacy
    except ImportError:
        return found
    return [*found, quick, quick_legacy]
