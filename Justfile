# What is done with this project; `uv run just` lists it.

set positional-arguments

# Much of a test is waiting for processes, so more of them run than there are cores.
parallel := "-n 3 --dist worksteal"

default:
    @just --list

# Format, lint, types, layers, docs: nothing may be wrong
check:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy
    uv run lint-imports
    uv run python web/build.py npm run --silent check
    uv run pytest -q tests/test_words.py tests/test_docs.py -k "words or page or links or exists"

# Put the code into its format and mend what can be mended
fix:
    uv run ruff format .
    uv run ruff check --fix .
    uv run python web/build.py npm run --silent fix

# Run the tests; arguments go to pytest, such as `--thorough 10` for ten times as many crashes
test *arguments:
    uv run python -m tests.provide
    @if [ $# -gt 0 ]; then uv run pytest {{ parallel }} "$@"; else uv run just test-all; fi

# All tests: browsers alone, since they look at answers while these grow
[private]
test-all:
    uv run pytest {{ parallel }} --ignore=tests/web
    uv run pytest tests/web

# Run the tests and show what they cover of the package
coverage *arguments:
    uv run python -m tests.provide
    uv run pytest {{ parallel }} --cov=sessile --cov-report=term-missing:skip-covered "$@"

# Measure beside the original design and the ceiling, into docs/performance.md; `--quick` shows that it runs
bench *arguments:
    uv run python -m bench "$@"

# Measure this checkout beside another one, alternating (docs/performance.md)
compare *arguments:
    uv run python -m bench.compare "$@"

# Measure whether streams stutter on a slow disk (docs/performance.md)
slow-disk *arguments:
    uv run python -m bench.slow_disk "$@"

# Measure what must not grow: cost in long sessions, memory with many (docs/performance.md)
scale *arguments:
    uv run python -m bench.scale "$@"

# Measure the page in Chromium: how soon it is usable, what it loads, whether it stutters (docs/performance.md)
web-speed *arguments:
    uv run python -m bench.web "$@"

# Take the pictures of the documentation
pictures:
    uv run python -m tests.provide
    uv run python -m tests.pictures

# Build the page from web/ into the package, where that is not done yet; `uv run` does it by itself
web:
    uv run python web/build.py

# Serve the page from its sources as they change, beside the server that SESSILE_SERVER names
web-dev *arguments:
    uv run python web/build.py npm run dev -- "$@"

# Run the server from this checkout; arguments go to `sessile serve`
serve *arguments:
    uv run sessile serve "$@"
