"""The measured works: each server that supports a work runs it in turn, several times."""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct
from websockets.sync.client import connect

from bench.load import (
    Fanout,
    Load,
    body_of,
    closed_loop,
    fan_out,
    form,
    get,
    open_socket,
    post,
)
from bench.seed import seed
from bench.servers import Peer, Raw, Reference, Server, Sessile

ONE_WORD = "x" * 40
TWENTY_WORDS = " ".join(f"word{index}" for index in range(20))
LONG_TOKENS = 5_000
LONG = "word " * LONG_TOKENS
USER = b'"role":"user"'


class Figure(Struct):
    """One cell: the values of one server and work in each round. ``extra`` has p50 and p99 in
    milliseconds, and the share of time in which the load ran."""

    work: str
    case: str
    server: str
    unit: str
    values: list[float]
    extra: dict[str, float] = {}

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Sizes(NamedTuple):
    """How much of each is measured; seconds are of each measurement."""

    rounds: int = 5
    seconds: float = 1.5
    clients: Sequence[int] = (1, 16, 64, 256)
    sessions: int = 1_000
    pages: Sequence[int] = (100, 10_000, 1_000_000)
    sockets: Sequence[int] = (10, 100, 1_000)
    frames: int = 60_000  # delivered in one measurement of a fan-out
    answers: int = 64  # of LONG_TOKENS each
    idle: int = 5_000
    touched: int = 10_000


QUICK = Sizes(1, 0.2, (1, 16), 20, (100, 1_000), (10,), 600, 4, 50, 50)


class Bench:
    """Runs works and keeps their figures."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.sizes = sizes
        self.figures: list[Figure] = []
        self._folder = folder
        self._count = 0

    # One cell -----------------------------------------------------------------------------------

    def compare(
        self,
        work: str,
        case: str,
        servers: Sequence[Server],
        measure: Callable[[Server], tuple[float, dict[str, float]]],
        unit: str,
    ) -> None:
        """Measure each server in turn in every round, with the others stopped."""
        figures = {s.name: Figure(work, case, s.name, unit, []) for s in servers}
        extras: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
        for round in range(self.sizes.rounds):
            turn = round % len(servers)
            for server in [*servers[turn:], *servers[:turn]]:
                others = [other for other in servers if other is not server]
                for other in others:
                    other.pause()
                value, extra = measure(server)
                for other in others:
                    other.resume()
                figures[server.name].values.append(value)
                extras[server.name].append(extra)
        for name, figure in figures.items():
            for key in extras[name][0]:
                figure.extra[key] = statistics.median(extra[key] for extra in extras[name])
            self._add(figure)

    def _add(self, figure: Figure) -> None:
        self.figures.append(figure)
        shown = " ".join(f"{value:.4g}" for value in figure.values)
        extra = " ".join(f"{key} {value:.3g}" for key, value in figure.extra.items())
        print(f"{figure.work}, {figure.case}: {figure.server}: {shown} {figure.unit}  {extra}")

    def _place(self, name: str) -> Path:
        self._count += 1
        return self._folder / f"{self._count}-{name}"

    def _sessile(self, *flags: str) -> Sessile:
        return Sessile(self._place("sessile"), *flags)

    def _reference(self) -> Reference:
        return Reference(self._place("reference"))

    def _raw(self, name: str = "ceiling") -> Raw:
        return Raw(self._place("ceiling"), name)

    # Works --------------------------------------------------------------------------------------

    def turns(self) -> None:
        """Whole turns, from the POST to the end of its stream."""
        sizes = self.sizes
        with self._reference() as reference, self._sessile() as sessile, self._raw() as raw:
            whole = self._raw("ceiling, one write")
            with whole:
                for events, content in ((2, ONE_WORD), (20, TWENTY_WORDS)):
                    stream = recorded(sessile, content)
                    tell(raw, stream=stream)
                    tell(whole, stream=["".join(stream)])
                    servers: list[Server] = [reference, sessile, raw]
                    if events == 20:  # the reference has no such turn
                        servers = [sessile, raw, whole]
                    for sessions in (sizes.sessions, 1):
                        for server in servers:
                            warm = requests(f"warm{sessions}", sessions, content)
                            closed_loop(server.port, itertools.islice(warm, sessions), 16)
                        for clients in sizes.clients:
                            self._turns(servers, events, sessions, clients, content)

    def _turns(
        self, servers: Sequence[Server], events: int, sessions: int, clients: int, content: str
    ) -> None:
        def measure(server: Server) -> tuple[float, dict[str, float]]:
            asked = requests(f"warm{sessions}", sessions, content)
            return report(closed_loop(server.port, asked, clients, self.sizes.seconds))

        where = "one session" if sessions == 1 else f"{sessions:,} sessions"
        self.compare(
            f"turns, {events} events", f"{clients} at once, {where}", servers, measure, "/s"
        )

    def new_sessions(self) -> None:
        """The first message of new sessions."""
        fresh = itertools.count()
        with self._reference() as reference, self._sessile() as sessile, self._raw() as raw:
            tell(raw, stream=recorded(sessile, ONE_WORD))

            def measure(server: Server) -> tuple[float, dict[str, float]]:
                asked = (post(f"/chat/new{number}", {"content": ONE_WORD}) for number in fresh)
                return report(closed_loop(server.port, asked, 16, self.sizes.seconds))

            servers = [reference, sessile, raw]
            self.compare("first message of new sessions", "16 at once", servers, measure, "/s")

    def pages(self) -> None:
        """Pages of 25 of histories of several sizes."""
        place = self._place("sessile")
        place.mkdir()
        seed(place / "sessile.db", self.sizes.pages)
        with self._reference() as reference, Sessile(place) as sessile, self._raw() as raw:
            for size in self.sizes.pages:
                reference.ask(post(f"/seed/s{size}?count={size}", {}))
                page = f"/chat/s{size}/messages"
                for name, path in (("newest", page), ("deep", f"{page}?before=m{size // 2}")):
                    request = get(path)
                    tell(raw, page=body_of(sessile.ask(request)).decode())

                    def measure(
                        server: Server, request: bytes = request
                    ) -> tuple[float, dict[str, float]]:
                        asked = itertools.repeat(request)
                        return report(closed_loop(server.port, asked, 16, self.sizes.seconds))

                    servers = [reference, sessile, raw]
                    self.compare(f"{name} page", f"of {size:,} messages", servers, measure, "/s")

    def fan_out(self) -> None:
        """Messages to a session, delivered to every client that watches it."""
        with self._reference() as reference, self._sessile() as sessile, self._raw() as raw:
            frames = recorded_frames(sessile, ONE_WORD)
            tell(raw, stream=recorded(sessile, ONE_WORD), frames=frames)
            fresh = itertools.count()
            for clients in self.sizes.sockets:
                done: dict[str, list[Fanout]] = {}
                posts = max(2, self.sizes.frames // len(frames) // clients)

                def measure(
                    server: Server,
                    clients: int = clients,
                    posts: int = posts,
                    done: dict[str, list[Fanout]] = done,
                ) -> tuple[float, dict[str, float]]:
                    session = f"fan{next(fresh)}"
                    found = fan_out(server.port, session, clients, posts, USER, ONE_WORD)
                    done.setdefault(server.name, []).append(found)
                    return found.frames / found.seconds, {"busy": found.busy}

                servers = [reference, sessile, raw]
                case = f"to {clients:,} WebSockets"
                self.compare("fan-out, frames delivered", case, servers, measure, "/s")
                for name, found in done.items():
                    rates = [fanout.posts / fanout.seconds for fanout in found]
                    self._add(Figure("fan-out, POSTs that reached all", case, name, "/s", rates))

    def peers(self) -> None:
        """Whole turns of other Python servers, with an agent that echoes and their own SQLite."""
        sessions, text = 100, TWENTY_WORDS
        adk = {"app_name": "echo", "user_id": "u", "streaming": True}
        message = {"role": "user", "parts": [{"text": text}]}
        with (
            self._sessile() as sessile,
            Peer("ChatKit", "chatkit_server.py", self._place("chatkit")) as chatkit,
            Peer("Agno", "agno_server.py", self._place("agno")) as agno,
            Peer("ADK", "adk_server.py", self._place("adk")) as google,
        ):
            asked = {
                sessile: [post(f"/chat/p{i}", {"content": text}) for i in range(sessions)],
                chatkit: [post(f"/chat/p{i}", {"content": text}) for i in range(sessions)],
                agno: [
                    form("/agents/echo/runs", message=text, stream="true", session_id=f"p{i}")
                    for i in range(sessions)
                ],
                google: [
                    post("/run_sse", adk | {"session_id": f"p{i}", "new_message": message})
                    for i in range(sessions)
                ],
            }
            for server, requests in asked.items():
                closed_loop(server.port, iter(requests), 4, done=b"")

            def measure(server: Server) -> tuple[float, dict[str, float]]:
                endless = itertools.cycle(asked[server])
                return report(closed_loop(server.port, endless, 16, self.sizes.seconds, b""))

            case = f"16 at once, {sessions} sessions"
            self.compare("turns, 20 tokens, beside peers", case, list(asked), measure, "/s")

    def long_answers(self) -> None:
        """Answers of many tokens."""
        with self._sessile() as sessile, self._raw() as raw:
            tell(raw, stream=recorded(sessile, LONG))

            def measure(server: Server) -> tuple[float, dict[str, float]]:
                asked = itertools.islice(requests("long", 32, LONG), self.sizes.answers)
                load = closed_loop(server.port, asked, 32)
                return load.rate * LONG_TOKENS, {"busy": load.busy}

            work = f"answers of {LONG_TOKENS:,} tokens"
            self.compare(work, "32 at once", [sessile, raw], measure, "events/s")

    def memory(self) -> None:
        """The resident set: at the start, with idle WebSockets, after many sessions; start times."""
        sizes = self.sizes
        kinds: dict[str, Callable[[], Server]] = {
            "reference": self._reference,
            "Sessile": self._sessile,
        }
        for name, make in kinds.items():
            started = []
            for _ in range(sizes.rounds):
                with make() as server:
                    started.append(server.started)
            self._add(Figure("start", "until it answers", name, "s", started))
            for many in (1, sizes.idle):
                with make() as server, ExitStack() as open_sockets:
                    begin = server.resident()
                    for index in range(sizes.idle):
                        opened, _ = open_socket(server.port, f"idle{index % many}")
                        open_sockets.enter_context(opened)
                    where = "one session" if many == 1 else "a session each"
                    case = f"{sizes.idle:,} idle WebSockets, {where}"
                    self._add(Figure("memory", case, name, "MiB", [server.resident()]))
                if many == 1:
                    self._add(Figure("memory", "at the start", name, "MiB", [begin]))
            with make() as server:
                asked = requests("touched", sizes.touched, ONE_WORD)
                closed_loop(server.port, itertools.islice(asked, sizes.touched), 16)
                case = f"{sizes.touched:,} sessions answered"
                self._add(Figure("memory", case, name, "MiB", [server.resident()]))


# Requests and what they are answered with --------------------------------------------------------


def requests(prefix: str, sessions: int, content: str) -> Iterator[bytes]:
    """Endless POSTs to several sessions in turn."""
    made = [post(f"/chat/{prefix}-{index}", {"content": content}) for index in range(sessions)]
    return itertools.cycle(made)


def report(load: Load) -> tuple[float, dict[str, float]]:
    return load.rate, {
        "p50": load.quantile(0.5),
        "p99": load.quantile(0.99),
        "busy": load.busy,
    }


def tell(raw: Raw, **what: Any) -> None:
    """Set the bytes that the ceiling sends."""
    raw.ask(post("/script", what, b"PUT"))


def recorded(server: Server, content: str) -> list[str]:
    """The events of a turn's stream, in their form on the wire."""
    stream = body_of(server.ask(post("/chat/recorded", {"content": content}))).decode()
    return [f"{event}\n\n" for event in stream.split("\n\n") if event]


def recorded_frames(server: Server, content: str) -> list[str]:
    """The frames that a WebSocket receives for a turn."""
    url = f"ws://127.0.0.1:{server.port}/sessions/recorded/websocket"
    frames: list[str] = []
    with connect(url, compression=None) as socket:
        socket.recv()
        server.ask(post("/chat/recorded", {"content": content}))
        while not frames or '"role":"assistant"' not in frames[-1]:
            frames.append(str(socket.recv()))
    return frames


WORKS: dict[str, Callable[[Bench], None]] = {
    "turns": Bench.turns,
    "new-sessions": Bench.new_sessions,
    "pages": Bench.pages,
    "fan-out": Bench.fan_out,
    "long-answers": Bench.long_answers,
    "memory": Bench.memory,
}
