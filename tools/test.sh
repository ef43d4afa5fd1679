#!/bin/sh
# Runs every check, also after one of them failed, and ends with pytest's own summary. Exit status: all passed.
set -u
status=0

step() {
    printf '\n--- %s\n' "$*"
    "$@" || status=1
}

step "$BIN/ruff" check .
step "$BIN/ruff" format --check .
step "$BIN/mypy"
step "$BIN/lint-imports" --no-cache

# Tests that measure time or fill the machine run alone; pytest's status 5 means that there are none.
printf '\n--- tests that run alone\n'
"$BIN/python" -m pytest -m "serial and not services" || [ $? -eq 5 ] || status=1

printf '\n--- all other tests\n'
"$BIN/python" -m pytest -n "$JOBS" -m "not serial and not services" || status=1

[ $status -eq 0 ] || printf 'something above failed\n' >&2
exit $status
