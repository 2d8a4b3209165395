"""What must hold: while it runs, in every snapshot of the target; and at the end, everywhere."""

import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, TopicPartition

import connectors
import letters
from load import COMPARED, expected_records
from places import BROKERS, NAME, ROOT, SOURCE, TARGET, TARGET_SERVER, Refused, number, psql

# Each write of a row, in the transaction that made it; the tables are made before the members start,
# so that the trigger sees their first row.
LOG = f"""
CREATE SCHEMA {NAME} AUTHORIZATION writer;
CREATE TABLE public.written (seq bigserial, xid bigint, of_table text, id bigint, version bigint);
GRANT ALL ON public.written, public.written_seq_seq TO writer;
CREATE FUNCTION public.log_account() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.written (xid, of_table, id, version)
    VALUES (txid_current(), 'accounts', NEW.id, NEW.version);
    RETURN NULL;
END $$;
CREATE FUNCTION public.log_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.written (xid, of_table, id) VALUES (txid_current(), 'ledger', NEW.entry);
    RETURN NULL;
END $$;
CREATE TABLE {NAME}.ledger (entry bigint NOT NULL, account bigint NOT NULL,
    amount numeric(12, 2) NOT NULL, said text, synced_at timestamptz NOT NULL);
CREATE TABLE {NAME}.accounts (id bigint PRIMARY KEY, version bigint NOT NULL,
    amount numeric(12, 2) NOT NULL, note text, changed_at timestamptz NOT NULL,
    synced_at timestamptz NOT NULL);
CREATE TRIGGER log AFTER INSERT OR UPDATE ON {NAME}.accounts FOR EACH ROW
    EXECUTE FUNCTION public.log_account();
CREATE TRIGGER log AFTER INSERT ON {NAME}.ledger FOR EACH ROW EXECUTE FUNCTION public.log_entry();
ALTER TABLE {NAME}.ledger OWNER TO writer;
ALTER TABLE {NAME}.accounts OWNER TO writer;
"""

# One snapshot: the records of the keyless table that the checkpoint counts as applied, its rows, and
# how many rows each of the newest transactions has written.
SNAPSHOT = f"""
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT 'applied', coalesce(sum(next_offset), 0) FROM afterimage.checkpoint
WHERE topic = '{NAME}_json.{NAME}.ledger';
SELECT 'rows', count(*) FROM {NAME}.ledger;
SELECT xid, count(*) FROM public.written
WHERE seq > (SELECT coalesce(max(seq), 0) - 20000 FROM public.written) GROUP BY xid;
COMMIT"""


def create():
    psql(TARGET_SERVER, f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
    psql(TARGET_SERVER, f"CREATE DATABASE {NAME}")
    psql(TARGET_SERVER, f"GRANT CREATE ON DATABASE {NAME} TO writer")
    psql(TARGET, LOG)


def drop():
    psql(TARGET_SERVER, f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")


class Watcher:
    """Looks at the target again and again while everything goes wrong around it."""

    def __init__(self):
        self.stopping, self.snapshots, self.violations = threading.Event(), 0, []
        self.counts, self.newest = {}, 0
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopping.wait(0.5):
            try:
                self.look(psql(TARGET, SNAPSHOT))
            except Refused:
                # The target is being restarted, or the members have not made their tables yet.
                time.sleep(0.5)

    def look(self, rows):
        facts = {name: int(count) for name, count in rows[:2]}
        if facts["applied"] != facts["rows"]:
            self.violations.append(
                f"the checkpoint counts {facts['applied']} records of ledger, and the table has "
                f"{facts['rows']} rows"
            )
        counts = {int(xid): int(count) for xid, count in rows[2:]}
        # The oldest of them may be cut by the window.
        whole = dict(sorted(counts.items())[1:])
        for xid, count in whole.items():
            if self.counts.get(xid, count) < count:
                self.violations.append(f"rows of transaction {xid} appeared later than others of it")
        self.counts = whole
        self.snapshots += 1

    def stop(self):
        self.stopping.set()
        self.thread.join()


def until_passed(mark, deadline):
    """Waits until a mark stands at the target, and the checkpoint at the ends of the log."""
    arrived = f"SELECT count(*) FROM {NAME}.marks WHERE id = {mark}"
    while time.time() < deadline:
        try:
            if number(TARGET, arrived) and checkpoint() == ends():
                return
        except Refused:
            pass
        # One that could not reach broker or registry may fail after they are back, and Connect
        # refuses to restart it while it moves its tasks about.
        connectors.revive()
        time.sleep(0.5)
    raise SystemExit(
        f"mark {mark} did not pass: the checkpoint is {checkpoint()}, the ends are {ends()}, "
        f"the connectors {connectors.states()}"
    )


def checkpoint():
    rows = psql(TARGET, "SELECT topic, \"partition\", next_offset FROM afterimage.checkpoint")
    return {(topic, int(partition)): int(offset) for topic, partition, offset in rows}


def ends():
    """The ends of all partitions that hold a record."""
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": f"{NAME}_judge"})
    found = {}
    for name, topic in consumer.list_topics(timeout=10).topics.items():
        if name.startswith((f"{NAME}_json.", f"{NAME}_avro.")):
            for partition in topic.partitions:
                place = TopicPartition(name, partition)
                found[name, partition] = consumer.get_watermark_offsets(place, timeout=10)[1]
    consumer.close()
    return found


def differences():
    """Everything that is not as it must be, a line each."""
    found = []
    # What a connector repeats is one more row without a key: as many rows as records, and each that
    # the source has.
    psql(TARGET, f"""DROP TABLE IF EXISTS public.ledger_once; CREATE TABLE public.ledger_once AS
        SELECT DISTINCT entry, account, amount, said FROM {NAME}.ledger""")
    rows, sent = number(TARGET, f"SELECT count(*) FROM {NAME}.ledger"), records("ledger")
    if rows != sent:
        found.append(f"ledger has {rows} rows of {sent} records")
    command = [sys.executable, ROOT / "tests" / "compare.py", "--source", SOURCE, "--target", TARGET]
    command += [f"{NAME}.accounts", f"{NAME}.ledger=public.ledger_once"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        found += (done.stdout + done.stderr).splitlines()
    found += letters.judge()[0]
    repeated = repeats()
    doubled = number(TARGET, """SELECT count(*) FROM (SELECT FROM public.written
        WHERE of_table = 'accounts' GROUP BY id, version HAVING count(*) > 1) AS twice""")
    backwards = number(TARGET, """SELECT count(*) FROM (SELECT version < lag(version)
        OVER (PARTITION BY id ORDER BY seq) AS back FROM public.written
        WHERE of_table = 'accounts') AS steps WHERE back""")
    # What the connector sends twice may be written twice, and then goes back for a while.
    if doubled > repeated:
        found.append(f"{doubled} versions were written twice, and {repeated} records sent twice")
    if backwards and not repeated:
        found.append(f"{backwards} rows went back to an older version")
    return found


def repeats():
    """How many records the topics hold beyond those that the source's changes make."""
    expected = sum(expected_records(table) for table in COMPARED)
    sent = sum(records(table) for table in COMPARED)
    if sent < expected:
        raise SystemExit(f"the topics hold {sent} of {expected} records")
    return sent - expected


def records(table):
    return sum(end for (topic, _), end in ends().items() if topic.endswith(f".{NAME}.{table}"))


def written():
    return number(TARGET, "SELECT count(*) FROM public.written")
