#!/bin/sh
# jars.sh FOLDER: fetches what FOLDER/pom.xml names from Maven Central and prints the folder with the jars.
# The first time takes a minute; they are kept in the cache, under the hash of that file. Needs Java and Maven.
set -eu
here=$(cd "$1" && pwd)
kept=${XDG_CACHE_HOME:-$HOME/.cache}/kaname/$(basename "$here")-$(sha256sum "$here/pom.xml" | cut -c1-12)
mkdir -p "$kept"
exec 9>"$kept/lock"
flock 9
if [ ! -d "$kept/lib" ]; then
    rm -rf "$kept/new"
    mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$kept/new" >&2
    mv "$kept/new" "$kept/lib"
fi
echo "$kept/lib"
