#!/usr/bin/env python3
"""Shows that the soak's judge can say no: each kind of damage is found, and only what is damage.

Works on a source and a target of its own in the stack's databases, filled from one another by SQL. Of
Kafka, which no member has read here, the ends of the topics and the versions that they bring are made
up.
"""

import unittest

import places

places.NAME = "soak_judge"
places.TARGET = places.TARGET_SERVER.rpartition("/")[0] + f"/{places.NAME}"

import checks
import load
import topics
import versions
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


class VersionsTest(unittest.TestCase):
    """What explains a key's versions: `1 2 -` are its records, or what was shown, `-` is no row."""

    def judge(self, sent, shown):
        def read(text):
            return [None if word == "-" else int(word) for word in text.split()]
        return versions.judge({7: read(sent)}, {7: read(shown)})

    def right(self, sent, shown):
        self.assertEqual(self.judge(sent, shown), [])

    def wrong(self, sent, shown, line):
        self.assertEqual(self.judge(sent, shown), [f"account 7: {line}"])

    def test_each_version_once(self):
        self.right("1 2 3", "1 2 3")
        self.right("1 - 2", "1 - 2")

    def test_versions_that_a_batch_or_a_look_left_out(self):
        self.right("1 2 3 4", "2 4")
        self.right("1 - 2", "1 2")
        self.right("1 2 -", "1")
        self.right("1 -", "")

    def test_a_connector_that_repeats_itself(self):
        self.right("1 2 3 2 3 4", "1 2 3 2 3 4")
        self.right("1 2 3 1 2 3 4", "1 3 2 3 4")
        self.right("1 2 3 2 3 4", "3 4")
        self.right("1 - 1 - 2", "1 - 1 - 2")

    def test_a_version_that_comes_oftener_than_it_was_sent(self):
        self.wrong("1 2", "1 2 2", "version 2 came 2 times, and was sent 1 times")
        self.wrong("1 2 1 2", "1 2 1 2 2", "version 2 came 3 times, and was sent 2 times")
        self.wrong("1 - 2", "1 - 1 2", "version 1 came 2 times, and was sent 1 times")

    def test_a_version_that_was_never_sent(self):
        self.wrong("1 2", "1 3 2", "version 3 came 1 times, and was sent 0 times")
        self.wrong("", "1", "version 1 came 1 times, and was sent 0 times")

    def test_an_older_version_behind_a_newer_one(self):
        self.wrong("1 2 3", "2 1 3", "version 1 came behind version 2, where it was not sent")
        # As often as it was sent, but not where the records go back.
        self.wrong("1 2 1 2 3", "1 2 3 1 2", "version 1 came behind version 3, where it was not sent")

    def test_a_row_that_is_gone_for_a_while(self):
        self.wrong("1 2", "1 - 2", "no row came 1 times, and was sent 0 times")

    def test_a_last_version_that_is_lost(self):
        self.wrong("1 2 3", "1 2", "version 2 came last, and version 3 was sent last")
        self.wrong("1 - 2", "1 -", "no row came last, and version 2 was sent last")
        self.wrong("1", "", "no row came last, and version 1 was sent last")

    def test_another_keys_repetition_explains_nothing(self):
        found = versions.judge({1: [5, 6, 5, 6], 2: [7, 8]}, {1: [6], 2: [7, 8, 7, 8]})
        self.assertEqual(found, ["account 2: version 7 came 2 times, and was sent 1 times"])


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
        # Each account as it is came in one record.
        rows = psql(SOURCE, f"SELECT id, version FROM {NAME}.accounts ORDER BY id")
        cls.versions = {int(key): [int(version)] for key, version in rows}
        cls.first, cls.last = min(cls.versions), max(cls.versions)
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
        self.real = topics.ends, versions.sent
        topics.ends, versions.sent = lambda: self.sent, lambda: self.versions
        self.watcher = checks.Watcher()
        self.watcher.stop()

    def tearDown(self):
        topics.ends, versions.sent = self.real

    def differences(self, *damages):
        """What is found behind the damages, each of which the watcher has seen."""
        self.violations(*damages)
        return checks.differences(self.watcher.versions)

    def violations(self, *damages):
        """What the watcher sees behind each damage."""
        for damage in ("SELECT 1", *damages):
            psql(TARGET, damage)
            self.watcher.look(psql(TARGET, checks.SNAPSHOT))
        return self.watcher.violations

    def step(self, account, by):
        """Writes an account's row with another version."""
        return f"UPDATE {NAME}.accounts SET version = version + {by} WHERE id = {account}"

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
        # In one step for whoever looks from outside.
        back = f"{self.step(self.first, -1)}; {self.step(self.first, +1)}"
        found = self.differences(back)
        self.check(found, f"written: account {self.first}: ")
        self.assertEqual(len(found), 1, found)

    def test_a_version_that_is_seen_to_go_backwards(self):
        back = self.step(self.first, -1), self.step(self.first, +1)
        self.check(self.differences(*back), f"written: account {self.first}: ",
                   f"seen: account {self.first}: ")

    def test_a_row_that_is_seen_to_go_and_come_back(self):
        # The trigger saw no write.
        gone = f"""CREATE TABLE kept.gone AS TABLE {NAME}.accounts; DELETE FROM {NAME}.accounts"""
        back = f"""SET session_replication_role = replica;
            INSERT INTO {NAME}.accounts TABLE kept.gone; DROP TABLE kept.gone"""
        found = self.differences(gone, back)
        self.check(found, f"seen: account {self.last}: no row came 1 times, and was sent 0 times")
        self.assertEqual(len(found), len(self.versions))

    def test_a_version_that_is_written_twice(self):
        self.check(self.differences(self.step(self.first, 0)),
                   "written: ", "came 2 times, and was sent 1 times")

    def test_a_version_that_is_written_as_often_as_it_was_sent(self):
        (version,) = self.versions[self.first]
        self.sent = self.sent | {(ACCOUNTS, 0): self.sent[ACCOUNTS, 0] + 2}
        self.versions = self.versions | {self.first: [version, version - 1, version]}
        back = self.step(self.first, -1), self.step(self.first, +1)
        self.assertEqual(self.differences(*back), [])
        self.check(self.differences(self.step(self.first, 0)), f"account {self.first}: version {version} "
                   "came 3 times, and was sent 2 times")

    def test_a_last_version_that_was_not_written(self):
        self.versions = self.versions | {self.last: self.versions[self.last] + [10**6]}
        self.check(self.differences("SELECT 1"), f"written: account {self.last}: ",
                   f"seen: account {self.last}: ", "version 1000000 was sent last")

    def test_a_record_that_the_topics_lack(self):
        self.sent = self.sent | {(ACCOUNTS, 0): self.sent[ACCOUNTS, 0] - 1}
        with self.assertRaises(SystemExit):
            self.differences("SELECT 1")

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
