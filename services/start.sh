#!/bin/sh
# start.sh: starts Cassandra and HBase on this machine, one node each, and says how to use and to end them.
# start.sh stop: ends them. Their data stay in the cache: `rm -r` its folder `servers` for fresh ones.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kept=${XDG_CACHE_HOME:-$HOME/.cache}/kaname/servers
mkdir -p "$kept"

alive() { [ -f "$kept/$1.pid" ] && kill -0 "$(cat "$kept/$1.pid")" 2>/dev/null; }
run() { # name, command...
    name=$1
    shift
    alive "$name" && return
    setsid nohup sh "$@" >"$kept/$name.log" 2>&1 </dev/null &
    echo $! >"$kept/$name.pid"
}
listens() { python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1" 2>/dev/null; }
wait_for() { # name, a command that says that it is ready
    name=$1
    shift
    for _ in $(seq 180); do
        "$@" && return
        alive "$name" || { tail -5 "$kept/$name.log" >&2; echo "$name ended; see $kept/$name.log" >&2; exit 1; }
        sleep 1
    done
    echo "$name is not ready after 3 minutes; see $kept/$name.log" >&2
    exit 1
}
stop() {
    alive "$1" || return 0
    kill "$(cat "$kept/$1.pid")"
    while alive "$1"; do sleep 0.2; done
    rm "$kept/$1.pid"
}

if [ "${1:-}" = stop ]; then
    for name in cassandra thrift master; do stop "$name"; done
    exit 0
fi
sh "$here/jars.sh" "$here/cassandra" >/dev/null
sh "$here/jars.sh" "$here/hbase" >/dev/null
run cassandra "$here/cassandra/serve.sh" "$kept/cassandra"
run master "$here/hbase/serve.sh" master "$kept/hbase"
wait_for cassandra listens 9042
wait_for master grep -q 'Master has completed initialization' "$kept/master.log"
run thrift "$here/hbase/serve.sh" thrift "$kept/hbase"
wait_for thrift listens 9090
cat <<TEXT
Cassandra answers at localhost:9042, HBase's Thrift 2 server at localhost:9090. In kaname.yaml:

    cells:
      main: {kind: cassandra}          # or hbase

Logs and data are in $kept; \`make services-stop\` ends both.
TEXT
