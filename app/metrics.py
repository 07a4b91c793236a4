"""What an operator can see at ``GET /metrics``, in Prometheus' names and units."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_STAGE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        """Register all metrics."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "cxr_http_requests", "Answered requests.", ["route", "method", "status"], registry=self.registry
        )
        self.predictions = Counter("cxr_predictions", "Answered images.", ["label", "format"], registry=self.registry)
        self.rejected = Counter(
            "cxr_rejected", "Uploads that were not answered with a prediction.", ["code"], registry=self.registry
        )
        self.stage_seconds = Histogram(
            "cxr_stage_seconds",
            "Time an upload spent in a stage.",
            ["stage"],
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.in_progress = Gauge("cxr_uploads_in_progress", "Uploads being read or answered.", registry=self.registry)
        self.ready = Gauge("cxr_ready", "1 when the model is verified and warmed up.", registry=self.registry)
        self.model = Gauge(
            "cxr_model_info",
            "The served model; always 1.",
            ["name", "version", "digest", "engine", "precision"],
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
