"""That an export was made, as a command says it: an analyst's reading is a fact of the log too."""

from hashlib import sha256

import orjson

from adapters.parquet import Manifest
from contracts import Digest
from contracts.operations import ExportRecords
from ops.replay.answering import places


def command_of(manifest: Manifest, log_size: int) -> ExportRecords:
    """`log_size` is that of the audit log then. The filter's digest is over `begin`, `types` and `values` as sorted JSON."""
    begin = {shard: stretch.start for shard, stretch in manifest.cut.items()}
    asked = {"begin": begin, "types": manifest.types, "values": manifest.values}
    return ExportRecords(
        filter_digest=Digest(sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()),
        cut=places({shard: stretch.end for shard, stretch in manifest.cut.items()}),
        files=len(manifest.files), log_size=log_size, values=manifest.values,
    )  # fmt: skip
