"""Where measurements and traces go: Prometheus reads them from a port, traces go to a collector or into a file."""

import os
from collections.abc import Sequence
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes
from prometheus_client import start_http_server

from ops.settings import Settings

OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""OpenTelemetry's own variable: where a collector listens."""
TRACES = "SPACEOS_TRACES"
"""A folder for traces as JSON lines, a file a process, where there is no collector."""


def set_up(process: str, settings: Settings) -> None:
    """Serve metrics and export traces as the settings say; otherwise every measurement is a no-op."""
    resource = Resource.create({"service.name": f"spaceos-{process}"})
    if settings.metrics_port is not None:
        metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()], resource))
        start_http_server(settings.metrics_port, "127.0.0.1")
    if OTLP in os.environ or TRACES in os.environ:
        provider = TracerProvider(sampler=_WhereItBegan(), resource=resource)
        provider.add_span_processor(BatchSpanProcessor(_exporter(process)))
        trace.set_tracer_provider(provider)


class _WhereItBegan(Sampler):
    """Whether a trace is kept is decided where it begins: a span is kept whose parent is, or one of those that it links to."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        is_linked = any(link.context.trace_flags.sampled for link in links or ())
        chosen = ALWAYS_ON if is_linked else ParentBased(ALWAYS_OFF)
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return "WhereItBegan"


def _exporter(process: str) -> "ConsoleSpanExporter":
    if OTLP in os.environ:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()  # type: ignore[return-value]
    folder = Path(os.environ[TRACES])
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{process}-{os.getpid()}.jsonl").open("a", buffering=1)
    return ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
