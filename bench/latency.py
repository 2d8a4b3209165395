"""How long a record takes: from its time in the broker, or from the source's commit, to the target's.

An observer asks the target for new rows without a pause between its questions, and takes the time at
which it has their answer; so what is measured is what a reader sees, the observer's own time included.
"""

import json
import subprocess
import threading
import time

import model
import records
import topics
from contenders import LARGEST, SINKS, Consumer, Sink
from places import FILL, NAME, SOURCE, TARGET, connect
from works import CLOCKED, CLOCKED_CREATES, ORDERS

RATES = (100, 1_000, 10_000)
SOURCE_RATES = (100, 1_000)
# Seconds that are measured, behind some that are not.
LEAD_IN = 5
COMMITS = 1_000


def latency(bench):
    sink = Sink(bench.worker, LARGEST, **SINKS[LARGEST])
    contenders = [Consumer("consumer, 1 lane"), sink]
    yield from bare_commits(bench)
    for rate in RATES[1:2] if bench.is_short else RATES:
        for round in range(bench.rounds):
            # The sink's are so much longer that one round tells.
            for contender in contenders[:2 if round == 0 else 1]:
                yield told(bench, from_broker(bench, contender, rate), round)
    for rate in () if bench.is_short else SOURCE_RATES:
        for contender in contenders:
            yield told(bench, from_source(bench, contender, rate), 0)


def told(bench, run, round):
    bench.say(f"  {run['contender']}, {run['what']}, {run['rate']} a second: p50 {run['p50']:.1f},"
              f" p99 {run['p99']:.1f}, max {run['max']:.1f} ms")
    return run | {"round": round}


def bare_commits(bench):
    """One row, one commit, by a client that does nothing else."""
    with connect(TARGET) as target:
        target.execute("CREATE TABLE model.bare (id bigint PRIMARY KEY, body text)")
        times = []
        for id in range(COMMITS):
            begin = time.perf_counter()
            target.execute("INSERT INTO model.bare VALUES (%s, 'a row')", [id])
            times.append(time.perf_counter() - begin)
        target.execute("DROP TABLE model.bare")
    yield told(bench, summary("a bare commit of one row", "insert and commit", 0, times), 0)


def from_broker(bench, contender, rate):
    """Records at a rate, from their time of sending to the row's being seen."""
    seconds = LEAD_IN + (3 if bench.is_short else 12)
    work = CLOCKED_CREATES.sized(rate * seconds)
    sample = bench.sample(ORDERS, "avro").as_kind(CLOCKED)
    names = [f"{topics.PREFIX}latency.{rate}"]
    topics.drop(names)
    topics.create(names)
    model.reset(work)
    job = topics.job(work, "avro", sample, names, topics.PROMPT) | {"rate": rate, "producers": 1}
    observer = Observer()
    try:
        contender.start(topics.Filled(work, "avro", names, {"records": 0, "bytes": 0}))
        # The first record finds the contender still joining; those behind it do not count.
        fill = subprocess.Popen([FILL], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        fill.stdin.write(json.dumps(job))
        fill.stdin.close()
        observer.until(work.count, contender)
        fill.wait()
    finally:
        contender.stop()
        topics.drop(names)
    model.judge(work, model.expected(work))
    times = [seen - sent for id, (sent, seen) in observer.rows.items() if id > rate * LEAD_IN]
    return summary(contender.name, "record to commit", rate, times)


def from_source(bench, contender, rate):
    """Rows at the source, from their commit to being seen at the target, through Debezium."""
    seconds = LEAD_IN + (3 if bench.is_short else 12)
    work = CLOCKED_CREATES.sized(rate * seconds)
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
    times = [seen - sent for id, (sent, seen) in observer.rows.items() if id > rate * LEAD_IN]
    return summary(contender.name, "source's commit to target's", rate, times)


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

    def __init__(self):
        self.rows = {}

    def until(self, count, contender):
        below, checked, deadline = 0, time.monotonic(), time.monotonic() + 300
        with connect(TARGET) as target:
            while len(self.rows) < count:
                found = target.execute(self.QUERY, [below]).fetchall()
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


def summary(contender, what, rate, times):
    times = sorted(time * 1000 for time in times)
    return {"contender": contender, "what": what, "rate": rate, "rows": len(times),
            "p50": round(times[len(times) // 2], 2), "p99": round(times[len(times) * 99 // 100], 2),
            "max": round(times[-1], 2)}
