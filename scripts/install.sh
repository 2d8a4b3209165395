#!/usr/bin/env bash
# Installs what the stack and the tests need and is not there: packages of the system, then what
# download.sh keeps in $CACHE. When nothing is missing it does nothing, and quickly.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

main() {
    mkdir -p "$CACHE"
    install_packages
    "$ROOT/scripts/download.sh"
}

# What must be there, and the package that brings it.
missing_packages() {
    has cc || echo build-essential
    has make || echo build-essential
    has perl || echo perl
    has curl || echo curl
    has python3 || echo python3
    has psql || echo postgresql-client
    has mariadb || echo mariadb-client
    has mvn || echo maven
    has docker-compose || echo docker-compose
    has valgrind || echo valgrind
    find_postgres >/dev/null || echo postgresql
    has_postgis || echo "postgresql-$(postgres_version)-postgis-3"
    has mariadbd || [ -x /usr/sbin/mariadbd ] || echo mariadb-server
    find_java 17 >/dev/null || echo default-jre-headless
    python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
}

has() {
    command -v "$1" >/dev/null
}

# PostGIS brings the geometry types of the matrix.
has_postgis() {
    [ -f "/usr/share/postgresql/$(postgres_version)/extension/postgis.control" ]
}

# Of the server that is there, else of the one that apt-get brings.
postgres_version() {
    local bin
    bin=$(find_postgres) || bin=/usr/lib/postgresql/$POSTGRES_VERSION/bin
    basename "$(dirname "$bin")"
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages | sort -u)
    [ ${#packages[@]} -gt 0 ] || return 0
    has apt-get || die "not installed, and there is no apt-get here: ${packages[*]}"
    say "installing packages: ${packages[*]}"
    root apt-get update -qq
    root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >"$CACHE/apt.log" 2>&1 ||
        die "apt-get failed, see $CACHE/apt.log"
    find_postgres >/dev/null || die "no PostgreSQL from $POSTGRES_VERSION on below /usr/lib/postgresql"
    find_java 17 >/dev/null || die "no Java from 17 on, which Kafka needs"
}

main
