"""``python -m sessile``: the same as ``sessile``."""

from sessile.cli import main

main()
