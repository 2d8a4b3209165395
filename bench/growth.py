"""The parts that vary one thing: backlog, tables, lanes, members, batches, and the target's distance."""

import contextlib
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import ceilings
import places
from contenders import Consumer
from throughput import Backlog, run
from works import CREATES, UPDATES, Work

BATCH_ROWS = (1_000, 5_000, 20_000, 50_000, 200_000)
LANES = (1, 2, 4)
MEMBERS = (1, 2, 3)
TABLES = (1, 100, 1000)
# Those that a goal compares.
COMPARED = (1, 1000)
# The defaults of the consumer, whose one run is in the table of each.
SHIPPED = {"lanes": 1, "members": 1, "batch rows": 50_000}
ROUND_TRIPS = (1, 10)
PROXY_PORT = 19_390


def growth(bench):
    # Lanes are for work that waits for the server.
    yield from varied(bench, UPDATES.sized(500_000), {
        "lanes": [(lanes, Consumer("consumer", "--lanes", str(lanes))) for lanes in LANES]})
    yield from varied(bench, CREATES.sized(2_000_000), {
        "members": [(members, Consumer("consumer", members=members)) for members in MEMBERS],
        "batch rows": [(rows, Consumer("consumer", "--batch-rows", str(rows))) for rows in BATCH_ROWS]})
    for millions in (1, 10):
        count = bench.scaled(millions * 1_000_000)
        with Backlog(bench, CREATES.sized(count), "avro", bench.sample(CREATES.kind, "avro")) as backlog:
            yield from _vary(bench, "records", backlog, [(count, Consumer("consumer"))])
    yield from _many_tables(bench)


def _many_tables(bench):
    """The same rows in one table and in many, and what bounds that: the client and the server alone."""
    with contextlib.ExitStack() as stack:
        backlogs = {}
        for tables in TABLES:
            work = creates_in(tables).sized(bench.scaled(2_000_000))
            # Its tables have the same names as others'.
            backlog = Backlog(bench, work, "avro", bench.sample(work.kind, "avro"), f"-{tables}")
            backlogs[tables] = stack.enter_context(backlog)
        for round in range(bench.rounds):
            for tables in TABLES if round == 0 else COMPARED:
                contender, backlog = Consumer("consumer"), backlogs[tables]
                yield from run(bench, contender, backlog, round, factor="tables", value=tables)
        for tables in COMPARED:
            ceilings.stage(backlogs[tables].work)
            for alone in (ceilings.drain(backlogs[tables].filled), ceilings.statement(backlogs[tables].work)):
                yield bench.told(alone | {"factor": "tables", "value": tables}, 0)
        ceilings.drop_stage()


def varied(bench, work, factors):
    """Yields the runs of one backlog for each factor, with one run of the defaults for all of them."""
    work = work.sized(bench.scaled(work.count))
    with Backlog(bench, work, "avro", bench.sample(work.kind, "avro")) as backlog:
        shipped = list(run(bench, Consumer("consumer"), backlog, 0))
        for factor, contenders in factors.items():
            yield from _vary(bench, factor, backlog, contenders, shipped)


def creates_in(tables):
    return Work("creates", f"creates in {tables} tables", "creates", tables=tables)


def distance(bench):
    """A target that is some milliseconds off, there and back."""
    work = CREATES.sized(bench.scaled(2_000_000))
    with Backlog(bench, work, "avro", bench.sample(work.kind, "avro")) as backlog:
        for round in range(bench.rounds):
            yield from run(bench, Consumer("consumer"), backlog, round, factor="round trip, ms", value="none")
            for millis in ROUND_TRIPS:
                with away(millis) as url:
                    far = Consumer("consumer", target=url)
                    yield from run(bench, far, backlog, round, factor="round trip, ms", value=millis)


def joining(bench):
    """How long a second member takes from its start to its first commit, while the first works."""
    work = CREATES.sized(bench.scaled(3_000_000))
    with Backlog(bench, work, "avro", bench.sample(work.kind, "avro")) as backlog:
        for round in range(bench.rounds):
            yield from run(bench, Joined("consumer"), backlog, round, factor="members", value=2)


class Joined(Consumer):
    """A member, and a second one as soon as the first has committed."""

    def start(self, filled):
        self.filled, self.waited = filled, None
        super().start(filled)

    def begun(self):
        begin = time.monotonic()
        self.join(self.filled)

        def wait():
            while self.running and not _has_written(1):
                time.sleep(0.05)
            self.waited = round(time.monotonic() - begin, 2)

        threading.Thread(target=wait, daemon=True).start()

    def extra(self):
        return super().extra() | {"join_to_commit_seconds": self.waited}


def _has_written(place):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{19_300 + place}/metrics", timeout=1) as answer:
            return "afterimage_rows_written_total{" in answer.read().decode()
    except OSError:
        return False


@contextlib.contextmanager
def away(millis):
    """The target's address behind a proxy that delays."""
    url = urllib.parse.urlsplit(places.WRITER)
    program = places.ROOT / "bench" / "proxy.py"
    command = [sys.executable, program, str(PROXY_PORT), f"{url.hostname}:{url.port}", str(millis)]
    proxy = subprocess.Popen(command)
    try:
        user = f"{url.username}:{url.password}"
        far = url._replace(netloc=f"{user}@127.0.0.1:{PROXY_PORT}").geturl()
        _await(far)
        yield far
    finally:
        proxy.terminate()
        proxy.wait()


def _await(url):
    deadline = time.monotonic() + 20
    while True:
        try:
            return places.connect(url).close()
        except places.psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _vary(bench, factor, backlog, contenders, shipped=()):
    """Yields a run of each, a shape shows in one round; where the value is the default, `shipped`."""
    for value, contender in contenders:
        if shipped and value == SHIPPED[factor]:
            yield from (measured | {"factor": factor, "value": value} for measured in shipped)
        else:
            yield from run(bench, contender, backlog, 0, factor=factor, value=value)
