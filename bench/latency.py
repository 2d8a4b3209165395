"""How long a record takes: from its time of sending, or from the source's commit, to the target's.

An observer asks the target for new rows without a pause between its questions, and takes the time at
which it has their answer; so what is measured is what a reader sees, the observer's own time included.
"""

import contextlib
import json
import subprocess
import threading
import time

import confluent_kafka

import model
import records
import topics
from contenders import LARGEST, SINKS, Consumer, Sink
from measure import Watch
from places import BROKERS, CORES, FILL, NAME, SOURCE, TARGET, connect, idle_seconds
from works import CLOCKED, CLOCKED_CREATES, ORDERS, PARTITIONS

RATES = (100, 1_000, 10_000)
# The one that is held against a goal.
HELD = 1_000
SOURCE_RATES = (100, 1_000)
# Seconds that are measured, behind some that are not.
MEASURED, LEAD_IN = 10, 3
COMMITS = 1_000


def latency(bench):
    own, sink = Consumer("consumer, 1 lane"), Sink(bench.worker, LARGEST, **SINKS[LARGEST])
    yield from bare_commits(bench)
    # Runs that do not count: a broker, and a worker, that has just been started is compiled while it works.
    for contender in (own, sink):
        from_broker(bench, contender, RATES[-1])
    for rate in [HELD] if bench.is_short else RATES:
        for round in range(bench.rounds):
            yield told(bench, from_broker(bench, own, rate), round)
        # The sink's are so much longer that one round tells.
        yield told(bench, from_broker(bench, sink, rate), 0)
    yield told(bench, to_client(bench, HELD), 0)
    for rate in () if bench.is_short else SOURCE_RATES:
        for contender in (own, sink):
            yield told(bench, from_source(bench, contender, rate), 0)


def told(bench, run, round):
    bench.say(f"  {run['contender']}, {run['what']}, {run['rate']} a second: p50 {run['p50']:.1f},"
              f" p99 {run['p99']:.1f}, max {run['max']:.1f} ms")
    return run | {"round": round}


def bare_commits(bench):
    """One row, one commit, by a client that does nothing else; as many before do not count."""
    with connect(TARGET) as target:
        target.execute("CREATE TABLE model.bare (id bigint PRIMARY KEY, body text)")
        times = []
        for id in range(2 * COMMITS):
            begin = time.perf_counter()
            target.execute("INSERT INTO model.bare VALUES (%s, 'a row')", [id])
            times.append(time.perf_counter() - begin)
        target.execute("DROP TABLE model.bare")
    yield told(bench, summary("a bare commit of one row", "insert and commit", 0, times[COMMITS:]), 0)


def from_broker(bench, contender, rate):
    """Records at a rate, from their time of sending to the row's being seen."""
    observer = Observer()
    with PacedTopic(bench, rate) as topic:
        model.reset(topic.work)
        try:
            contender.start(topics.Filled(topic.work, "avro", topic.names))
            # The first record finds the contender still joining; those behind it do not count.
            topic.begin()
            cores = Cores()
            observer.until(topic.work.count, contender)
            extra = cores.busy() | contender.extra()
            topic.end()
            watch = Watch(contender, topic.work)
            with contextlib.closing(watch.target):
                watch.done()
        finally:
            contender.stop()
    model.judge(topic.work, model.expected(topic.work))
    return summary(contender.name, "record to commit", rate, observer.times(rate)) | extra


def to_client(bench, rate):
    """As many records of the same kind, as far as a Kafka client that does nothing with them."""
    times, edge = [], PARTITIONS
    config = {"bootstrap.servers": BROKERS, "group.id": f"{NAME}-reader", "enable.auto.commit": False}
    with PacedTopic(bench, rate) as topic, contextlib.closing(confluent_kafka.Consumer(config)) as reader:
        reader.assign([confluent_kafka.TopicPartition(topic.names[0], partition, 0)
                       for partition in range(PARTITIONS)])
        topic.begin()
        cores = Cores()
        while len(times) < edge + topic.work.count + edge:
            record = reader.poll(60)
            if record is None or record.error():
                raise SystemExit(f"a reader of {topic.names[0]}: {record and record.error()}")
            times.append(time.time() - record.timestamp()[1] / 1000)
        busy = cores.busy()
        topic.end()
    return summary("a client that only reads", "record to client", rate, times[edge + rate * LEAD_IN:-edge]) | busy


def work_at(bench, rate):
    return CLOCKED_CREATES.sized(rate * (LEAD_IN + (3 if bench.is_short else MEASURED)))


class PacedTopic:
    """A topic that is filled at a rate, while it is needed."""

    def __init__(self, bench, rate):
        self.work = work_at(bench, rate)
        self.names = [f"{topics.PREFIX}latency.{rate}"]
        sample = bench.sample(ORDERS, "avro").as_kind(CLOCKED)
        self.job = topics.job(self.work, "avro", sample, self.names, topics.PROMPT)
        self.job |= {"rate": rate, "producers": 1}
        self.fill = None

    def __enter__(self):
        topics.drop(self.names)
        topics.create(self.names)
        return self

    def begin(self):
        self.fill = subprocess.Popen([FILL], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.fill.stdin.write(json.dumps(self.job))
        self.fill.stdin.close()

    def end(self):
        if self.fill.wait() != 0:
            raise SystemExit(f"{self.names[0]} was not filled")

    def __exit__(self, *_):
        if self.fill is not None:
            # It would make a topic anew that is deleted under it.
            self.fill.kill()
            self.fill.wait()
        topics.drop(self.names)


def from_source(bench, contender, rate):
    """Rows at the source, from their commit to being seen at the target, through Debezium."""
    work = work_at(bench, rate)
    records.drop_source()
    model.reset(work)
    records.create_source([ORDERS])
    records.register_connector("avro", [ORDERS])
    records.await_running("avro")
    names = [f"{records.server('avro')}.{NAME}.{ORDERS.name}"]
    topics.create(names)
    observer = Observer()
    writer = threading.Thread(target=write, args=(work, rate))
    try:
        contender.start(topics.Filled(work, "avro", names))
        writer.start()
        observer.until(work.count, contender)
    finally:
        writer.join()
        contender.stop()
        records.drop_source()
    return summary(contender.name, "source's commit to target's", rate, observer.times(rate))


def write(work, rate):
    """One commit a row, with the time just before it."""
    values = [f"{column.sql()} AS {column.name}" for column in ORDERS.columns if column.name != "created_at"]
    with connect(SOURCE) as source:
        source.execute("SET timezone = 'UTC'")
        begin = time.monotonic()
        for event in range(work.count):
            time.sleep(max(0, begin + event / rate - time.monotonic()))
            source.execute(f"""INSERT INTO {NAME}.{ORDERS.name} (id, {', '.join(
                c.name for c in ORDERS.columns if c.name != 'created_at')}, created_at)
                SELECT event + 1, {', '.join(values)}, clock_timestamp()
                FROM (VALUES ({event}::bigint)) AS e (event)""")


class Observer:
    """Sees each row of the target once, and when."""

    QUERY = f"""SELECT id, extract(epoch FROM created_at AT TIME ZONE 'UTC')::float8
        FROM {NAME}.{ORDERS.name} WHERE id > %s"""
    # The server knows nothing of a table that is new, and would read all of it each time.
    BY_INDEX = "-c enable_seqscan=off -c enable_bitmapscan=off -c plan_cache_mode=force_generic_plan"

    def __init__(self):
        self.rows = {}

    def until(self, count, contender):
        below, checked, deadline = 0, time.monotonic(), time.monotonic() + 300
        with connect(TARGET, options=self.BY_INDEX) as target:
            while len(self.rows) < count:
                found = target.execute(self.QUERY, [below], prepare=True).fetchall()
                now = time.time()
                for id, sent in found:
                    self.rows.setdefault(id, (sent, now))
                # Partitions are not seen in the order of rows.
                while below + 1 in self.rows:
                    below += 1
                if time.monotonic() > checked + 2:
                    contender.check()
                    checked = time.monotonic()
                if time.monotonic() > deadline:
                    raise SystemExit(f"{contender.name} does not show all rows")
                time.sleep(0.001)

    def times(self, rate):
        """What was seen of those that are measured, in seconds."""
        return [seen - sent for id, (sent, seen) in self.rows.items() if id > rate * LEAD_IN]


class Cores:
    """How busy they are from now on."""

    def __init__(self):
        self.begun, self.idle = time.monotonic(), idle_seconds()

    def busy(self):
        idle = (idle_seconds() - self.idle) / (time.monotonic() - self.begun) / CORES
        return {"cores_busy": round(1 - idle, 3)}


def summary(contender, what, rate, times):
    times = sorted(time * 1000 for time in times)
    return {"contender": contender, "what": what, "rate": rate, "rows": len(times),
            "p50": round(times[len(times) // 2], 2), "p99": round(times[len(times) * 99 // 100], 2),
            "max": round(times[-1], 2)}
