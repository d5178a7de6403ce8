"""Three nodes of the real code in one event loop with virtual time, all from one seed.

The nodes share a simulated database and bus, whose answers are late, lost or repeated. Nodes are
killed, paused and cut off. ``python -m tests.simulation SEED COUNT`` plays COUNT stories.
"""
