"""One run: a contender takes a backlog over into fresh tables, is watched, and is judged."""

import time

import psycopg

import model
from contenders import Failed
from places import NAME, TARGET, broker_process, connect, cpu_seconds, target_process
from works import LAST_ROW, PARTITIONS

POLL = 0.01
# A backlog that has not begun, or does not end.
PATIENCE = 600


class Watch:
    """Looks at the target every 10 ms, at rows that each partition has at its edges."""

    def __init__(self, contender, work):
        self.contender, self.work, self.polls, self.seen = contender, work, 0, 0
        self.target = connect(TARGET)

    def one(self, query):
        self.polls += 1
        try:
            self.seen = self.target.execute(query).fetchone()[0]
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            # The consumer has not made its own tables yet.
            self.seen = 0
        return self.seen

    def until(self, condition):
        deadline, checked = time.monotonic() + PATIENCE, time.monotonic()
        while not condition():
            now = time.monotonic()
            if now > checked + 2:
                self.contender.check()
                checked = now
            if now > deadline:
                raise Failed(f"{self.contender.name} does not end {self.work.name}")
            time.sleep(POLL)
        return time.monotonic()

    def begun(self):
        """Returns when, and how many records the first commit had as far as the target knows."""
        first = self.work.table_names()[0]
        query = self.contender.committed or \
            f"SELECT count(*) FROM {NAME}.{first} WHERE id BETWEEN {LAST_ROW + 1} AND -1"
        at = self.until(lambda: self.one(query) > 0)
        return at, self.seen if self.contender.committed else 0

    def done(self):
        """Waits table by table, so that many of them are not asked each time."""
        at = time.monotonic()
        for table in self.work.table_names():
            query = f"SELECT count(*) FROM {NAME}.{table} WHERE id <= {self.work.last_row()}"
            at = self.until(lambda: self.one(query) == PARTITIONS)
        return at


class Usage:
    """What the processes have used until now."""

    def __init__(self, contender, target):
        self.cpu = {contender.process: contender.cpu(), "broker": cpu_seconds(broker_process()),
                    "target": cpu_seconds(target_process())}
        self.wal = int(target.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()[0])

    def since(self, before):
        cpu = {name: round(used - before.cpu[name], 2) for name, used in self.cpu.items()}
        return {"cpu_seconds": cpu, "wal_bytes": self.wal - before.wal}


def run(contender, filled, must_be):
    """Returns what was measured; raises `Unequal` or `Failed` where there is no result."""
    work = filled.work
    model.reset(work)
    with connect(TARGET) as side:
        watch = Watch(contender, work)
        commits_before = commits(side)
        started = time.monotonic()
        try:
            contender.start(filled)
            first, records_before = watch.begun()
            contender.begun()
            before = Usage(contender, side)
            last = watch.done()
            used = Usage(contender, side).since(before)
            memory, extra = contender.memory(), contender.extra()
        finally:
            contender.stop()
            watch.target.close()
        time.sleep(0.2)
        transactions = commits(side) - commits_before - watch.polls
    model.judge(work, must_be)
    share = 1 - records_before / filled.records
    # A backlog that one commit takes has no rate: all of it is in the first one.
    seconds = max(last - first, POLL)
    return used | extra | {
        "contender": contender.name, "work": work.name, "format": filled.format,
        "changes": work.count, "seconds": round(seconds, 3),
        "rate": round(work.count * share / seconds), "peak_memory": memory,
        "transactions": transactions, "start_seconds": round(first - started, 3),
    }


def commits(target):
    """Of all sessions of the database that have ended: each adds its own up when it does."""
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    return target.execute(query).fetchone()[0]
