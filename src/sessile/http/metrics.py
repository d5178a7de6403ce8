"""``GET /metrics``: figures for Prometheus, read off the parts when they are asked for."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from sessile.http.context import Context


class _Figures(Collector):
    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        registry, feeds = self._context.registry, self._context.feeds
        yield GaugeMetricFamily(
            "sessile_sessions_awake", "Sessions in memory.", value=registry.awake
        )
        yield GaugeMetricFamily(
            "sessile_turns_running", "Turns being answered.", value=registry.running
        )
        yield GaugeMetricFamily(
            "sessile_watchers",
            "Streams and sockets that watch a session.",
            value=feeds.watchers,
        )


class MetricsRoute:
    def __init__(self, context: Context) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(context))
        ProcessCollector(registry=self._registry)

    async def metrics(self, request: Request) -> Response:
        return Response(
            generate_latest(self._registry),
            headers={"content-type": CONTENT_TYPE_LATEST},
        )
