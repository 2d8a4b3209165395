#!/usr/bin/env bash
# The schema registry, its schemas kept in the source's PostgreSQL: registry.sh launch|ready|stop
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

launch() {
    local java
    ! alive registry || return 0
    java=$(find_java 21) || die "no Java from 21 on, which the registry needs"
    spawn registry env \
        QUARKUS_HTTP_HOST="$HOST" QUARKUS_HTTP_PORT="$REGISTRY_PORT" \
        QUARKUS_MANAGEMENT_HOST="$HOST" QUARKUS_MANAGEMENT_PORT="$REGISTRY_MANAGEMENT_PORT" \
        APICURIO_STORAGE_KIND=sql APICURIO_STORAGE_SQL_KIND=postgresql \
        APICURIO_DATASOURCE_URL="jdbc:postgresql://$HOST:$SOURCE_PORT/apicurio" \
        APICURIO_DATASOURCE_USERNAME=apicurio APICURIO_DATASOURCE_PASSWORD=apicurio \
        "$java" -Xmx512m -jar "$CACHE/jars/registry/quarkus-run.jar"
}

ready() {
    alive registry && curl -fs -m 5 -o /dev/null "http://$HOST:$REGISTRY_PORT/apis/ccompat/v7/subjects"
}

stop() {
    terminate registry
}

"$1"
