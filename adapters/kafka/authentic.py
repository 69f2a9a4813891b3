"""Whether a record on a topic of ours was signed by somebody who may."""

from collections.abc import Collection

import orjson

from adapters.kafka.comparing import Headers, IsAuthentic
from adapters.keys import verify


def signed_by(writers: Collection[str], network: str) -> IsAuthentic:
    """A check that knows these writers of that network and no others. It raises nothing, whatever strangers send."""

    def is_authentic(topic: str, value: bytes | None, headers: Headers) -> bool:
        signatures = [signature for name, signature in headers if name == "signature"]
        if value is None or len(signatures) != 1 or signatures[0] is None:
            return False
        try:
            document = orjson.loads(value)
            writer, shard = document["source"], document["shard"]
            is_ours = writer in writers and document["network"] == network and shard.rpartition("/")[0] == topic
            return bool(is_ours and verify(writer, value, signatures[0].decode("ascii")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

    return is_authentic
