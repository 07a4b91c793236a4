"""What an operator can see at ``GET /metrics``, in Prometheus' names and units."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        """Register all metrics."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("cxr_http_requests", "Answered requests.", "route", "method", "status")
        self.key_requests = self._counter(
            "cxr_key_requests", "Answered requests that came with an API key.", "key", "status"
        )
        self.request_seconds = self._histogram(
            "cxr_request_seconds",
            "Time from arrival to answer, of requests that were not refused.",
            _SECONDS_BUCKETS,
            "route",
        )
        self.predictions = self._counter("cxr_predictions", "Answered images.", "label", "format")
        self.rejected = self._counter("cxr_rejected", "Uploads that were not answered with a prediction.", "code")
        self.gate_findings = self._counter(
            "cxr_gate_findings", "Images that the input gate refused or warned about.", "code"
        )
        self.connections = self._gauge("cxr_connections", "Open connections.")
        self.refused_connections = self._counter(
            "cxr_connections_refused",
            "Connections that were ended before a request stood, or without their answer being read.",
            "code",
        )
        self.stage_seconds = self._histogram(
            "cxr_stage_seconds", "Time an upload spent in a stage.", _SECONDS_BUCKETS, "stage"
        )
        self.in_progress = self._gauge("cxr_requests_in_progress", "Admitted requests that are not answered yet.")
        self.queue_limit = self._gauge("cxr_queue_limit", "Most requests that are admitted at a time.")
        self.queue_depth = self._gauge("cxr_queue_depth", "Decoded images that wait for the engine.")
        self.batch_size = self._histogram("cxr_batch_size", "Images a batch.", _BATCH_BUCKETS)
        self.engine_failures = self._counter("cxr_engine_failures", "Calls of the engine that raised.")
        self.decoder_failures = self._counter(
            "cxr_decoder_failures", "Decoders that ended, or gave no answer, and were replaced.", "reason"
        )
        self.ready = self._gauge("cxr_ready", "1 when the model is verified and warmed up.")
        self.model = self._gauge(
            "cxr_model_info", "The served model; always 1.", "name", "version", "digest", "engine", "precision"
        )

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, registry=self.registry)

    def _gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(name, description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, description, labels, buckets=buckets, registry=self.registry)
