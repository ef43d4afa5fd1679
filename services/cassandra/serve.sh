#!/bin/sh
# serve.sh FOLDER: one Cassandra node with its data in FOLDER, in the foreground; kill it to end it.
# A node of a cluster has an address of its own and a token that divides the ring:
#   ADDRESS=127.0.0.2 SEEDS=127.0.0.1,127.0.0.2 TOKEN=0 PORT=9042 STORAGE_PORT=7000 serve.sh FOLDER
# AUTH=password: nobody may do anything without one; the first role is cassandra, with the password cassandra.
# KEYSTORE=FILE: a PKCS #12 file, its password "kaname", with the key and certificate of the node: clients speak TLS.
# SYNC=batch (default): a write is acknowledged when it is on the disk. SYNC=periodic, the server's own default,
# acknowledges before: kill -9 or a loss of power then loses writes that were confirmed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
lib=$(sh "$here/../jars.sh" "$here")
mkdir -p "$1"
folder=$(cd "$1" && pwd)
address=${ADDRESS:-127.0.0.1}
case ${SYNC:-batch} in
batch) sync='commitlog_sync: batch' ;;
group) sync='commitlog_sync: group
commitlog_sync_group_window: 5ms' ;;
periodic) sync='commitlog_sync: periodic
commitlog_sync_period: 10000ms' ;;
*) echo "SYNC: found $SYNC, expected batch, group or periodic" >&2; exit 2 ;;
esac
case ${AUTH:-} in
password) auth='authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer' ;;
'') auth='' ;;
*) echo "AUTH: found $AUTH, expected password, or nothing" >&2; exit 2 ;;
esac
tls=''
[ -z "${KEYSTORE:-}" ] || tls="client_encryption_options: { enabled: true, optional: false, store_type: PKCS12,
  keystore: \"$KEYSTORE\", keystore_password: kaname }"
cat >"$folder/cassandra.yaml" <<YAML
cluster_name: kaname
num_tokens: 1
initial_token: ${TOKEN:-0}
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: [ "$folder/data" ]
commitlog_directory: "$folder/commitlog"
saved_caches_directory: "$folder/saved_caches"
hints_directory: "$folder/hints"
cdc_raw_directory: "$folder/cdc_raw"
$sync
$auth
$tls
commitlog_segment_size: 32MiB
commitlog_total_space: 128MiB
disk_failure_policy: die
commit_failure_policy: die
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [ { seeds: "${SEEDS:-$address}" } ]
listen_address: $address
rpc_address: $address
storage_port: ${STORAGE_PORT:-7000}
native_transport_port: ${PORT:-9042}
endpoint_snitch: SimpleSnitch
dynamic_snitch: false
hinted_handoff_enabled: true
hints_flush_period: 1000ms
auto_snapshot: false
concurrent_reads: 8
concurrent_writes: 16
concurrent_compactors: 1
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
key_cache_size: 4MiB
counter_cache_size: 1MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
YAML
# shellcheck disable=SC2046  (a list of options)
exec java $(cat "$here/jvm.options") -Xms"${HEAP:-384m}" -Xmx"${HEAP:-384m}" -javaagent:"$(echo "$lib"/jamm-*.jar)" \
    -Dcassandra.config="file://$folder/cassandra.yaml" -Dcassandra.storagedir="$folder" -Dcassandra.logdir="$folder" \
    -Dlogback.configurationFile="$here/logback.xml" -Dcassandra-foreground=yes -Djava.io.tmpdir="$folder" \
    -cp "$lib/*" org.apache.cassandra.service.CassandraDaemon
