"""How a client waits for a server that is away, as in a restart."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts; doubled each time
SILENCE = 40.0  # seconds; an idle server sends a heartbeat every 15
OF_PROXIES = frozenset({502, 503, 504})  # a reverse proxy has no server behind it for a moment
