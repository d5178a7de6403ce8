"""What operators ask: whether the server is alive, what it is, and its figures for Prometheus."""

from collections.abc import Iterator
from importlib.metadata import version

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request

from sessile.http.access import Access
from sessile.http.context import Context
from sessile.http.operations import operation
from sessile.http.responses import JSONResponse, Response
from sessile.wire.errors import HostNotAllowed, OriginNotAllowed, ShuttingDown, StoreUnavailable

FEATURES = ("continue", "fork", "import", "questions", "search", "websocket")


class Info(Struct, rename="camel"):
    """What a client may want to know of the server before it does anything.

    ``store_id`` tells the store from all others: what a client keeps of one server is not for
    another that listens at the same address.
    """

    name: str
    version: str
    store_id: str
    features: tuple[str, ...]


class OperatingRoutes:
    """Whether the server is alive, whether it can work, and what it is."""

    def __init__(self, context: Context) -> None:
        self._access = context.access
        self._version = version("sessile")
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(context.access))
        ProcessCollector(registry=self._registry)

    @operation("GET", "/info", Info, errors=[HostNotAllowed], tag="operating")
    async def info(self, request: Request) -> Response:
        """What this server is."""
        return JSONResponse(Info("sessile", self._version, self._access.store_id, FEATURES))

    @operation("GET", "/healthz", dict[str, str], errors=[OriginNotAllowed], tag="operating")
    async def healthz(self, request: Request) -> Response:
        """Whether it is alive."""
        return JSONResponse({"status": "ok"})

    @operation(
        "GET",
        "/readyz",
        dict[str, str],
        errors=[OriginNotAllowed, StoreUnavailable, ShuttingDown],
        tag="operating",
    )
    async def readyz(self, request: Request) -> Response:
        """Whether it can work: it does not shut down, and store and bus answer."""
        await self._access.check()
        return JSONResponse({"status": "ok"})

    @operation("GET", "/metrics", "text/plain", errors=[OriginNotAllowed], tag="operating")
    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus."""
        return Response(
            generate_latest(self._registry),
            headers={"content-type": CONTENT_TYPE_LATEST},
        )


class _Figures(Collector):
    """Reads the figures when they are asked for."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def collect(self) -> Iterator[Metric]:
        figures = self._access.figures()
        for name, help, value in (
            ("sessions_awake", "Sessions in memory.", figures.awake),
            ("turns_running", "Turns being answered.", figures.running),
            ("watchers", "Streams and sockets that watch a session.", figures.watchers),
            ("sessions_unreadable", "Damaged sessions found in the store.", figures.unreadable),
        ):
            yield GaugeMetricFamily(f"sessile_{name}", help, value=value)
