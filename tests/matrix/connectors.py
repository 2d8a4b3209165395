"""The connectors of the runs, their topics, and the waiting until all has been sent."""

import os
import re
import sys
import time
import pathlib

from confluent_kafka.admin import AdminClient, NewTopic

import wire

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "scripts"))

import capture

WAIT = 180

# A value of 1 MB as base64, with its schema.
RECORD_BYTES_MAX = 16 * 1024 * 1024

CONVERTERS = {
    "json": {
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "true",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
    },
    "plain": {
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
    },
    "avro": {
        "key.converter": "io.confluent.connect.avro.AvroConverter",
        "key.converter.schema.registry.url": "${SCHEMA_REGISTRY_URL}",
        "value.converter": "io.confluent.connect.avro.AvroConverter",
        "value.converter.schema.registry.url": "${SCHEMA_REGISTRY_URL}",
        # Names that Avro does not allow would end the connector.
        "schema.name.adjustment.mode": "avro",
        "field.name.adjustment.mode": "avro",
    },
}

CONNECTORS = {
    "postgres": {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": "${SOURCE_HOST}",
        "database.port": "${SOURCE_PORT}",
        "database.dbname": "matrix",
        "plugin.name": "pgoutput",
        "publication.name": "matrix",
        "publication.autocreate.mode": "disabled",
    },
    "mariadb": {
        "connector.class": "io.debezium.connector.mariadb.MariaDbConnector",
        "database.hostname": "${MARIADB_HOST}",
        "database.port": "${MARIADB_PORT}",
        "database.include.list": "matrix",
        "snapshot.locking.mode": "minimal",
        "schema.history.internal.kafka.bootstrap.servers": "${KAFKA_BOOTSTRAP_SERVERS}",
        "schema.history.internal.store.only.captured.tables.ddl": "true",
    },
}


def config(run, some, number):
    tables = ",".join(re.escape(f"matrix.{case.table}") for case in some)
    content = {
        "name": run.connector,
        "tasks.max": "1",
        "database.user": "debezium",
        "database.password": "debezium",
        "topic.prefix": run.connector,
        "table.include.list": tables.replace(r"\ ", " ").replace(r"\"", '"').replace(r"\'", "'"),
        "snapshot.mode": "initial",
        "producer.override.max.request.size": str(RECORD_BYTES_MAX),
        "producer.override.linger.ms": "5",
        # A registry that does not answer at once on a busy machine.
        "errors.retry.timeout": "120000",
    }
    content |= CONNECTORS[run.source] | CONVERTERS[run.format] | run.changed
    if run.source == "postgres":
        content["slot.name"] = run.connector
    else:
        content["database.server.id"] = str(186000 + number)
        content["schema.history.internal.kafka.topic"] = f"history.{run.connector}"
    if run.propagate:
        content["column.propagate.source.type"] = ".*"
    for name, value in content.items():
        content[name] = re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], value)
    return content


def drop(configs):
    for content in configs:
        capture.drop(content)


def create_topics(topics):
    admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
    size = {"max.message.bytes": str(RECORD_BYTES_MAX)}
    new = [NewTopic(topic, 1, 1, config=size) for topic in topics]
    for creation in admin.create_topics(new, request_timeout=60).values():
        creation.result()


def forget_groups(groups):
    admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
    for deletion in admin.delete_consumer_groups(list(groups), request_timeout=60).values():
        deletion.exception()


def start(configs):
    for content in configs:
        capture.call("PUT", f"{capture.CONNECT}/connectors/{content['name']}/config", content)


def await_records(expected, names):
    """Waits until each topic holds as many records as the source must have sent."""
    deadline, open_topics = time.time() + WAIT, dict(expected)
    while True:
        found = wire.counts(open_topics)
        open_topics = {topic: n for topic, n in open_topics.items() if found[topic] < n}
        if not open_topics:
            return
        for name in names:
            status = capture.call("GET", f"{capture.CONNECT}/connectors/{name}/status") or {}
            for task in status.get("tasks", []):
                if task["state"] == "FAILED":
                    raise SystemExit(f"connector {name} ended: {cause(task['trace'])}")
        if time.time() > deadline:
            some = [f"{t} {found[t]} of {n}" for t, n in sorted(open_topics.items())[:10]]
            raise SystemExit(f"{len(open_topics)} topics lack records: {', '.join(some)}")
        time.sleep(0.5)


def cause(trace):
    lines = [line for line in trace.splitlines() if not line.startswith("\t")]
    return " | ".join(lines)


def expected(runs, some, count):
    """How many records each topic must hold, by what counts a case's under a run's modes."""
    return {run.topic(case): count(case, run.modes) for run in runs for case in some if run.takes(case)}
