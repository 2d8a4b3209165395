"""What must hold: while it runs, in every snapshot of the target; and at the end, everywhere."""

import subprocess
import sys
import threading
import time

import connectors
import letters
import topics
import versions
from load import COMPARED, MARKS, expected_records
from places import NAME, ROOT, SOURCE, TARGET, TARGET_SERVER, Refused, number, psql

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

# One snapshot: the records of the keyless table that the checkpoint counts as applied, its rows, how
# many rows each of the newest transactions has written, and the version of each account.
SNAPSHOT = f"""
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT 'applied', coalesce(sum(next_offset), 0) FROM afterimage.checkpoint
WHERE topic = '{NAME}_json.{NAME}.ledger';
SELECT 'rows', count(*) FROM {NAME}.ledger;
SELECT 'transaction', xid, count(*) FROM public.written
WHERE seq > (SELECT coalesce(max(seq), 0) - 20000 FROM public.written) GROUP BY xid;
SELECT 'account', id, version FROM {NAME}.accounts;
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
        self.counts = {}
        # The versions of each account, as they followed one another; `None` where its row was gone.
        self.versions = {}
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
        # The oldest of them may be cut by the window.
        whole = dict(sorted(pairs(rows, "transaction").items())[1:])
        for xid, count in whole.items():
            if self.counts.get(xid, count) < count:
                self.violations.append(f"rows of transaction {xid} appeared later than others of it")
        self.counts = whole
        self.remember(pairs(rows, "account"))
        self.snapshots += 1

    def remember(self, accounts):
        """Keeps how each account went on: whether it may have is told by the topic, in the end."""
        for key in self.versions.keys() | accounts.keys():
            seen, version = self.versions.setdefault(key, []), accounts.get(key)
            if not seen or seen[-1] != version:
                seen.append(version)

    def stop(self):
        """Looks for the last time, where everything must have arrived."""
        self.stopping.set()
        self.thread.join()
        self.look(psql(TARGET, SNAPSHOT))


def pairs(rows, name):
    return {int(row[1]): int(row[2]) for row in rows if row[0] == name}


def until_passed(deadline):
    """Waits until the marks stand at the target, and the checkpoint at the ends of the log."""
    while time.time() < deadline:
        try:
            arrived = all(number(TARGET, f"SELECT count(*) FROM {NAME}.{table}") for table in MARKS)
            if arrived and checkpoint() == topics.ends():
                return
        except Refused:
            pass
        # One that could not reach broker or registry may fail after they are back, and Connect
        # refuses to restart it while it moves its tasks about.
        connectors.revive()
        time.sleep(0.5)
    raise SystemExit(
        f"the marks did not pass: the checkpoint is {checkpoint()}, the ends are {topics.ends()}, "
        f"the connectors {connectors.states()}"
    )


def checkpoint():
    rows = psql(TARGET, "SELECT topic, \"partition\", next_offset FROM afterimage.checkpoint")
    return {(topic, int(partition)): int(offset) for topic, partition, offset in rows}


def differences(seen):
    """Everything that is not as it must be, a line each; `seen` has the watcher's versions."""
    # Topics that lack records are nothing to judge by.
    repeats()
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
    sent = versions.sent()
    found += [f"written: {line}" for line in versions.judge(sent, versions.written())]
    found += [f"seen: {line}" for line in versions.judge(sent, seen)]
    return found


def repeats():
    """How many records the topics hold beyond those that the source's changes make."""
    expected = sum(expected_records(table) for table in COMPARED)
    sent = sum(records(table) for table in COMPARED)
    if sent < expected:
        raise SystemExit(f"the topics hold {sent} of {expected} records")
    return sent - expected


def records(table):
    return sum(end for (topic, _), end in topics.ends().items() if topic.endswith(f".{NAME}.{table}"))


def written():
    return number(TARGET, "SELECT count(*) FROM public.written")
