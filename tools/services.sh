#!/bin/sh
# Installs the real servers that tests start themselves, from Debian's packages, and what fetches the others; none of
# them is left running.
set -eu
missing=""
need() { # a program, where it may be, the package that brings it
    command -v "$1" >/dev/null || ls $2 >/dev/null 2>&1 || missing="$missing $3"
}
need postgres '/usr/lib/postgresql/*/bin/postgres' postgresql
need mariadbd '/usr/sbin/mariadbd' mariadb-server
need redis-server '/usr/bin/redis-server' redis-server
need prometheus '/usr/bin/prometheus' prometheus
need promtool '/usr/bin/promtool' prometheus
need node '/usr/bin/node' nodejs
need npm '/usr/bin/npm' npm
need java '/usr/bin/java' default-jre-headless
need mvn '/usr/bin/mvn' maven
[ -n "$missing" ] || exit 0

echo "missing:$missing"
if [ "$(id -u)" != 0 ]; then
    echo "install them first:  sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
# Debian starts what it installs; a policy of "no" keeps it from doing so while this script runs.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
# shellcheck disable=SC2086  (a list of words)
apt-get install -y -q --no-install-recommends $missing >/dev/null
