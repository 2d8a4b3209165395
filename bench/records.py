"""Real records: captured from connectors of their own, and cut into pieces with holes.

A piece is bytes as they came, or a hole that `fill.rs` fills. The pieces with the captured values in
their holes are compared with the captured bytes, so that what is multiplied is what Debezium wrote.
"""

import base64
import http.client
import io
import json
import os
import re
import time
import urllib.error
import urllib.request

import confluent_kafka
import fastavro
import psycopg
from confluent_kafka.admin import AdminClient

from places import BROKERS, CONNECT, NAME, REGISTRY, ROOT, SOURCE, connect

FORMATS = {
    "json": "JSON with schemas",
    "plain_json": "JSON without schemas",
    "avro": "Avro",
}
PATIENCE = 120
# The event and the row whose record is captured.
EVENT, ROW = 6, 7


class Sample:
    """The captured records of one table in one format, by op."""

    def __init__(self, kind, format):
        self.kind, self.format = kind, format
        self.key, self.values, self.headers, self.schemas = None, {}, [], {}

    def as_kind(self, kind):
        """The same records, with other values in their holes."""
        other = Sample(kind, self.format)
        other.key, other.values = self.key, self.values
        other.headers, other.schemas = self.headers, self.schemas
        return other

    def table(self, topic, name=None):
        """What `fill.rs` needs to write to a topic, as a table of another name."""
        ops = {"create": "c", "update": "u", "delete": "d"}
        cut = AvroPieces(self, topic, name) if self.format == "avro" else JsonPieces(self, name)
        pieces = {op: cut.pieces("value", self.values[short]) for op, short in ops.items()}
        headers = [[name, value.decode()] for name, value in self.headers]
        return {"topic": topic, "key": cut.pieces("key", self.key), "headers": headers} | pieces

    def holes(self):
        """What goes where in an envelope, by path."""
        rising = {"of": "event", "factor": 1, "modulus": 2**31, "shape": "number"}
        row = rising | {"of": "row", "low": 0}
        holes = {("id",): row, ("after", "id"): row, ("before", "id"): row}
        for column in self.kind.columns:
            holes["after", column.name] = column.hole()
        for path in (("source", "lsn"), ("source", "txId"), ("source", "ts_ms"), ("ts_ms",)):
            holes[path] = rising
        return holes


class JsonPieces:
    def __init__(self, sample, name):
        self.sample, self.name = sample, name

    def pieces(self, _side, captured):
        document = json.loads(captured)
        assert compact(document) == captured.decode(), "not as Debezium writes it"
        text = captured.decode()
        if self.name:
            text = text.replace(f".{self.sample.kind.name}.", f".{self.name}.")
            document = json.loads(text)
        payload = document["payload"] if "payload" in document else document
        if self.name and payload.get("source"):
            payload["source"]["table"] = self.name
        holes = []
        for path, hole in self.sample.holes().items():
            inner = payload
            for name in path[:-1]:
                inner = inner.get(name) or {}
            value = inner.get(path[-1])
            if value is not None:
                inner[path[-1]] = f"@@{len(holes)}@@"
                holes.append({"low": value} | hole)
        pieces = []
        for place, part in enumerate(re.split(r'"@@(\d+)@@"', compact(document))):
            pieces.append({"hole": holes[int(part)]} if place % 2 else as_bytes(part.encode()))
        return pieces


class AvroPieces:
    def __init__(self, sample, topic, name):
        self.sample, self.topic, self.name = sample, topic, name
        self.holes, self.ids = sample.holes(), {}

    def pieces(self, side, captured):
        id = int.from_bytes(captured[1:5])
        schema = json.loads(self.sample.schemas[id])
        parsed = fastavro.parse_schema(schema)
        value = fastavro.schemaless_reader(io.BytesIO(captured[5:]), parsed, None)
        self.named = dict(named_in(schema, ""))
        plain = [piece for piece, _ in self.walk(schema, value, ())]
        assert b"".join(plain) == captured[5:], "not as the converter writes it"
        if self.name:
            if "source" in value:
                value["source"]["table"] = self.name
        pieces = [as_bytes(b"\0" + self.registered(side, id).to_bytes(4))]
        for bytes, hole in self.walk(schema, value, ()):
            pieces.append({"hole": hole} if hole else as_bytes(bytes))
        return merged(pieces)

    def registered(self, side, id):
        """Registers the topic's schema as its connector would, for a table of another name too."""
        if side not in self.ids:
            text = self.sample.schemas[id]
            if self.name:
                text = text.replace(f".{self.sample.kind.name}", f".{self.name}")
            subject = f"{self.topic}-{side}"
            answer = ask("POST", f"{REGISTRY}/subjects/{subject}/versions", {"schema": text})
            self.ids[side] = answer["id"]
        return self.ids[side]

    def walk(self, schema, value, path):
        """Yields the bytes of each leaf with the hole that stands there, if any."""
        if isinstance(schema, str) and schema in self.named:
            schema = self.named[schema]
        if isinstance(schema, list):
            branches = [place for place, branch in enumerate(schema)
                        if (branch == "null") == (value is None)]
            yield encoded("long", branches[0]), None
            if value is not None:
                yield from self.walk(schema[branches[0]], value, path)
        elif isinstance(schema, dict) and schema["type"] == "record":
            for field in schema["fields"]:
                yield from self.walk(field["type"], value[field["name"]], (*path, field["name"]))
        else:
            hole = self.holes.get(path)
            if hole and "low" not in hole:
                hole = {"low": value} | hole
            yield encoded(schema, value), hole


def named_in(schema, space):
    """Yields the records within a schema, by short and by full name."""
    if isinstance(schema, list):
        for branch in schema:
            yield from named_in(branch, space)
    elif isinstance(schema, dict) and schema["type"] == "record":
        space = schema.get("namespace", space)
        yield schema["name"], schema
        yield f"{space}.{schema['name']}", schema
        for field in schema["fields"]:
            yield from named_in(field["type"], space)


def encoded(schema, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def compact(document):
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def as_bytes(bytes):
    return {"bytes": base64.b64encode(bytes).decode()}


def merged(pieces):
    """Neighbours that are bytes as one piece."""
    joined = []
    for piece in pieces:
        if joined and "bytes" in piece and "bytes" in joined[-1]:
            both = base64.b64decode(joined[-1]["bytes"]) + base64.b64decode(piece["bytes"])
            joined[-1] = as_bytes(both)
        else:
            joined.append(piece)
    return joined


# Capturing

# Counts the connectors' lives.
_born = int(time.time())


def capture(kinds, formats):
    """Returns the samples by the names of kind and format."""
    drop_source()
    try:
        create_source(kinds)
        for format in formats:
            register_connector(format, kinds)
        for format in formats:
            await_running(format)
        # What comes after the snapshot of empty tables is streamed.
        change_rows(kinds)
        return {(kind.name, format): collect(kind, format) for kind in kinds for format in formats}
    finally:
        drop_source()


def create_source(kinds):
    global _born
    _born += 1
    with connect(SOURCE) as source:
        source.execute(f"CREATE SCHEMA {NAME}")
        source.execute(f"GRANT USAGE ON SCHEMA {NAME} TO debezium")
        for kind in kinds:
            columns = "".join(f", {c.name} {c.type} NOT NULL" for c in kind.columns)
            source.execute(f"CREATE TABLE {NAME}.{kind.name} (id bigserial PRIMARY KEY{columns})")
        source.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {NAME} TO debezium")
        source.execute(f"CREATE PUBLICATION {NAME} FOR TABLES IN SCHEMA {NAME}")


def connector(format):
    """A name that no connector had before: where that one stood is nowhere to begin."""
    return f"{NAME}_{format}_{_born}"


def server(format):
    return f"{NAME}_{format}"


def register_connector(format, kinds):
    file = "postgres-avro.json" if format == "avro" else "postgres-connector.json"
    text = (ROOT / "debezium-config" / file).read_text()
    text = re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], text)
    name = connector(format)
    config = json.loads(text) | {
        "name": name, "topic.prefix": server(format), "slot.name": name, "publication.name": NAME,
        "table.include.list": ",".join(f"{NAME}.{kind.name}" for kind in kinds),
        "heartbeat.interval.ms": "0",
    }
    if format == "plain_json":
        config |= {"key.converter.schemas.enable": "false", "value.converter.schemas.enable": "false"}
    ask("PUT", f"{CONNECT}/connectors/{name}/config", config)


def await_running(format):
    """Waits until the connector streams: what is written before that would be a snapshot's read."""
    deadline = time.time() + PATIENCE
    with connect(SOURCE) as source:
        while not source.execute("""SELECT 1 FROM pg_replication_slots
                WHERE slot_name = %s AND active""", [connector(format)]).fetchone():
            status = ask("GET", f"{CONNECT}/connectors/{connector(format)}/status") or {}
            failed = [task["trace"] for task in status.get("tasks", []) if "trace" in task]
            if failed or time.time() > deadline:
                raise SystemExit(f"the connector {connector(format)} does not stream: {failed}")
            time.sleep(0.2)


def change_rows(kinds):
    with connect(SOURCE) as source:
        source.execute("CREATE SCHEMA IF NOT EXISTS model")
        source.execute("CREATE TABLE model.pad AS SELECT repeat('0123456789abcdef', 4096) AS pad")
        for kind in kinds:
            values = f"SELECT {kind.values()} FROM (VALUES ({EVENT}::bigint, {ROW}::bigint)) AS e (event, row)"
            source.execute(f"INSERT INTO {NAME}.{kind.name} ({kind.names()}) {values}")
            first = kind.columns[0].name
            source.execute(f"UPDATE {NAME}.{kind.name} SET {first} = {first}")
            source.execute(f"DELETE FROM {NAME}.{kind.name}")
        source.execute("DROP SCHEMA model CASCADE")


def collect(kind, format):
    """Reads the create, the update, the delete and the tombstone."""
    sample = Sample(kind, format)
    topic = f"{server(format)}.{NAME}.{kind.name}"
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": BROKERS, "group.id": NAME, "auto.offset.reset": "earliest",
        "enable.auto.commit": False, "topic.metadata.refresh.interval.ms": 500})
    consumer.subscribe([topic])
    deadline = time.time() + PATIENCE
    is_complete = False
    while not is_complete:
        if time.time() > deadline:
            raise SystemExit(f"{topic} has only {sorted(sample.values)}")
        record = consumer.poll(0.5)
        if record is None or record.error():
            continue
        sample.key, sample.headers = record.key(), record.headers()
        if record.value() is None:
            is_complete = True
        elif (op := op_of(sample, record.value())) in "cud":
            sample.values[op] = record.value()
    consumer.close()
    if format == "avro":
        schema_of(sample, sample.key)
    return sample


def op_of(sample, value):
    if sample.format != "avro":
        document = json.loads(value)
        return document.get("payload", document)["op"]
    schema = fastavro.parse_schema(json.loads(schema_of(sample, value)))
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)["op"]


def schema_of(sample, framed):
    id = int.from_bytes(framed[1:5])
    if id not in sample.schemas:
        sample.schemas[id] = ask("GET", f"{REGISTRY}/schemas/ids/{id}")["schema"]
    return sample.schemas[id]


def drop_source():
    for name in ask("GET", f"{CONNECT}/connectors"):
        if name.startswith(f"{NAME}_"):
            ask("DELETE", f"{CONNECT}/connectors/{name}")
    drop_slots()
    with connect(SOURCE, options="-c client_min_messages=error") as source:
        source.execute(f"DROP PUBLICATION IF EXISTS {NAME}")
        source.execute(f"DROP SCHEMA IF EXISTS {NAME} CASCADE")
    delete_topics([f"{server(format)}." for format in FORMATS])
    # A future of a client that is gone is never done.
    admin = admin_client()
    for deletion in admin.delete_consumer_groups([NAME]).values():
        deletion.exception()


def drop_slots():
    deadline = time.time() + PATIENCE
    left = f"SELECT slot_name FROM pg_replication_slots WHERE starts_with(slot_name, '{NAME}_')"
    with connect(SOURCE) as source:
        while slots := source.execute(left).fetchall():
            for [slot] in slots:
                try:
                    source.execute("SELECT pg_drop_replication_slot(%s)", [slot])
                except psycopg.Error:
                    # Its connector has not let go yet.
                    if time.time() > deadline:
                        raise
                    time.sleep(0.2)


def admin_client():
    # It would tell of each of its own ends.
    return AdminClient({"bootstrap.servers": BROKERS, "log_level": 3})


def delete_topics(prefixes):
    admin = admin_client()
    topics = [topic for topic in admin.list_topics(timeout=10).topics
              if any(topic.startswith(prefix) for prefix in prefixes)]
    for deletion in (admin.delete_topics(topics) if topics else {}).values():
        deletion.exception()


def drop_schemas():
    """Takes back the subjects of the harness; a registry that refuses keeps them."""
    for subject in ask("GET", f"{REGISTRY}/subjects") or []:
        if subject.startswith((f"{NAME}data.", *(f"{server(format)}." for format in FORMATS))):
            ask("DELETE", f"{REGISTRY}/subjects/{subject}")


def ask(method, url, body=None):
    """Asks Connect or the registry; `None` where it has nothing. What is asked may be asked again, as
    where one of thousands of connections is dropped."""
    request = urllib.request.Request(url, method=method)
    request.add_header("Content-Type", "application/json")
    data = None if body is None else json.dumps(body).encode()
    try:
        try:
            text = _answer(request, data)
        except http.client.RemoteDisconnected:
            time.sleep(1)
            text = _answer(request, data)
    except urllib.error.HTTPError as error:
        if method in ("PUT", "POST") and body is not None:
            raise SystemExit(f"{method} {url}: {error.read().decode()}") from error
        return None
    return json.loads(text) if text else None


def _answer(request, data):
    with urllib.request.urlopen(request, data, timeout=60) as answer:
        return answer.read()
