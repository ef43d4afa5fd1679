#!/bin/sh
# serve.sh master FOLDER: HBase on one machine (master, region server and ZooKeeper in one process), its data in FOLDER.
# serve.sh thrift FOLDER: the Thrift 2 server for it. Both stay in the foreground; kill one to end it.
#   ZOOKEEPER=2181 MASTER=16000 REGION=16020 PORT=9090 serve.sh ...   the ports; the same ones for both
set -eu
here=$(cd "$(dirname "$0")" && pwd)
lib=$(sh "$here/../jars.sh" "$here")
mkdir -p "$2/conf"
folder=$(cd "$2" && pwd)
property() { echo "<property><name>$1</name><value>$2</value></property>"; }
configuration() {
    echo '<?xml version="1.0"?><configuration>'
    property hbase.rootdir "file://$folder/hbase"
    property hbase.tmp.dir "$folder/tmp"
    property hbase.cluster.distributed false
    # A write is on the disk before it is confirmed. A local file cannot promise what HDFS can, and the check is for HDFS.
    property hbase.wal.provider filesystem
    property hbase.wal.hsync true
    property hbase.unsafe.stream.capability.enforce false
    property hbase.zookeeper.quorum 127.0.0.1
    property zookeeper.session.timeout.localHBaseCluster 40000
    property hbase.zookeeper.property.clientPort "${ZOOKEEPER:-2181}"
    property hbase.zookeeper.property.dataDir "$folder/zookeeper"
    property hbase.master.port "${MASTER:-16000}"
    property hbase.regionserver.port "${REGION:-16020}"
    property hbase.localcluster.assign.random.ports false
    property hbase.master.info.port -1
    property hbase.regionserver.info.port -1
    property hbase.thrift.info.port -1
    property hbase.master.ipc.address 127.0.0.1
    property hbase.regionserver.ipc.address 127.0.0.1
    property hbase.master.hostname localhost
    property hbase.unsafe.regionserver.hostname localhost
    property hbase.regionserver.handler.count 8
    property hbase.master.wait.on.regionservers.interval 100
    property hbase.thrift.server.socket.read.timeout 0
    echo '</configuration>'
}
configuration >"$folder/conf/$1.xml"
mv "$folder/conf/$1.xml" "$folder/conf/hbase-site.xml"
cp "$here/log4j.properties" "$folder/conf/"
case $1 in
master) set -- -Xmx"${HEAP:-512m}" org.apache.hadoop.hbase.master.HMaster start ;;
thrift) set -- -Xmx"${HEAP:-192m}" org.apache.hadoop.hbase.thrift2.ThriftServer start -p "${PORT:-9090}" -b 127.0.0.1 ;;
*) echo "found $1, expected master or thrift" >&2; exit 2 ;;
esac
# shellcheck disable=SC2046  (a list of options)
exec java $(cat "$here/jvm.options") -cp "$folder/conf:$lib/*" "$@"
