#!/usr/bin/env bash
# The MariaDB server: mariadb.sh launch|ready|stop
#
# The first launch makes the data folder and runs init-scripts/mariadb on it, as its image would.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

PATH=$PATH:/usr/sbin
dir=$STACK/mariadb

launch() {
    own mysql "$dir"
    settings >"$dir/my.cnf"
    [ -f "$dir/data/initialized" ] || initialize
    start_server
}

settings() {
    cat <<CNF
!include $dir/server.cnf
[mysqld]
datadir = $dir/data
socket = $dir/mysqld.sock
pid-file = $dir/pid
port = $MARIADB_PORT
bind-address = $HOST
CNF
    # A copy, because user mysql may not be able to enter the tree.
    cp "$ROOT/init-scripts/mariadb/server.cnf" "$dir/server.cnf"
}

initialize() {
    stop
    rm -rf "$dir/data"
    as mysql mariadb-install-db --no-defaults --datadir="$dir/data" --skip-test-db \
        --auth-root-authentication-method=normal >"$dir/install.log" 2>&1 ||
        die "mariadb-install-db failed, see $dir/install.log"
    start_server
    for script in "$ROOT/init-scripts/mariadb"/*.sql; do
        mariadb --no-defaults --default-character-set=utf8mb4 -uroot -S "$dir/mysqld.sock" <"$script"
    done
    touch "$dir/data/initialized"
}

start_server() {
    ! ready || return 0
    as mysql setsid mariadbd --defaults-file="$dir/my.cnf" </dev/null >>"$dir/log" 2>&1 9>&- &
    for _ in $(seq 120); do
        ! ready || return 0
        sleep 0.5
    done
    return 1
}

ready() {
    mariadb-admin --no-defaults -uroot -S "$dir/mysqld.sock" ping >/dev/null 2>&1
}

stop() {
    ! ready || mariadb-admin --no-defaults -uroot -S "$dir/mysqld.sock" shutdown
}

"$1"
