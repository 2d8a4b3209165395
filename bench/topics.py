"""The topics of a part: filled once, read by every contender of its rounds, deleted at the end."""

import json
import subprocess
import time

from confluent_kafka.admin import NewTopic

import records
from places import BROKERS, FILL, NAME
from works import FIRST_ROW, PARTITIONS

PRODUCER = [["partitioner", "murmur2_random"], ["compression.type", "lz4"]]
# A batch that is sent again, as to a topic that is new, must not come behind later ones.
BACKLOG = PRODUCER + [
    ["enable.idempotence", "true"], ["linger.ms", "20"], ["delivery.report.only.error", "true"],
    ["queue.buffering.max.messages", "200000"], ["queue.buffering.max.kbytes", "262144"]]
# How many records a batch has where a connector streams a backlog, on the mean of 100,000 new rows: a consumer
# pays for each batch. Connect's producer lets one grow to 16 KB as compressed, librdkafka's to so many bytes
# as they are.
RECORDS_OF_A_BATCH = {
    ("orders", "avro"): 56, ("orders", "json"): 20, ("orders", "plain_json"): 57, ("plain", "avro"): 56,
    ("wide", "avro"): 29, ("big", "avro"): 1}
# A backlog is made sooner by so many than by one, or by three.
PRODUCERS = 2
# Rows that are all new need no order, and may come twice. A producer that has to keep order takes a whole core
# while it waits for a broker that is behind, which is then more behind.
PROMPT = PRODUCER + [["linger.ms", "0"], ["max.in.flight", "5"]]
PREFIX = f"{NAME}data."


class Filled:
    """A backlog: its topics, and what the generator says of it."""

    def __init__(self, work, format, names, records=0, bytes=0):
        self.work, self.format, self.names = work, format, names
        self.records, self.bytes = records, bytes


def create(names, partitions=PARTITIONS):
    admin = records.admin_client()
    config = {"retention.ms": "-1"}
    topics = [NewTopic(name, partitions, 1, config=config) for name in names]
    for creation in admin.create_topics(topics).values():
        creation.result()


def fill(work, format, sample, label=""):
    """Makes the topics of a work and fills them."""
    names = [f"{PREFIX}{format}.{work.name}{label}.{table}" for table in work.table_names()]
    drop(names)
    create(names)
    return extend(Filled(work.sized(0), format, names), work, sample)


def extend(filled, work, sample):
    """Puts the rest of a work behind what is there of it."""
    format, there = filled.format, filled.work.count
    batch = [["batch.num.messages", str(RECORDS_OF_A_BATCH[work.kind.name, format])]]
    report = run_fill(job(work, format, sample, filled.names, BACKLOG + batch, there))
    return Filled(work, format, filled.names, filled.records + report["records"],
                  filled.bytes + report["bytes"])


def job(work, format, sample, names, properties, there=0):
    renamed = work.table_names() if work.tables > 1 else [None]
    return {
        "brokers": BROKERS, "partitions": PARTITIONS, "properties": properties,
        "format": "avro" if format == "avro" else "json", "work": work.fill_work(),
        "first": work.rows + there, "count": work.count - there, "rate": None, "producers": PRODUCERS,
        "first_row": FIRST_ROW if there == 0 else None, "last_row": work.last_row(),
        "tables": [sample.table(topic, name) for topic, name in zip(names, renamed)],
    }


def run_fill(job):
    done = subprocess.run([FILL], input=json.dumps(job), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"fill: {done.stderr}")
    return json.loads(done.stdout)


def drop(names):
    """Deletes topics and waits until the broker knows none of them."""
    admin = records.admin_client()
    for deletion in admin.delete_topics(names).values():
        deletion.exception()
    while set(names) & set(admin.list_topics(timeout=10).topics):
        time.sleep(0.1)


def drop_all():
    records.delete_topics([PREFIX])
