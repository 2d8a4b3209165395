#!/usr/bin/env bash
# Kafka Connect, one distributed worker with the connectors as plugins: connect.sh launch|ready|stop
#
# CONNECT_SERVICE=connect-next is another one beside it, with the plugins of CONNECT_PLUGINS.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

service=${CONNECT_SERVICE:-connect}
dir=$STACK/$service
port=$CONNECT_PORT
[ "$service" = connect ] || port=$CONNECT_NEXT_PORT
plugins=${CONNECT_PLUGINS:-$CACHE/jars/plugins,$CACHE/apicurio-converter-$APICURIO_CONVERTER_VERSION}

launch() {
    local java
    ! alive "$service" || return 0
    java=$(find_java 17) || die "no Java from 17 on, which Kafka Connect needs"
    mkdir -p "$dir"
    properties >"$dir/connect.properties"
    spawn "$service" "$java" -Xmx1g -cp "$CACHE/jars/libs/*" \
        -Dlog4j2.configurationFile="$STACK/kafka/log4j2.properties" \
        org.apache.kafka.connect.cli.ConnectDistributed "$dir/connect.properties"
}

# `plugin.discovery=service_load` would start faster, but does not find the Avro converter.
properties() {
    cat <<PROPERTIES
bootstrap.servers=$HOST:$KAFKA_PORT
listeners=http://$HOST:$port
plugin.path=$plugins
PROPERTIES
    # Its group and its topics are called after it.
    sed "s/=connect/=$service/" "$ROOT/scripts/stack/connect.properties"
}

ready() {
    alive "$service" && curl -fs -m 5 -o /dev/null "http://$HOST:$port/connectors"
}

stop() {
    terminate "$service"
}

"$1"
