"""What happens at the source: a session that keeps changing two tables until it is told to stop.

`ledger` has no key and is only appended to: a record that takes effect twice shows as a doubled row,
one that is lost as a missing row. `accounts` is upserted: each write of a row raises its version. A
trigger at the source counts the records that each change must make, so that what a connector repeats
is known. The marks, a table for each connector, tell when everything before has passed.
"""

import subprocess
import threading
import time

from places import NAME, SOURCE, psql

COMPARED = ["accounts", "ledger"]

MARKS = ["marks_json", "marks_avro"]

ACCOUNTS = 300

TABLES = f"""
DROP SCHEMA IF EXISTS {NAME} CASCADE;
DROP SCHEMA IF EXISTS {NAME}_private CASCADE;
DROP PUBLICATION IF EXISTS {NAME};
CREATE SCHEMA {NAME};
CREATE SCHEMA {NAME}_private;
SET search_path = {NAME};
CREATE SEQUENCE entries;
CREATE SEQUENCE versions;
CREATE TABLE ledger (entry bigint NOT NULL, account bigint NOT NULL, amount numeric(12, 2) NOT NULL,
    said text);
CREATE TABLE accounts (id bigint PRIMARY KEY, version bigint NOT NULL, amount numeric(12, 2) NOT NULL,
    note text, changed_at timestamptz NOT NULL);
CREATE TABLE marks_json (id bigint PRIMARY KEY);
CREATE TABLE marks_avro (id bigint PRIMARY KEY);
INSERT INTO accounts SELECT id, nextval('versions'), id * 1.25, NULL, now()
FROM generate_series(1, {ACCOUNTS}) AS id;
CREATE TABLE {NAME}_private.records (of_table text, count bigint);
INSERT INTO {NAME}_private.records VALUES ('accounts', {ACCOUNTS}), ('ledger', 0);
-- A delete is followed by a tombstone, and a changed key is a delete, a tombstone and a create.
CREATE FUNCTION {NAME}_private.count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO {NAME}_private.records VALUES (TG_TABLE_NAME, CASE
        WHEN TG_OP = 'DELETE' THEN 2
        WHEN TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'accounts' AND TG_ARGV[0] = 'key' THEN 3
        ELSE 1 END);
    RETURN NULL;
END $$;
CREATE TRIGGER moved AFTER UPDATE ON accounts FOR EACH ROW WHEN (OLD.id <> NEW.id)
    EXECUTE FUNCTION {NAME}_private.count('key');
CREATE TRIGGER changed AFTER UPDATE ON accounts FOR EACH ROW WHEN (OLD.id = NEW.id)
    EXECUTE FUNCTION {NAME}_private.count();
CREATE TRIGGER came AFTER INSERT OR DELETE ON accounts FOR EACH ROW
    EXECUTE FUNCTION {NAME}_private.count();
CREATE TRIGGER came AFTER INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION {NAME}_private.count();
CREATE PUBLICATION {NAME} FOR TABLES IN SCHEMA {NAME};
GRANT USAGE ON SCHEMA {NAME} TO debezium;
GRANT SELECT ON ALL TABLES IN SCHEMA {NAME} TO debezium;
"""

# Each line is a transaction, so that batches end anywhere. The long notes are stored out of line, and
# a changed key does not bring them along; a few keys at a time, because each waits for its delete.
TURN = """
INSERT INTO ledger SELECT nextval('entries'), 1 + i % 200, i * 0.01, CASE WHEN i % 3 = 0 THEN 'entry ' || i END
FROM generate_series(1, 20) AS i;
UPDATE accounts SET version = nextval('versions'), amount = amount + 0.01, changed_at = now()
WHERE id % 16 = (random() * 16)::int;
UPDATE accounts SET version = nextval('versions'),
    note = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 80))
WHERE id % 100 = (random() * 100)::int;
DELETE FROM accounts WHERE id % 50 = (random() * 50)::int;
INSERT INTO accounts SELECT id, nextval('versions'), 0, 'back', now()
FROM generate_series(1, {accounts}) AS id WHERE (random() * 10)::int = 1 ON CONFLICT DO NOTHING;
UPDATE accounts SET id = id + 1000, version = nextval('versions')
WHERE id = (SELECT 1 + (random() * {accounts})::int)
  AND NOT EXISTS (SELECT FROM accounts AS other WHERE other.id = accounts.id + 1000);
UPDATE accounts SET id = id - 1000, version = nextval('versions')
WHERE id = (SELECT 1001 + (random() * {accounts})::int)
  AND NOT EXISTS (SELECT FROM accounts AS other WHERE other.id = accounts.id - 1000);
""".format(accounts=ACCOUNTS)

# Some hundred records a second, which a debug build carries beside the stack on two cores.
BREATH = 0.1


def create():
    psql(SOURCE, TABLES)


def drop():
    psql(SOURCE, f"""
        DROP PUBLICATION IF EXISTS {NAME};
        DROP SCHEMA IF EXISTS {NAME} CASCADE;
        DROP SCHEMA IF EXISTS {NAME}_private CASCADE""")


def mark():
    """Writes a mark behind everything, for each connector."""
    psql(SOURCE, "".join(f"INSERT INTO {NAME}.{table} VALUES (1);" for table in MARKS))


def expected_records(table):
    query = f"SELECT sum(count) FROM {NAME}_private.records WHERE of_table = '{table}'"
    return int(psql(SOURCE, query)[0][0])


class Load:
    """A session that writes until it is stopped."""

    def __init__(self):
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", SOURCE]
        self.session = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.stopping, self.turns = threading.Event(), 0
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def write(self):
        self.session.stdin.write(f"SET search_path = {NAME};\n")
        while not self.stopping.is_set():
            self.session.stdin.write(f"{TURN}\\echo done\n")
            if self.session.stdout.readline() != "done\n":
                return
            self.turns += 1
            time.sleep(BREATH)

    def stop(self):
        """Stops writing; fails when the session has ended before."""
        self.stopping.set()
        self.thread.join()
        self.session.stdin.close()
        if self.session.wait() != 0:
            raise SystemExit("the load's session failed at the source")
