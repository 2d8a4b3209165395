"""Dead letters at the end: which of them only a connector's repetition has made.

A connector that was restarted sends changes again. A repeated update that lacks a long value, of a row
whose delete was applied before, finds no row to keep it from: the record is refused, as it must be,
and nothing is lost, for its delete follows again.
"""

import io
import json
import struct
import urllib.request

from confluent_kafka import Consumer, KafkaError, TopicPartition
from fastavro import parse_schema, schemaless_reader

from places import BROKERS, NAME, REGISTRY, TARGET, psql

REPEATED = "unavailable_without_row"


def judge():
    """The letters that nothing explains, a line each, and how many were of repetitions."""
    unexplained, may_be_repeated = [], {}
    rows = psql(TARGET, """SELECT topic, "partition", record_offset, reason, coalesce(error, '')
        FROM afterimage.dead_letter""")
    for topic, partition, offset, reason, error in rows:
        if reason == REPEATED:
            may_be_repeated.setdefault((topic, int(partition)), set()).add(int(offset))
        else:
            unexplained.append(f"dead letter: {topic}[{partition}] at {offset}: {reason} {error}")
    count = 0
    for (topic, partition), offsets in may_be_repeated.items():
        first = first_times(topic, partition, offsets)
        count += len(offsets) - len(first)
        unexplained += [f"dead letter: {topic}[{partition}] at {offset}: {REPEATED}, and it came once"
                        for offset in sorted(first)]
    return unexplained, count


def first_times(topic, partition, offsets):
    """Those of the offsets whose change, by its key and place, was not sent before."""
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": f"{NAME}_judge",
                         "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0)])
    seen, first = set(), set()
    while record := consumer.poll(30):
        if record.error():
            if record.error().code() == KafkaError._PARTITION_EOF:
                break
            raise SystemExit(f"cannot read {topic}: {record.error()}")
        if record.value() is not None:
            change = record.key(), envelope(record.value())["source"]["lsn"]
            if record.offset() in offsets and change not in seen:
                first.add(record.offset())
            seen.add(change)
        if record.offset() >= max(offsets):
            break
    consumer.close()
    return first


SCHEMAS = {}


def envelope(value):
    if value[0] != 0:
        return json.loads(value)["payload"]
    (schema,) = struct.unpack(">I", value[1:5])
    if schema not in SCHEMAS:
        with urllib.request.urlopen(f"{REGISTRY}/schemas/ids/{schema}", timeout=10) as answer:
            SCHEMAS[schema] = parse_schema(json.loads(json.load(answer)["schema"]))
    return schemaless_reader(io.BytesIO(value[5:]), SCHEMAS[schema])
