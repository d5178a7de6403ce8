"""Sessile over HTTP and WebSocket: routes, what they take, what they answer."""
