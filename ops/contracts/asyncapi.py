"""AsyncAPI 3: the topics of every context, what is on them, and the envelope in which it stands."""

from collections.abc import Iterator
from typing import Any

from adapters.kafka.topics import STRANGERS_BATCH_BYTES
from contracts import CONTENT_TYPE, MAX_RECORD_BYTES, AtomicText, Command, Did, Digest, Message, StreamName, Uuid, contexts
from contracts import languages as all_messages
from ops.contracts.schemas import unheard
from streams import Collector, all_streams

_TIME = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,6})?Z$"}
_SEQUENCE = {"type": "string", "pattern": "^[0-9]{20}$", "description": "Dense per shard, zero padded, from 0."}
_TITLE = "What is asked of SPACE OS, what happened, and what became of what was asked."

_OUTCOMES = {"Accepted": "The command was decided; the events it caused.", "Refused": "The command changed nothing; why."}


def asyncapi() -> str:
    """The document as YAML."""
    # Only who writes contracts has it; an operator's installation does not need it.
    import yaml  # type: ignore[import-untyped]

    text: str = yaml.dump(_document(), Dumper=_indenting(yaml), sort_keys=False, allow_unicode=True, width=120)
    return f"# Generated from contracts/*.py: spaceos contracts write\n{text}"


def _indenting(yaml: Any) -> Any:
    class Indenting(yaml.SafeDumper):  # type: ignore[misc]
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: ARG002  a list stands in from its key
            return super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  an alias saves bytes and costs the reader a search
            return True

    return Indenting


def _document() -> dict[str, Any]:
    channels = dict(_channels())
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "SPACE OS", "version": "1", "description": _TITLE + " The format: vectors/README.md."},
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": dict(_operation(name) for name in channels),
        "components": {"messages": dict(_messages()), "schemas": _envelopes()},
    }


def _channels() -> Iterator[tuple[str, dict[str, Any]]]:
    for context in contexts():
        said = [cls for cls in all_messages() if cls.wire.context == context]
        commands, events = ([c.wire.type for c in said if issubclass(c, Command) is wanted] for wanted in (True, False))
        if commands:
            yield _channel(f"{context}.commands", commands, "What is asked. The worker answers on the outcomes.")
        if events:
            yield _channel(f"{context}.events", events, "What happened, in the order in which it was decided.")
        if commands:
            outcomes = [f"{context}.Accepted", f"{context}.Refused"]
            yield _channel(f"{context}.outcomes", outcomes, "What became of each command, under the command's key.")
    for topic in _raw_topics():
        types = [cls.wire.type for cls in unheard() if cls.wire.context == topic.partition(".")[0]]
        yield _channel(topic, types, "Signed facts on which no rule is decided one by one; a collector records them.")


def _raw_topics() -> list[str]:
    return sorted({stream.topic for stream in all_streams(_AnyWorld()) if isinstance(stream, Collector)})


class _AnyWorld:
    network = "any"
    outside = None

    def verify(self, did: str, value: bytes, signature: str) -> bool:
        raise NotImplementedError


def _channel(name: str, types: list[str], description: str) -> tuple[str, dict[str, Any]]:
    # What is published is the worker's alone to write, and its batches are no client's business.
    is_open = not name.endswith((".events", ".outcomes"))
    bounds = {"topicConfiguration": {"max.message.bytes": STRANGERS_BATCH_BYTES}} if is_open else {}
    return name, {
        "address": name,
        "description": description,
        "messages": {kind.rpartition(".")[2]: {"$ref": f"#/components/messages/{kind}"} for kind in types},
        "bindings": {"kafka": {"topic": name, **bounds, "bindingVersion": "0.5.0"}},
    }


def _operation(channel: str) -> tuple[str, dict[str, Any]]:
    is_ours = channel.endswith((".events", ".outcomes"))
    return f"{'publish' if is_ours else 'read'}-{channel}", {
        "action": "send" if is_ours else "receive",
        "channel": {"$ref": f"#/channels/{channel}"},
    }


def _messages() -> Iterator[tuple[str, dict[str, Any]]]:
    for cls in [*all_messages(), *unheard()]:
        yield cls.wire.type, _message(cls)
    for context in contexts():
        for name, summary in _OUTCOMES.items():
            yield f"{context}.{name}", _in_envelope("Outcome", f"{context}.{name}", 1, summary)


def _message(cls: type[Message]) -> dict[str, Any]:
    envelope = "Command" if issubclass(cls, Command) else "Event"
    message = _in_envelope(envelope, cls.wire.type, cls.wire.version, (cls.__doc__ or "").strip().partition("\n")[0])
    if envelope == "Command":
        message["x-roles"], message["x-stream"] = list(cls.wire.roles), f"{cls.wire.stream}/<id>"
    return message


def _in_envelope(envelope: str, name: str, version: int, summary: str) -> dict[str, Any]:
    says = {"type": {"const": name}, "dataschema": {"const": f"urn:spaceos:{name}:{version}"}}
    data = {"$ref": f"./schemas/{name}.{version}.json"}
    return {
        "name": name,
        **({"summary": summary} if summary else {}),
        "contentType": CONTENT_TYPE,
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {
            "allOf": [{"$ref": f"#/components/schemas/{envelope}"}, {"properties": {**says, "data": data}}],
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": "The subject."}, "bindingVersion": "0.5.0"}},
    }


def _envelopes() -> dict[str, Any]:
    common = {
        "specversion": {"const": "1.0"},
        "id": _text(Uuid, "With `source` the idempotency key of a command; derived for events and outcomes."),
        "source": _text(Did, "Who signs."),
        "type": {"type": "string"},
        "subject": _text(StreamName, "The stream; also the Kafka key."),
        "time": {**_TIME, "description": "The signer's clock; the store's for events and outcomes."},
        "dataschema": {"type": "string"},
        "network": {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,39}$"},
    }
    data: dict[str, Any] = {"data": {"type": "object"}}
    caused = {"correlationid": {"type": "string"}, "causationid": {"type": "string"}}
    placed = {"shard": {"type": "string"}, "sequence": _SEQUENCE}
    linked = {
        "streamversion": {"type": "integer", "minimum": 1},
        "prevhash": _text(Digest, "SHA-256 of the value before in the shard; zeros for the first."),
        "actor": _text(Did, "Who signed the command."),
        "commandhash": _text(Digest, "SHA-256 of the command's value."),
    }
    asked = {
        "expires": _TIME,
        "correlationid": _text(Uuid, ""),
        "causationid": _text(Uuid, ""),
        "streamversion": {"type": "integer", "minimum": 0, "description": "The version that the stream is expected to have."},
        "datacontenttype": {"const": "application/json"},
    }
    return {
        "Command": _envelope({**common, **asked, **data}, set(asked), "Signed by whoever asks."),
        "Event": _envelope({**common, **caused, **placed, **linked, **data}, set(), "Signed by the writer."),
        "Outcome": _envelope(
            {**common, **caused, **placed, "actor": {"type": "string"}, **data}, set(), "Signed by the writer where it refuses."
        ),
        "Headers": {
            "type": "object",
            "properties": {
                "content-type": {"const": CONTENT_TYPE},
                "signature": {"type": "string", "pattern": "^(ed25519:[A-Za-z0-9_-]{86}|eip191:0x[0-9a-f]{130})$"},
                "traceparent": {"type": "string", "description": "W3C Trace Context of this hop; not signed."},
            },
        },
    }


def _envelope(properties: dict[str, Any], optional: set[str], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"{description} UTF-8 JSON, at most {MAX_RECORD_BYTES} bytes.",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _text(kind: type[AtomicText], description: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string", "pattern": kind.pattern, "maxLength": kind.max_length}
    return {**found, "description": description} if description else found
