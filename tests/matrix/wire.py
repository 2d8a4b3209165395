"""What the records hold: read from the topics, and taken apart as far as one field."""

import base64
import functools
import json
import os
import struct
import time
import urllib.request

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec


def rows(topics):
    """The records of topics with one partition each, as they lie there: by topic, a list."""
    settings = {
        "bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"],
        "group.id": "matrix",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "fetch.queue.backoff.ms": 10,
    }
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0) for topic in topics])
    found, open_topics, deadline = {topic: [] for topic in topics}, set(topics), time.time() + 60
    while open_topics:
        message = consumer.poll(1)
        if time.time() > deadline:
            raise SystemExit(f"not read to the end within 60 s: {', '.join(sorted(open_topics))}")
        if message is None:
            continue
        if message.error():
            # The end of a partition is told as an error.
            open_topics.discard(message.topic())
        else:
            found[message.topic()].append(message)
    consumer.close()
    return found


def counts(topics):
    """How many records each topic has got; 0 as well while its partition has no leader yet."""
    admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
    latest = {TopicPartition(topic, 0): OffsetSpec.latest() for topic in topics}
    found = dict.fromkeys(topics, 0)
    for partition, answer in admin.list_offsets(latest, request_timeout=30).items():
        if answer.exception() is None:
            found[partition.topic] = answer.result().offset
    return found


def key_id(data):
    """The key's id, in whatever format."""
    return unpack(data)["id"]


def after(message):
    """The row after the change, None where there is none."""
    value = message.value()
    return None if value is None else unpack(value)["after"]


def unpack(data):
    if data[:1] == b"\0":
        fields, end = avro(data, 5, schema_of(int.from_bytes(data[1:5], "big")))
        if end != len(data):
            raise SystemExit("an Avro record is longer than its schema says")
        return fields
    content = json.loads(data, parse_float=str)
    return content["payload"] if set(content) == {"schema", "payload"} else content


def avro(data, at, schema):
    """The value at a place of an Avro body, and the place behind it."""
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, list):
        branch, at = varint(data, at)
        return avro(data, at, schema[branch])
    match kind:
        case "null":
            return None, at
        case "boolean":
            return data[at] == 1, at + 1
        case "int" | "long":
            return varint(data, at)
        case "float":
            return repr(struct.unpack_from("<f", data, at)[0]), at + 4
        case "double":
            return repr(struct.unpack_from("<d", data, at)[0]), at + 8
        case "string" | "bytes":
            length, at = varint(data, at)
            part = data[at : at + length]
            text = part.decode() if kind == "string" else base64.b64encode(part).decode()
            return text, at + length
        case "record":
            fields = {}
            for field in schema["fields"]:
                fields[field["name"]], at = avro(data, at, field["type"])
            return fields, at
        case "array" | "map":
            items = []
            while True:
                count, at = varint(data, at)
                if count == 0:
                    return items, at
                if count < 0:
                    _, at = varint(data, at)
                for _ in range(abs(count)):
                    if kind == "map":
                        name, at = avro(data, at, "string")
                    item, at = avro(data, at, schema["items" if kind == "array" else "values"])
                    items.append(item if kind == "array" else [name, item])
    raise SystemExit(f"an Avro schema of type {kind}")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def schema_of(id):
    return parsed(schema_text(id))


@functools.cache
def schema_text(id):
    with urllib.request.urlopen(f"{os.environ['SCHEMA_REGISTRY_URL']}/schemas/ids/{id}") as answer:
        return json.load(answer)["schema"]


@functools.cache
def parsed(text):
    return resolved(json.loads(text), {})


def resolved(schema, named):
    """A schema with each name replaced by what it was defined as."""
    if isinstance(schema, list):
        return [resolved(branch, named) for branch in schema]
    if isinstance(schema, str):
        return named.get(schema, schema)
    if isinstance(schema["type"], (dict, list)):
        return resolved(schema["type"], named)
    if schema["type"] == "record":
        space = schema.get("namespace", "")
        full = f"{space}.{schema['name']}" if space else schema["name"]
        named[full] = named[schema["name"]] = schema
        for field in schema["fields"]:
            field["type"] = resolved(field["type"], named)
    for part in ["items", "values"]:
        if part in schema:
            schema[part] = resolved(schema[part], named)
    return schema
