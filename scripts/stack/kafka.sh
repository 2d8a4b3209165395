#!/usr/bin/env bash
# The Kafka broker, one node that is its own controller: kafka.sh launch|ready|stop
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

dir=$STACK/kafka
java=$(find_java 17) || die "no Java from 17 on, which Kafka needs"
# As Kafka's own scripts and images start a broker, by KAFKA_JVM_PERFORMANCE_OPTS of kafka-run-class.sh: without,
# it collects its garbage in pauses of up to 200 ms, on all cores.
jvm=(-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35
    -XX:+ExplicitGCInvokesConcurrent)

launch() {
    ! alive kafka || return 0
    mkdir -p "$dir"
    properties >"$dir/server.properties"
    log4j_properties >"$dir/log4j2.properties"
    run kafka.tools.StorageTool format --ignore-formatted --cluster-id "$(cluster_id)" \
        --config "$dir/server.properties" >"$dir/format.log" 2>&1
    spawn kafka "$java" -Xms1g -Xmx1g "${jvm[@]}" -cp "$CACHE/jars/libs/*" \
        -Dlog4j2.configurationFile="$dir/log4j2.properties" kafka.Kafka "$dir/server.properties"
}

# Addresses and folders of this machine, then what both stacks share.
properties() {
    cat <<PROPERTIES
controller.quorum.voters=1@$HOST:$CONTROLLER_PORT
listeners=PLAINTEXT://$HOST:$KAFKA_PORT,CONTROLLER://$HOST:$CONTROLLER_PORT
advertised.listeners=PLAINTEXT://$HOST:$KAFKA_PORT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
PROPERTIES
    cat "$ROOT/scripts/stack/kafka.properties"
}

log4j_properties() {
    cat <<'PROPERTIES'
rootLogger.level = INFO
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = [%d] %p %m (%c)%n
PROPERTIES
}

# 16 bytes in base64 for URLs, made once.
cluster_id() {
    [ -f "$dir/cluster-id" ] || head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=' >"$dir/cluster-id"
    cat "$dir/cluster-id"
}

run() {
    "$java" -Xmx256m -cp "$CACHE/jars/libs/*" \
        -Dlog4j2.configurationFile="$dir/log4j2.properties" "$@"
}

ready() {
    alive kafka && grep -q 'Kafka Server started' "$dir/log" &&
        (exec 3<>"/dev/tcp/$HOST/$KAFKA_PORT") 2>/dev/null
}

stop() {
    terminate kafka
}

"$1"
