"""The topics as they are: their ends, and their records as another library than the consumer's reads
them."""

import io
import json
import struct
import urllib.request

from confluent_kafka import Consumer, KafkaError, TopicPartition
from fastavro import parse_schema, schemaless_reader

from places import BROKERS, NAME, REGISTRY

CLIENT = {
    "bootstrap.servers": BROKERS, "group.id": f"{NAME}_judge", "enable.auto.commit": False,
    "enable.partition.eof": True,
}


def ends():
    """The ends of all partitions that hold a record."""
    consumer, found = Consumer(CLIENT), {}
    for name, topic in consumer.list_topics(timeout=10).topics.items():
        if name.startswith((f"{NAME}_json.", f"{NAME}_avro.")):
            for partition in topic.partitions:
                place = TopicPartition(name, partition)
                found[name, partition] = consumer.get_watermark_offsets(place, timeout=10)[1]
    consumer.close()
    return found


def records(topic, partition):
    """Reads a partition from its start to its end: of each record its offset, its key's bytes and its
    envelope, which a tombstone has not."""
    consumer = Consumer(CLIENT)
    consumer.assign([TopicPartition(topic, partition, 0)])
    try:
        while (record := consumer.poll(30)) is not None:
            if record.error() is None:
                value = record.value()
                yield record.offset(), record.key(), None if value is None else envelope(value)
            elif record.error().code() == KafkaError._PARTITION_EOF:
                return
            else:
                raise SystemExit(f"cannot read {topic}[{partition}]: {record.error()}")
        raise SystemExit(f"cannot read {topic}[{partition}]: nothing comes any more before its end")
    finally:
        consumer.close()


SCHEMAS = {}


def envelope(value):
    if value[0] != 0:
        return json.loads(value)["payload"]
    (schema,) = struct.unpack(">I", value[1:5])
    if schema not in SCHEMAS:
        with urllib.request.urlopen(f"{REGISTRY}/schemas/ids/{schema}", timeout=10) as answer:
            SCHEMAS[schema] = parse_schema(json.loads(json.load(answer)["schema"]))
    return schemaless_reader(io.BytesIO(value[5:]), SCHEMAS[schema])
