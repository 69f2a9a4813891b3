"""What is measured and traced, with OpenTelemetry: names, units and meanings stand here and nowhere else.

Without an SDK that `ops` sets up, every call is OpenTelemetry's own no-op. No attribute ever holds content: names of
readers, topics and partitions only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.trace import Link, NonRecordingSpan, ProxyTracerProvider, Span, SpanContext, SpanKind, TraceFlags

INSTRUMENTATION: Final = "spaceos"
LINKS: Final = 32
"""Of one chunk's span. More than a person looks at costs more than it tells."""

APPLIED = ("spaceos.reader.events", "{event}", "Events that a reader made durable")
PARKED = ("spaceos.reader.parked", "{event}", "Events that a reader parked, with those behind them")
RETRIES = ("spaceos.reader.retries", "{attempt}", "Attempts that the world did not answer")
GAPS = ("spaceos.reader.gaps", "{gap}", "Chunks that did not continue the position")
CHUNK = ("spaceos.reader.chunk.size", "{event}", "Events of a chunk that were applied together")
SECONDS = ("spaceos.reader.chunk.duration", "s", "From taking a chunk to its commit")
DELAY = ("spaceos.reader.delay", "s", "From the time of a chunk's last record to its commit")
FOLDED = ("spaceos.reader.fold.events", "{event}", "Events that a reader folded, one of a set")
FOLD_SECONDS = ("spaceos.reader.fold.duration", "s", "Time that a reader took to fold, all in all")
STRANGERS = ("spaceos.reader.strangers", "{record}", "Records that were passed over: nobody entitled had signed them")
LAG_EVENTS = ("spaceos.reader.lag", "{record}", "Records of a partition that are published and not applied")
LAG_SECONDS = ("spaceos.reader.lag.time", "s", "Age of the last applied record, where others wait; otherwise 0")

DECIDED = ("spaceos.worker.commands", "{command}", "Commands that were decided and are durable, by what became of them")
REFUSED = ("spaceos.worker.refusals", "{command}", "Refused commands, by the refusal's name")
BATCH = ("spaceos.worker.batch.size", "{command}", "Commands of one transaction")
BATCH_SECONDS = ("spaceos.worker.batch.duration", "s", "From the poll's return to the commit")
PUBLISHED = ("spaceos.publisher.published", "{record}", "Events and outcomes that the broker acknowledged")
UNPUBLISHED = ("spaceos.publisher.lag", "{record}", "Records of this worker's shards that are stored and not published yet")

_FAST_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

Named = tuple[str, str, str]


@cache
def counter(metric: Named) -> metrics.Counter:
    """Counts up."""
    name, unit, meaning = metric
    return metrics.get_meter(INSTRUMENTATION).create_counter(name, unit, meaning)


@cache
def histogram(metric: Named) -> metrics.Histogram:
    """A distribution; its buckets follow from its unit."""
    name, unit, meaning = metric
    bounds = _FAST_SECONDS if unit == "s" else _SIZES
    meter = metrics.get_meter(INSTRUMENTATION)
    return meter.create_histogram(name, unit, meaning, explicit_bucket_boundaries_advisory=bounds)


@cache
def gauge(metric: Named) -> Any:
    """The last value."""
    name, unit, meaning = metric
    return metrics.get_meter(INSTRUMENTATION).create_gauge(name, unit, meaning)


def observe_folds(totals: Callable[[], Mapping[str, tuple[int, float]]]) -> None:
    """Tell what each reader of this process has folded, whenever somebody asks: events and seconds, by reader."""

    def seen(which: int) -> Callable[[metrics.CallbackOptions], Iterator[metrics.Observation]]:
        def observe(_: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
            for reader, total in totals().items():
                yield metrics.Observation(total[which], {"reader": reader})

        return observe

    for which, (name, unit, meaning) in enumerate((FOLDED, FOLD_SECONDS)):
        metrics.get_meter(INSTRUMENTATION).create_observable_counter(name, [seen(which)], unit, meaning)


def passed_over(reader: str, shard: str, records: int) -> None:
    """Nobody entitled had signed them."""
    counter(STRANGERS).add(records, {"reader": reader, "shard": shard})


class WorkerTelemetry:
    """What a command worker tells."""

    def committed(self, accepted: int, refusals: Sequence[str], seconds: float) -> None:
        """A batch is durable; `refusals` are the names of its refused commands'."""
        counter(DECIDED).add(accepted, {"outcome": "accepted"})
        histogram(BATCH).record(accepted + len(refusals))
        histogram(BATCH_SECONDS).record(seconds)
        if refusals:
            counter(DECIDED).add(len(refusals), {"outcome": "refused"})
            for name in set(refusals):
                counter(REFUSED).add(refusals.count(name), {"refusal": name})


class PublisherTelemetry:
    """What the publisher of a worker's shards tells."""

    def published(self, records: int, waiting: int) -> None:
        """So many were acknowledged, so many wait."""
        if records:
            counter(PUBLISHED).add(records)
        gauge(UNPUBLISHED).set(waiting)


def is_sampled(traceparent: str | None) -> bool:
    """Whether somebody keeps the trace."""
    return traceparent is not None and traceparent[-1:] in "13579bdf"


def start_decision(traceparent: str, kind: str) -> tuple[Span, str]:
    """A span that continues the client's, and the trace context that the event carries on."""
    _, trace_id, span_id, _ = traceparent.split("-")
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(1))
    context = trace.set_span_in_context(NonRecordingSpan(remote))
    attributes = {"spaceos.command": kind}
    span = trace.get_tracer(INSTRUMENTATION).start_span("decide", context, SpanKind.CONSUMER, attributes)
    mine = span.get_span_context()
    return span, f"00-{mine.trace_id:032x}-{mine.span_id:016x}-01"


class ReaderTelemetry:
    """What one reader of a group tells, which may be a set of them."""

    def __init__(self, reader: str) -> None:
        self._reader = reader

    def applied(self, events: int, parked: int, seconds: float, last_time: str) -> None:
        """A chunk was made durable; `last_time` is its last record's, RFC 3339."""
        mine = {"reader": self._reader}
        counter(APPLIED).add(events, mine)
        histogram(CHUNK).record(events, mine)
        histogram(SECONDS).record(seconds, mine)
        if parked:
            counter(PARKED).add(parked, mine)
        if last_time:
            histogram(DELAY).record(seconds_since(last_time), mine)

    def retried(self) -> None:
        counter(RETRIES).add(1, {"reader": self._reader})

    def met_gap(self, shard: str) -> None:
        counter(GAPS).add(1, {"reader": self._reader, "shard": shard})

    def lags(self, shard: str, records: int, last_time: str) -> None:
        """So many records of the shard are published and not applied."""
        where = {"reader": self._reader, "shard": shard}
        gauge(LAG_EVENTS).set(records, where)
        gauge(LAG_SECONDS).set(seconds_since(last_time) if records and last_time else 0.0, where)

    @contextmanager
    def applying(self, records: Iterable[Any]) -> Iterator[None]:
        """A span for a chunk, linked to those of its records that are sampled."""
        if isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
            yield
            return
        tracer = trace.get_tracer(INSTRUMENTATION)
        attributes = {"spaceos.reader": self._reader}
        with tracer.start_as_current_span("apply", kind=SpanKind.CONSUMER, links=_links(records), attributes=attributes):
            yield


def seconds_since(time: str) -> float:
    """Since an RFC 3339 time; at least 0, because clocks differ."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())


def traceparent_of(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """The W3C trace context that came with a record, if there is one."""
    for name, value in headers:
        if name == "traceparent" and value:
            return value.decode("ascii", "replace")
    return None


def _links(records: Iterable[Any]) -> list[Link]:
    found: dict[str, Link] = {}
    for record in records:
        traceparent = traceparent_of(record.headers)
        # 00-<trace id>-<span id>-<flags>; the lowest bit of the flags says that somebody keeps the trace.
        if traceparent and traceparent not in found and traceparent[-1:] in "13579bdf" and len(found) < LINKS:
            try:
                _, trace_id, span_id, _ = traceparent.split("-")
                context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(1))
            except ValueError:
                continue
            found[traceparent] = Link(context)
    return list(found.values())
