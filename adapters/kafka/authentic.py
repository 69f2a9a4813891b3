"""Whether a record on a topic of ours was signed by somebody who may."""

from collections.abc import Collection

import orjson

from adapters.kafka.comparing import Headers, IsAuthentic
from adapters.keys import verify
from adapters.vouching import Vouch, vouched_by


def signed(vouch: Vouch) -> IsAuthentic:
    """For events and refusals, of the topic that they name. It raises nothing of what strangers send."""

    def is_authentic(topic: str, value: bytes | None, headers: Headers) -> bool:
        try:
            document = orjson.loads(value or b"")
            is_of_topic = document["shard"].rpartition("/")[0] == topic
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return value is not None and is_of_topic and vouch(document, value, headers)

    return is_authentic


def signed_by(writers: Collection[str], network: str) -> IsAuthentic:
    """The same, where these are the writers for ever."""
    return signed(vouched_by(network, writers, verify))
