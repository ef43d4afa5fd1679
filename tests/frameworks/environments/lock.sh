#!/bin/sh
# Resolves the requirements of the frameworks' environments again: Kaname's own with some extras, and what tests need.
set -eu
cd "$(dirname "$0")/../../.."
lock() { # name, extras
    name="$1"
    shift
    .venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header \
        --no-emit-index-url "$@" pyproject.toml tests/frameworks/environments/tools.in \
        -o "tests/frameworks/environments/$name.txt"
}
lock mlflow --extra skops --extra lightgbm --extra xgboost
lock pytorch --extra pytorch
lock tensorflow --extra tensorflow --extra litert
