"""Captures what the real stack sends: records into tests/fixtures, Avro schemas into schemas/.

For each format, connectors of its own are registered, rows are changed at the source one situation
at a time, and the records that arrive are written byte for byte, one a file. Afterwards the rows,
connectors, slots and topics that this made are gone. The stack must be up.
"""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

ROOT = pathlib.Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
SCHEMAS = ROOT / "schemas"
BROKERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
CONNECT = os.environ["CONNECT_URL"]
REGISTRY = os.environ["SCHEMA_REGISTRY_URL"]
APICURIO = REGISTRY.partition("/apis/")[0]

# Format, and the connector that sends it.
FORMATS = {
    "json": "postgres-connector.json",
    "plain": "postgres-schemaless.json",
    "avro": "postgres-avro.json",
}

# More than 2 kB that do not compress, so that PostgreSQL stores them out of line.
LONG = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 80) AS i)"

# Table, the situations in the order in which the source makes them, and the statement.
POSTGRES_STEPS = [
    (
        "users",
        ["create"],
        """INSERT INTO users VALUES (9001, 'Alan', 'alan@example.org', true,
           '6f1d2c3b-4a59-4687-9788-99aabbccddee', '{"a": [1, 2.5, null], "b": "ü"}', 41,
           '2024-05-06 07:08:09.123456+02')""",
    ),
    ("users", ["update"], "UPDATE users SET email = NULL, active = false WHERE id = 9001"),
    (
        "users",
        ["move-delete", "move-tombstone", "move-create"],
        "UPDATE users SET id = 9002 WHERE id = 9001",
    ),
    ("users", ["delete", "tombstone"], "DELETE FROM users WHERE id = 9002"),
    (
        "orders",
        ["create"],
        """INSERT INTO orders VALUES (9001, 1, 'new', -0.01, 3, 'first',
           '2024-05-06 07:08:09.123456', '2024-05-06 07:08:09.5+00')""",
    ),
    ("orders", ["update"], "UPDATE orders SET amount = 1234567.89, note = NULL WHERE id = 9001"),
    (
        "orders",
        ["move-delete", "move-tombstone", "move-create"],
        "UPDATE orders SET id = 9002 WHERE id = 9001",
    ),
    ("orders", ["delete", "tombstone"], "DELETE FROM orders WHERE id = 9002"),
    (
        "orders",
        ["create-long"],
        f"INSERT INTO orders SELECT 9003, 2, 'new', 1, 1, {LONG}, '2024-01-01', NULL",
    ),
    ("orders", ["update-unavailable"], "UPDATE orders SET status = 'paid' WHERE id = 9003"),
    (
        "orders",
        ["move-unavailable-delete", "move-unavailable-tombstone", "move-unavailable-create"],
        "UPDATE orders SET id = 9004 WHERE id = 9003",
    ),
    ("orders", [None, None], "DELETE FROM orders WHERE id = 9004"),
    (
        "employees",
        ["create"],
        "INSERT INTO employees VALUES (9001, 'Eve', 'Moe', '1960-02-29', NULL, 12345.678)",
    ),
    ("employees", ["delete", "tombstone"], "DELETE FROM employees WHERE emp_id = 9001"),
]

MARIADB_STEPS = [
    (
        "customers",
        ["create"],
        "INSERT INTO customers VALUES (9001, 'Alan', NULL, 1, '2024-05-06 07:08:09.123456')",
    ),
    ("customers", ["update"], "UPDATE customers SET active = 0 WHERE id = 9001"),
    ("customers", ["delete", "tombstone"], "DELETE FROM customers WHERE id = 9001"),
    (
        "products",
        ["create"],
        "INSERT INTO products VALUES ('Z-9', 'Zither', 19.99, 2, '2024-05-06')",
    ),
    ("products", ["delete", "tombstone"], "DELETE FROM products WHERE sku = 'Z-9'"),
]


# Folder, name, the connector whose converters are used, what is set besides, and the situations of an
# insert, an update and a delete.
FLAT = {
    "transforms": "flat",
    "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState",
}
REWRITE = "transforms.flat.delete.tombstone.handling.mode"
ADDED = {
    **FLAT,
    REWRITE: "rewrite",
    "transforms.flat.add.fields": "op,table,lsn,source.ts_ms,transaction.id",
}
CLOUD = {"value.converter": "io.debezium.converters.CloudEventsConverter"}
AVRO_DATA = {
    **CLOUD,
    "value.converter.data.serializer.type": "avro",
    "value.converter.avro.schema.registry.url": REGISTRY,
}


def apicurio(**settings):
    """Apicurio's own converter for keys and values; _ and __ stand for - and . in the names."""
    settings |= {"url": f"{APICURIO}/apis/registry/v3", "auto_register": "true"}
    config = {}
    for side in ["key.converter", "value.converter"]:
        config[side] = "io.apicurio.registry.utils.converter.AvroConverter"
        for name, value in settings.items():
            name = name.replace("__", ".").replace("_", "-")
            config[f"{side}.apicurio.registry.{name}"] = value
    return config


EIGHT_BYTES = "io.apicurio.registry.serde.Legacy8ByteIdHandler"
DELETED = [["create"], ["update"], ["delete"]]
BOTH = [["create"], ["update"], ["delete", "tombstone"]]
SHAPES = [
    ("flat", "rewrite", "postgres-connector.json", ADDED, DELETED),
    ("flat", "rewrite-plain", "postgres-schemaless.json", ADDED, DELETED),
    ("flat", "rewrite-avro", "postgres-avro.json", ADDED, DELETED),
    (
        "flat",
        "rewrite-with-tombstone",
        "postgres-connector.json",
        {**FLAT, REWRITE: "rewrite-with-tombstone"},
        BOTH,
    ),
    (
        "flat",
        "tombstone",
        "postgres-connector.json",
        {**FLAT, "transforms.flat.add.headers": "op,table"},
        [["create"], ["update"], ["tombstone"]],
    ),
    ("flat", "tombstone-plain", "postgres-schemaless.json", FLAT, [["create"], [None], ["tombstone"]]),
    (
        "flat",
        "delete-to-tombstone",
        "postgres-connector.json",
        {**FLAT, REWRITE: "delete-to-tombstone"},
        [[None], [None], ["tombstone"]],
    ),
    ("flat", "drop", "postgres-connector.json", {**FLAT, REWRITE: "drop"}, [["create"], ["update"], []]),
    ("cloudevents", "schema", "postgres-connector.json", CLOUD, BOTH),
    (
        "cloudevents",
        "plain",
        "postgres-schemaless.json",
        {**CLOUD, "value.converter.json.schemas.enable": "false"},
        BOTH,
    ),
    ("cloudevents", "json-avro", "postgres-connector.json", AVRO_DATA, BOTH),
    (
        "cloudevents",
        "avro-avro",
        "postgres-avro.json",
        {**AVRO_DATA, "value.converter.serializer.type": "avro"},
        BOTH,
    ),
    ("apicurio", "four-bytes", "postgres-connector.json", apicurio(), BOTH),
    ("apicurio", "eight-bytes", "postgres-connector.json", apicurio(id_handler=EIGHT_BYTES), BOTH),
    (
        "apicurio",
        "header-global",
        "postgres-connector.json",
        apicurio(headers__enabled="true", use_id="globalId"),
        BOTH,
    ),
    (
        "apicurio",
        "header-content",
        "postgres-connector.json",
        apicurio(headers__enabled="true", use_id="contentId"),
        BOTH,
    ),
]
SHAPE_STATEMENTS = [
    """INSERT INTO users VALUES (9001, 'Alan', 'alan@example.org', true,
       '6f1d2c3b-4a59-4687-9788-99aabbccddee', '{"a": [1, 2.5, null], "b": "ü"}', 41,
       '2024-05-06 07:08:09.123456+02')""",
    "UPDATE users SET email = NULL, active = false WHERE id = 9001",
    "DELETE FROM users WHERE id = 9001",
]


# What the tables of the demo do not show: a table without a key, a key that is not the primary key,
# a truncate, a message. The statements, and the situations that each brings to which topic.
EVENTS_DDL = """
    CREATE TABLE shapes.keyless (id int, note text);
    ALTER TABLE shapes.keyless REPLICA IDENTITY FULL;
    CREATE TABLE shapes.keyed (id int PRIMARY KEY, region text NOT NULL, code int NOT NULL);
    ALTER TABLE shapes.keyed REPLICA IDENTITY FULL
"""
EVENTS = [
    ("shapes.keyless", ["create"], "INSERT INTO shapes.keyless VALUES (1, NULL)"),
    ("shapes.keyless", ["update"], "UPDATE shapes.keyless SET note = 'n'"),
    ("shapes.keyless", ["delete", "tombstone"], "DELETE FROM shapes.keyless"),
    ("shapes.keyless", ["truncate"], "TRUNCATE shapes.keyless"),
    ("shapes.keyed", ["create"], "INSERT INTO shapes.keyed VALUES (1, 'north', 7)"),
    ("shapes.keyed", ["update"], "UPDATE shapes.keyed SET id = 2"),
    (
        "shapes.keyed",
        ["move-delete", "move-tombstone", "move-create"],
        "UPDATE shapes.keyed SET code = 8",
    ),
    ("shapes.keyed", ["truncate"], "TRUNCATE shapes.keyed"),
    ("message", ["message"], "SELECT pg_logical_emit_message(true, 'audit', 'text')"),
]


# What the stack's connector does not send, and the next one does: a row for each edge of a type.
STRUCTURED_DDL = """
    CREATE TABLE structured.t (id int PRIMARY KEY, d date, tm time, tm3 time(3), tz timetz,
        ts timestamp, ts3 timestamp(3), tstz timestamptz, iv interval, ds date[], tss timestamp[])
"""
STRUCTURED = {
    "ordinary": """1, '2016-11-04', '13:51:30.123456', '13:51:30.123', '13:51:30.789+02',
        '2016-11-04 13:51:30.123456', '2016-11-04 13:51:30.123', '2016-11-04 13:51:30.123456+02',
        '1 year 2 mons 3 days 04:05:06.000007', '{2016-11-04,NULL}', '{2016-11-04 13:51:30.123456}'""",
    "null": "2",
    "earliest": """3, '4713-01-01 BC', '00:00', '00:00', '00:00+15:59:59', '4713-01-01 00:00 BC',
        '4713-01-01 00:00 BC', '4713-01-02 00:00+00 BC', '-178000000 years', '{}', '{}'""",
    "latest": """4, '5874897-12-31', '24:00', '24:00', '24:00-15:59:59',
        '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999',
        '294276-12-31 23:59:59.999999+00', '178000000 years 11 mons 31 days 838:59:59.999999'""",
    "positive-infinity": """5, 'infinity', NULL, NULL, NULL, 'infinity', 'infinity', 'infinity',
        NULL, '{infinity}', '{infinity}'""",
    "negative-infinity": """6, '-infinity', NULL, NULL, NULL, '-infinity', '-infinity',
        '-infinity', '-1 years -2 mons +3 days -04:05:06.000007', '{-infinity}', '{-infinity}'""",
    "before-epoch": """7, '1969-12-31', '23:59:59.999999', '23:59:59.999',
        '23:59:59.999999-00:30', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999',
        '1969-12-31 09:59:59.999999+00', '-00:00:00.000001'""",
    "bc": """8, '0044-03-15 BC', NULL, NULL, NULL, '0001-12-31 23:59:59 BC', NULL,
        '0001-12-31 23:59:59+00 BC', '1 mon -1 day'""",
}
FIGURES_DDL = """
    CREATE TABLE figures.t (id int PRIMARY KEY, ln line, sg lseg, bx box, pa path, pg polygon,
        ci circle, bxs box[])
"""
FIGURES = {
    "ordinary": """1, '{1.5,-1.5,0.5}', '[(0.5,0.5),(1.5,-1.5)]', '(1.5,2.5),(0.5,0.25)',
        '[(0.5,0.5),(1.5,1.5),(2.5,0.5)]', '((0.5,0.5),(1.5,1.5),(2.5,0.5))', '<(1.5,2.5),3.5>',
        '{}'""",
    "null": "2",
    "closed": """3, '{0,1,0}', '[(1,2),(1,2)]', '(1,1),(1,1)', '((0.5,0.5),(1.5,1.5),(2.5,0.5))',
        '((0,0),(1,1),(1,0))', '<(1,2),0>', '{(1,1),(0,0)}'""",
    "extreme": """4, '{0.1,1e-300,-0}', '[(0.1,-0),(1e300,5e-324)]', '(0.1,1e300),(-0.1,-1e300)',
        '[(0.1,1e300)]', '((0.1,1e300))', '<(-0.1,1.7976931348623157e308),5e-324>'""",
    "infinite": """5, '{1,0,Infinity}', '[(Infinity,-Infinity),(0,0)]',
        '(Infinity,Infinity),(-Infinity,-Infinity)', '((Infinity,0),(0,-Infinity))',
        '((Infinity,0),(0,0))', '<(Infinity,0),Infinity>'""",
    "nan": """6, '{1,0,NaN}', '[(NaN,0),(0,0)]', '(1,NaN),(0,2)', '[(NaN,0),(0,0)]',
        '((NaN,0),(NaN,0))', '<(NaN,0),NaN>'""",
}
TYPED = {"column.propagate.source.type": ".*"}
TIMES = {"time.precision.mode": "structured"}
NEXT = [
    ("structured", "json", "postgres-connector.json", TIMES, STRUCTURED_DDL, STRUCTURED),
    ("structured", "avro", "postgres-avro.json", TIMES, STRUCTURED_DDL, STRUCTURED),
    ("figures", "json", "postgres-connector.json", TYPED, FIGURES_DDL, FIGURES),
    ("figures", "avro", "postgres-avro.json", TYPED, FIGURES_DDL, FIGURES),
    ("figures", "untyped", "postgres-connector.json", {}, FIGURES_DDL, FIGURES),
    ("figures", "plain", "postgres-schemaless.json", {}, FIGURES_DDL, FIGURES),
]


def main():
    if sys.argv[1:] == ["next"]:
        for entry in NEXT:
            capture_next(*entry)
        return
    for format, file in FORMATS.items():
        capture_tables(format, file)
        capture_transaction(format, file)
    capture_mariadb()
    for shape in SHAPES:
        capture_shape(*shape)
    for format, file in FORMATS.items():
        capture_events(format, file)


def capture_events(format, file):
    """What happens to tables of all kinds."""
    settings = {
        "table.include.list": "shapes.keyless,shapes.keyed",
        "message.key.columns": "shapes.keyed:region,code",
        "skipped.operations": "none",
    }
    changes = [
        (name, f"{format}-{name.split('.')[-1]}", situations, statement)
        for name, situations, statement in EVENTS
    ]
    capture_schema("events", "shapes", format, file, settings, EVENTS_DDL, changes)


def capture_next(folder, format, file, settings, ddl, rows):
    """Inserts, as the connector after the stack's sends them: `capture.sh next` runs it."""
    settings = {**settings, "table.include.list": f"{folder}.t"}
    changes = [
        (f"{folder}.t", format, [situation], f"INSERT INTO {folder}.t VALUES ({row})")
        for situation, row in rows.items()
    ]
    capture_schema(folder, folder, format, file, settings, ddl, changes)


def capture_schema(folder, schema, format, file, settings, ddl, changes):
    """Changes in a schema that comes and goes: (topic, the names' beginning, situations, statement)."""
    prefix = f"{folder}_{format}"
    config = {
        **config_of(file),
        **settings,
        "name": prefix,
        "topic.prefix": prefix,
        "slot.name": prefix,
        "publication.name": schema,
        "snapshot.mode": "no_data",
    }
    admin = os.environ["SOURCE_ADMIN_URL"]
    remove = f"DROP PUBLICATION IF EXISTS {schema}; DROP SCHEMA IF EXISTS {schema} CASCADE"
    drop(config)
    postgres(remove, admin)
    postgres(
        f"CREATE SCHEMA {schema}; {ddl}; CREATE PUBLICATION {schema} FOR TABLES IN SCHEMA {schema};"
        f" GRANT USAGE ON SCHEMA {schema} TO debezium;"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO debezium",
        admin,
    )
    register(config)
    until(lambda: slot_is_active(prefix), f"the connector {prefix} to stream")
    seen = set()
    for name, beginning, situations, statement in changes:
        topic = f"{prefix}.{name}"
        change = lambda: postgres(statement, admin)
        if topic not in seen:
            # The first record makes the topic.
            change()
            record = take(topic, 1, OFFSET_BEGINNING)[0]
            write(folder, f"{beginning}-{situations[0]}", record)
        else:
            step(folder, topic, beginning, situations, change)
        seen.add(topic)
    save_fixture_schemas(folder)
    drop(config)
    postgres(remove, admin)


def capture_shape(folder, name, file, settings, situations):
    """What transforms and converters make of an insert, an update and a delete."""
    prefix = f"shapes_{name.replace('-', '_')}"
    config = {
        **config_of(file),
        **settings,
        "name": prefix,
        "topic.prefix": prefix,
        "slot.name": prefix,
        "table.include.list": "public.users",
        "snapshot.mode": "no_data",
    }
    drop(config)
    register(config)
    until(lambda: slot_is_active(prefix), f"the connector {prefix} to stream")
    topic = f"{prefix}.public.users"
    for statement in SHAPE_STATEMENTS:
        postgres(statement)
    wanted = [situation for step in situations for situation in step]
    for situation, record in zip(wanted, take(topic, len(wanted), OFFSET_BEGINNING)):
        if situation:
            write(folder, f"{name}-{situation}", record)
    save_fixture_schemas(folder)
    drop(config)


def capture_tables(format, file):
    """Snapshot reads, changes and a heartbeat of one format."""
    config = config_of(file)
    prefix = config["topic.prefix"]
    # The connector that `make stack` registers stays; the others come and go with this program.
    keep = prefix == "dbserver1"
    if not keep:
        drop(config)
    register(config)
    for table in ["users", "orders", "employees"]:
        write(format, f"{table}-read", first_row(f"{prefix}.public.{table}", format))
    for table, situations, statement in POSTGRES_STEPS:
        step(format, f"{prefix}.public.{table}", table, situations, lambda: postgres(statement))
    write(format, "heartbeat", take(f"__debezium-heartbeat.{prefix}", 1, OFFSET_BEGINNING)[0])
    if format == "avro":
        save_schemas(prefix)
    if not keep:
        drop(config)


def capture_transaction(format, file):
    """What `provide.transaction.metadata` adds: a topic of its own, and a block in each change."""
    config = config_of(file)
    prefix = f"{config['topic.prefix']}_tx"
    config |= {
        "name": prefix,
        "topic.prefix": prefix,
        "slot.name": prefix,
        "provide.transaction.metadata": "true",
        "snapshot.mode": "no_data",
    }
    drop(config)
    register(config)
    postgres(
        "BEGIN; UPDATE users SET age = 37 WHERE id = 1;"
        " UPDATE users SET age = 36 WHERE id = 1; COMMIT"
    )
    changes = take(f"{prefix}.public.users", 2, OFFSET_BEGINNING)
    write(format, "users-update-in-transaction", changes[0])
    begin, end = take(f"{prefix}.transaction", 2, OFFSET_BEGINNING)
    write(format, "transaction-begin", begin)
    write(format, "transaction-end", end)
    if format == "avro":
        save_fixture_schemas("avro")
    drop(config)


def capture_mariadb():
    config = config_of("mariadb-connector.json")
    drop(config)
    register(config)
    is_create = lambda record: b"CREATE TABLE" in base64.b64decode(record["value"])
    write("mariadb", "schema-change", take("mariadb1", 1, OFFSET_BEGINNING, is_create)[0])
    for table in ["customers", "products"]:
        topic = f"mariadb1.inventory.{table}"
        write("mariadb", f"{table}-read", take(topic, 1, OFFSET_BEGINNING)[0])
    for table, situations, statement in MARIADB_STEPS:
        topic = f"mariadb1.inventory.{table}"
        step("mariadb", topic, table, situations, lambda: mariadb(statement))
    drop(config)


def step(format, topic, table, situations, change):
    consumer = open_topic(topic, OFFSET_END)
    change()
    records = sorted(poll(consumer, topic, len(situations)), key=source_order)
    for situation, record in zip(situations, records):
        if situation:
            write(format, f"{table}-{situation}", record)


def source_order(record):
    """A delete, its tombstone, and the create of a moved row lie in different partitions."""
    names = [name for name, _ in record["headers"]]
    if "__debezium.oldkey" in names:
        return 2
    return 1 if record["value"] is None else 0


# Kafka


def first_row(topic, format):
    """The snapshot read of the row whose key is 1: the first record with that key."""

    def has_key_1(record):
        key = base64.b64decode(record["key"])
        if format == "avro":
            # After the frame, one zigzag varint.
            return key[5:] == b"\x02"
        key = json.loads(key)
        return list(key.get("payload", key).values()) == [1]

    return take(topic, 1, OFFSET_BEGINNING, has_key_1)[0]


def take(topic, count, position, wanted=lambda record: True):
    return poll(open_topic(topic, position), topic, count, wanted)


def open_topic(topic, position):
    """A consumer that stands at `position` in each partition, in no group."""
    consumer = Consumer(
        {"bootstrap.servers": BROKERS, "group.id": "capture", "enable.auto.commit": False}
    )
    starts = []
    until(lambda: starts.extend(positions(consumer, topic, position)) or starts, f"topic {topic}")
    consumer.assign(starts)
    return consumer


def positions(consumer, topic, position):
    """None yet while the topic is being made."""
    found = []
    try:
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            place = TopicPartition(topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=10)
            place.offset = low if position == OFFSET_BEGINNING else high
            found.append(place)
    except KafkaException:
        return []
    return found


def poll(consumer, topic, count, wanted=lambda record: True):
    records = []
    deadline = time.time() + 60
    while len(records) < count:
        message = consumer.poll(0.2)
        if message is None or message.error():
            if time.time() > deadline:
                raise SystemExit(f"{topic}: {len(records)} of {count} records came within 60 s")
            continue
        if wanted(record := as_fixture(message)):
            records.append(record)
    consumer.close()
    place = lambda record: (record["timestamp"], record["partition"], record["offset"])
    return sorted(records, key=place)


def as_fixture(message):
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": text(message.key()),
        "value": text(message.value()),
        "headers": [[name, text(value)] for name, value in message.headers() or []],
    }


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def write(format, name, record):
    write_json(FIXTURES / format / f"{name}.json", record)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


# Connect


def config_of(file):
    content = (ROOT / "debezium-config" / file).read_text()
    for name, value in os.environ.items():
        content = content.replace("${" + name + "}", value)
    return json.loads(content)


def register(config):
    name = config["name"]
    call("PUT", f"{CONNECT}/connectors/{name}/config", config)
    deadline = time.time() + 60
    while time.time() < deadline:
        status = call("GET", f"{CONNECT}/connectors/{name}/status") or {}
        tasks = status.get("tasks", [])
        if tasks and all(task["state"] == "RUNNING" for task in tasks):
            return
        time.sleep(0.5)
    raise SystemExit(f"connector {name} did not start: {status}")


def drop(config):
    """Takes a connector away with its offsets, slot and topics, if it is there."""
    prefix = config["topic.prefix"]
    connector = f"{CONNECT}/connectors/{config['name']}"
    if call("GET", connector):
        call("PUT", f"{connector}/stop")
        until(lambda: not call("GET", f"{connector}/status").get("tasks"), f"{prefix} to stop")
        call("DELETE", f"{connector}/offsets")
        call("DELETE", connector)
    if slot := config.get("slot.name"):
        until(lambda: not slot_is_active(slot), f"slot {slot} to be free")
        postgres(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            f" WHERE slot_name = '{slot}'",
            os.environ["SOURCE_ADMIN_URL"],
        )
    own = [prefix, f"__debezium-heartbeat.{prefix}", f"history.{prefix}"]
    admin = AdminClient({"bootstrap.servers": BROKERS})

    def topics():
        names = admin.list_topics(timeout=10).topics
        return [name for name in names if name in own or name.startswith(f"{prefix}.")]

    if topics():
        for deletion in admin.delete_topics(topics()).values():
            deletion.result()
        until(lambda: not topics(), f"the topics of {prefix} to be gone")


def slot_is_active(slot):
    query = f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
    return postgres(query, os.environ["SOURCE_ADMIN_URL"]).strip() == "1"


def until(condition, what):
    deadline = time.time() + 60
    while not condition():
        if time.time() > deadline:
            raise SystemExit(f"waited 60 s for {what}")
        time.sleep(0.2)


def call(method, url, body=None):
    """The answer as JSON, None where there is nothing (yet); a worker that rebalances is asked again."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    deadline = time.time() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            text = error.read().decode()
            is_rebalance = error.code == 409 or "rebalance is expected" in text
            if not is_rebalance or time.time() > deadline:
                raise SystemExit(f"{method} {url}: {error.code} {text}")
            time.sleep(0.5)


# Databases


def postgres(statement, url=None):
    url = url or os.environ["SOURCE_DATABASE_URL"]
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def mariadb(statement):
    url = urllib.parse.urlsplit(os.environ["MARIADB_URL"])
    command = ["mariadb", "--default-character-set=utf8mb4"]
    command += [f"-u{url.username}", f"-p{url.password}", f"-h{url.hostname}", f"-P{url.port}"]
    subprocess.run([*command, url.path.strip("/"), "-e", statement], check=True)


# Schemas


def save_schemas(prefix):
    for table in ["users", "orders", "employees"]:
        for side in ["key", "value"]:
            subject = f"{prefix}.public.{table}-{side}"
            version = call("GET", f"{REGISTRY}/subjects/{subject}/versions/latest")
            write_json(SCHEMAS / f"{table}-{side}.avsc", json.loads(version["schema"]))


def save_fixture_schemas(folder):
    """Every schema that a captured record of a folder names; one that refers to others behind them."""
    ids = set()
    for path in (FIXTURES / folder).glob("*.json"):
        if path.name == "schemas.json":
            continue
        record = json.loads(path.read_text())
        for side in ["key", "value"]:
            ids.update(schema_ids(side, base64.b64decode(record[side] or ""), record["headers"]))
    schemas = {name: schema_texts(kind, id) for name, kind, id in sorted(ids)}
    if schemas:
        write_json(FIXTURES / folder / "schemas.json", schemas)


def schema_ids(side, data, headers):
    """The ids in the headers or in front of Avro, also of Avro inside a CloudEvent: as the program
    spells them, Apicurio's kind, and the number."""
    for name, value in headers:
        for kind in ["globalId", "contentId"]:
            if name == f"apicurio.{side}.{kind}":
                id = int.from_bytes(base64.b64decode(value), "big")
                return [(f"{kind} {id}", kind, id)]
    if data[:5] == bytes(5):
        id = int.from_bytes(data[1:9], "big")
        return [(f"{id} of eight bytes", "contentId", id)]
    ids = [int.from_bytes(data[1:5], "big")] if data[:1] == b"\0" else []
    ids += map(int, re.findall(rb"/schemas/ids/(\d+)", data))
    return [(str(id), "contentId", id) for id in ids]


def schema_texts(kind, id):
    """A schema's text, or a list: those that it refers to, then its own."""
    path = f"ids/{kind}s/{id}"
    seen, open_paths = {}, referred(path)
    while open_paths:
        artifact = open_paths.pop()
        if artifact not in seen:
            seen[artifact] = apicurio_text(f"{artifact}/content")
            open_paths += referred(artifact)
    own = apicurio_text(path)
    return [*seen.values(), own] if seen else own


def referred(path):
    return [
        f"groups/default/artifacts/{reference['artifactId']}/versions/{reference['version']}"
        for reference in json.loads(apicurio_text(f"{path}/references"))
    ]


def apicurio_text(path):
    with urllib.request.urlopen(f"{APICURIO}/apis/registry/v3/{path}", timeout=30) as response:
        return response.read().decode()


if __name__ == "__main__":
    main()
