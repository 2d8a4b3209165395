#!/usr/bin/env python3
"""Shows that the soak's judge can say no: each kind of damage is found, and only what is damage.

Works on a source and a target of its own in the stack's databases, filled from one another by SQL. Of
Kafka, which no member has read here, only the ends of the topics are made up.
"""

import unittest

import places

places.NAME = "soak_judge"
places.TARGET = places.TARGET_SERVER.rpartition("/")[0] + f"/{places.NAME}"

import checks
import load
from places import NAME, SOURCE, TARGET, number, psql

LEDGER, ACCOUNTS = f"{NAME}_json.{NAME}.ledger", f"{NAME}_avro.{NAME}.accounts"

OURS = """
CREATE SCHEMA afterimage;
CREATE TABLE afterimage.checkpoint (topic text, "partition" int, next_offset bigint);
CREATE TABLE afterimage.dead_letter (topic text, "partition" int, record_offset bigint, reason text,
    error text);
"""

# How many rows a batch has.
BATCH = 40

# What stands behind the batches, to be put back before each damage.
FILLED = [f"{NAME}.ledger", f"{NAME}.accounts", "public.written", "afterimage.checkpoint",
          "afterimage.dead_letter"]
KEEP = "CREATE SCHEMA kept;" + "".join(
    f"CREATE TABLE kept.\"{table}\" AS TABLE {table};" for table in FILLED)
RESTORE = "SET session_replication_role = replica;" + "".join(
    f"TRUNCATE {table}; INSERT INTO {table} TABLE kept.\"{table}\";" for table in FILLED)


def apply(table, columns):
    """Carries a table over as a member would: batches, each with its step of the checkpoint."""
    rows = psql(SOURCE, f"SELECT {columns} FROM {NAME}.{table} ORDER BY 1")
    topic = {"ledger": LEDGER, "accounts": ACCOUNTS}[table]
    psql(TARGET, f"INSERT INTO afterimage.checkpoint VALUES ('{topic}', 0, 0)")
    for start in range(0, len(rows), BATCH):
        batch = rows[start:start + BATCH]
        values = ", ".join(f"({', '.join(literal(cell) for cell in row)}, now())" for row in batch)
        psql(TARGET, f"""BEGIN;
            INSERT INTO {NAME}.{table} ({columns}, synced_at) VALUES {values};
            UPDATE afterimage.checkpoint SET next_offset = next_offset + {len(batch)}
            WHERE topic = '{topic}';
            COMMIT""")


def literal(cell):
    return "NULL" if cell == "" else "'" + cell.replace("'", "''") + "'"


class JudgeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        load.create()
        for _ in range(3):
            psql(SOURCE, f"SET search_path = {NAME};{load.TURN}")
        cls.sent = {
            (LEDGER, 0): load.expected_records("ledger"),
            (ACCOUNTS, 0): load.expected_records("accounts"),
        }
        checks.create()
        psql(TARGET, OURS)
        apply("ledger", "entry, account, amount, said")
        apply("accounts", "id, version, amount, note, changed_at")
        psql(TARGET, KEEP)

    @classmethod
    def tearDownClass(cls):
        checks.drop()
        load.drop()

    def setUp(self):
        psql(TARGET, RESTORE)
        self.ends, checks.ends = checks.ends, lambda: self.sent
        self.watcher = checks.Watcher()
        self.watcher.stop()

    def tearDown(self):
        checks.ends = self.ends

    def differences(self, damage):
        psql(TARGET, damage)
        return checks.differences()

    def violations(self, *damages):
        """What the watcher sees behind each damage."""
        for damage in ("SELECT 1", *damages):
            psql(TARGET, damage)
            self.watcher.look(psql(TARGET, checks.SNAPSHOT))
        return self.watcher.violations

    def check(self, found, *words):
        self.assertTrue(found, "nothing was found")
        for word in words:
            self.assertIn(word, "\n".join(found))

    def test_what_is_right(self):
        self.assertEqual(self.differences("SELECT 1"), [])
        self.assertEqual(self.violations("SELECT 1"), [])
        self.assertGreater(number(TARGET, f"SELECT count(*) FROM {NAME}.ledger"), BATCH)
        self.assertGreater(checks.written(), 0)

    def test_a_lost_row(self):
        lost = f"DELETE FROM {NAME}.accounts WHERE id = (SELECT min(id) FROM {NAME}.accounts)"
        self.check(self.differences(lost), "not in the target")

    def test_a_row_that_should_be_gone(self):
        self.check(self.differences(f"INSERT INTO {NAME}.accounts VALUES (0, 0, 0, NULL, now(), now())"),
                   "target only")

    def test_a_value_that_is_another(self):
        other = f"""UPDATE {NAME}.accounts SET amount = amount + 0.01
            WHERE id = (SELECT min(id) FROM {NAME}.accounts)"""
        self.check(self.differences(other), "amount is")

    def test_a_lost_append(self):
        lost = f"DELETE FROM {NAME}.ledger WHERE entry = (SELECT max(entry) FROM {NAME}.ledger)"
        self.check(self.differences(lost), "ledger has", "not in the target")

    def test_a_doubled_append(self):
        doubled = f"INSERT INTO {NAME}.ledger SELECT * FROM {NAME}.ledger ORDER BY entry LIMIT 1"
        found = self.differences(doubled)
        self.check(found, f"ledger has {self.sent[LEDGER, 0] + 1} rows of {self.sent[LEDGER, 0]}")

    def test_a_lost_append_and_a_doubled_one(self):
        # As many rows as records: only the rows themselves tell.
        swapped = f"""DELETE FROM {NAME}.ledger WHERE entry = (SELECT max(entry) FROM {NAME}.ledger);
            INSERT INTO {NAME}.ledger SELECT * FROM {NAME}.ledger ORDER BY entry LIMIT 1"""
        self.check(self.differences(swapped), "not in the target")

    def test_a_version_that_goes_backwards_for_a_while(self):
        back = f"""UPDATE {NAME}.accounts SET version = version - 1 WHERE id % 9 = 0;
            UPDATE {NAME}.accounts SET version = version + 1 WHERE id % 9 = 0"""
        self.check(self.differences(back), "went back to an older version", "written twice")

    def test_a_version_that_is_written_twice(self):
        twice = f"UPDATE {NAME}.accounts SET version = version WHERE id % 9 = 0"
        self.check(self.differences(twice), "versions were written twice")

    def test_versions_that_are_written_twice_where_one_record_was_sent_twice(self):
        self.sent = self.sent | {(ACCOUNTS, 0): self.sent[ACCOUNTS, 0] + 1}
        one = f"""UPDATE {NAME}.accounts SET version = version
            WHERE id = (SELECT min(id) FROM {NAME}.accounts)"""
        self.assertEqual(self.differences(one), [])
        other = one.replace("min", "max")
        self.check(self.differences(other), "2 versions were written twice, and 1 records sent twice")

    def test_a_record_that_the_topics_lack(self):
        self.sent = self.sent | {(ACCOUNTS, 0): self.sent[ACCOUNTS, 0] - 1}
        with self.assertRaises(SystemExit):
            checks.differences()

    def test_a_dead_letter(self):
        letter = f"INSERT INTO afterimage.dead_letter VALUES ('{ACCOUNTS}', 0, 3, 'value_unfit', 'x')"
        self.check(self.differences(letter), "dead letter", "value_unfit")

    def test_a_batch_without_its_checkpoint(self):
        half = f"INSERT INTO {NAME}.ledger SELECT * FROM {NAME}.ledger ORDER BY entry LIMIT 1"
        self.check(self.violations(half), "the checkpoint counts")

    def test_a_checkpoint_without_its_batch(self):
        half = f"UPDATE afterimage.checkpoint SET next_offset = next_offset + 1 WHERE topic = '{LEDGER}'"
        self.check(self.violations(half), "the checkpoint counts")

    def test_a_batch_whose_rows_appear_one_after_the_other(self):
        half = f"""INSERT INTO public.written (xid, of_table, id)
            SELECT max(xid), 'ledger', 0 FROM public.written"""
        self.check(self.violations(half), "appeared later")


if __name__ == "__main__":
    unittest.main()
