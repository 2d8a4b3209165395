#!/usr/bin/env bash
# Kafka Connect, one distributed worker with the connectors as plugins: connect.sh launch|ready|stop
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

dir=$STACK/connect

launch() {
    local java
    ! alive connect || return 0
    java=$(find_java 17) || die "no Java from 17 on, which Kafka Connect needs"
    mkdir -p "$dir"
    properties >"$dir/connect.properties"
    spawn connect "$java" -Xmx1g -cp "$CACHE/jars/libs/*" \
        -Dlog4j2.configurationFile="$STACK/kafka/log4j2.properties" \
        org.apache.kafka.connect.cli.ConnectDistributed "$dir/connect.properties"
}

# `plugin.discovery=service_load` would start faster, but does not find the Avro converter.
properties() {
    cat <<PROPERTIES
bootstrap.servers=$HOST:$KAFKA_PORT
listeners=http://$HOST:$CONNECT_PORT
plugin.path=$CACHE/jars/plugins,$CACHE/apicurio-converter-$APICURIO_CONVERTER_VERSION
PROPERTIES
    cat "$ROOT/scripts/stack/connect.properties"
}

ready() {
    alive connect && curl -fs -m 5 -o /dev/null "http://$HOST:$CONNECT_PORT/connectors"
}

stop() {
    terminate connect
}

"$1"
