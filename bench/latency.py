"""How long a record takes: from its time of sending, or from the source's commit, to the target's.

An observer asks the target for new rows without a pause between its questions, and takes the time at
which it has their answer; so what is measured is what a reader sees, the observer's own time included.
"""

import json
import pathlib
import subprocess
import sys
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
SOURCE_RATES = (100, 1_000)
# Seconds that are measured, behind some that are not.
MEASURED, LEAD_IN = 12, 5
INSERT = "a bare commit of one row beside it"
COMMITS = pathlib.Path(__file__).parent / "commits.py"
# Between the bare commits beside a contender, in seconds: so that they are no load themselves.
BARE_PAUSE = 0.05


def latency(bench):
    sink = Sink(bench.worker, LARGEST, **SINKS[LARGEST])
    contenders = [Consumer("consumer, 1 lane"), sink]
    alone = BareCommits(1 if bench.is_short else MEASURED, 0).times()
    yield told(bench, summary("nothing", INSERT, 0, alone), 0)
    for rate in RATES[1:2] if bench.is_short else RATES:
        for round in range(bench.rounds):
            # The sink's are so much longer that one round tells.
            for contender in contenders[:2 if round == 0 else 1]:
                for run in from_broker(bench, contender, rate):
                    yield told(bench, run, round)
            yield told(bench, to_client(bench, rate), round)
    for rate in () if bench.is_short else SOURCE_RATES:
        for contender in contenders:
            yield told(bench, from_source(bench, contender, rate), 0)


def told(bench, run, round):
    bench.say(f"  {run['contender']}, {run['what']}, {run['rate']} a second: p50 {run['p50']:.1f},"
              f" p99 {run['p99']:.1f}, max {run['max']:.1f} ms")
    return run | {"round": round}


class BareCommits:
    """One row, one commit, by a client that does nothing else."""

    def __init__(self, seconds, pause):
        command = [sys.executable, COMMITS, TARGET, str(seconds), str(pause)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def times(self):
        printed, _ = self.process.communicate()
        return json.loads(printed)


def from_broker(bench, contender, rate):
    """Records at a rate, from their time of sending to the row's being seen; and bare commits meanwhile."""
    observer = Observer()
    with Paced(bench, rate) as paced:
        model.reset(paced.work)
        try:
            contender.start(topics.Filled(paced.work, "avro", paced.names, {"records": 0, "bytes": 0}))
            # The first record finds the contender still joining; those behind it do not count.
            paced.begin()
            cores, bare = Cores(), BareCommits(paced.work.count / rate, BARE_PAUSE)
            observer.until(paced.work.count, contender)
            extra = cores.busy() | contender.extra()
            paced.end()
            Watch(contender, paced.work).done()
        finally:
            contender.stop()
    model.judge(paced.work, model.expected(paced.work))
    yield summary(contender.name, "record to commit", rate, observer.times(rate)) | extra
    yield summary(contender.name, INSERT, rate, bare.times())


def to_client(bench, rate):
    """The same records as far as the Kafka client: no reader of them is sooner."""
    times, reader = [], confluent_kafka.Consumer(
        {"bootstrap.servers": BROKERS, "group.id": f"{NAME}-reader", "enable.auto.commit": False})
    with Paced(bench, rate) as paced:
        reader.assign([confluent_kafka.TopicPartition(paced.names[0], partition, 0)
                       for partition in range(PARTITIONS)])
        paced.begin()
        cores = Cores()
        while len(times) < paced.work.count:
            record = reader.poll(60)
            if record is None or record.error():
                raise SystemExit(f"a reader of {paced.names[0]}: {record and record.error()}")
            times.append(time.time() - record.timestamp()[1] / 1000)
        cores = cores.busy()
        paced.end()
        reader.close()
    return summary("librdkafka alone", "record to client", rate, times[rate * LEAD_IN:]) | cores


def paced(bench, rate):
    return CLOCKED_CREATES.sized(rate * (LEAD_IN + (3 if bench.is_short else MEASURED)))


class Paced:
    """A topic that is filled at a rate, while it is needed."""

    def __init__(self, bench, rate):
        self.work = paced(bench, rate)
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
        self.fill.wait()

    def __exit__(self, *_):
        topics.drop(self.names)


def from_source(bench, contender, rate):
    """Rows at the source, from their commit to being seen at the target, through Debezium."""
    work = paced(bench, rate)
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
        contender.start(topics.Filled(work, "avro", names, {"records": 0, "bytes": 0}))
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
