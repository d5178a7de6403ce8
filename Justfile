# The tasks of this project; `uv run just` lists them.

set positional-arguments

# Tests mostly wait for processes, so more of them run than there are cores.
parallel := "-n 4 --dist worksteal"

default:
    @just --list

# Check format, lint, types, layers, words and docs
check:
    uv run ruff format --check .
    uv run ruff check .
    uv run mypy
    uv run lint-imports
    uv run python web/build.py npm run --silent check
    uv run pytest -q tests/test_words.py tests/test_docs.py -k "words or page or links or exists"

# Format the code and fix what can be fixed automatically
fix:
    uv run ruff format .
    uv run ruff check --fix .
    uv run python web/build.py npm run --silent fix

# Run the tests; arguments go to pytest, such as `--thorough 10` for ten times as many crashes
test *arguments:
    uv run python -m tests.provide
    uv run pytest {{ parallel }} "$@"

# Run the tests and report their coverage of the package
coverage *arguments:
    uv run python -m tests.provide
    uv run pytest {{ parallel }} --cov=sessile --cov-report=term-missing:skip-covered "$@"

# Compare with the original design and the ceiling, into docs/performance.md; `--quick` checks that it runs
bench *arguments:
    uv run python -m bench "$@"

# Compare this checkout with another one (docs/performance.md)
compare *arguments:
    uv run python -m bench.compare "$@"

# Measure how many answers stream at once (docs/performance.md)
streams *arguments:
    uv run python -m bench.streams "$@"

# Measure whether streams stutter on a slow disk (docs/performance.md)
slow-disk *arguments:
    uv run python -m bench.slow_disk "$@"

# Measure what must not grow: cost in long sessions, memory with many (docs/performance.md)
scale *arguments:
    uv run python -m bench.scale "$@"

# Measure what sessions that wait on a question cost (docs/performance.md)
waiting *arguments:
    uv run python -m bench.waiting "$@"

# Measure the web client in Chromium: how soon it is usable, what it loads, whether it stutters (docs/performance.md)
web-speed *arguments:
    uv run python -m bench.web "$@"

# Take the screenshots of the documentation
pictures:
    uv run python -m tests.provide
    uv run python -m tests.pictures

# Build the web client from web/ into the package, if needed; `uv run` does this automatically
web:
    uv run python web/build.py

# Serve the web client from its sources as they change, with the server that SESSILE_SERVER names
web-dev *arguments:
    uv run python web/build.py npm run dev -- "$@"

# Run the server from this checkout; arguments go to `sessile serve`
serve *arguments:
    uv run sessile serve "$@"
