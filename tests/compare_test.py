#!/usr/bin/env python3
"""Shows that compare.py can say no: each kind of damage makes it exit 1.

Works in two schemas of its own in the stack's target database (TARGET_ADMIN_URL).
"""

import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import unittest

COMPARE = pathlib.Path(__file__).with_name("compare.py")
URL = os.environ["TARGET_ADMIN_URL"]

# The target has no key, so that a row can stand there twice.
PREPARE = """
DROP SCHEMA IF EXISTS compare_source, compare_target CASCADE;
CREATE SCHEMA compare_source;
CREATE SCHEMA compare_target;
CREATE TABLE compare_source.t (
    id bigint PRIMARY KEY, name text, amount numeric(12, 2), flag boolean, at timestamptz, data jsonb
);
INSERT INTO compare_source.t
    SELECT i, 'ü' || chr(9) || i, i * 0.01, i % 2 = 0, to_timestamp(i / 7.0), '{"a": 1}'
    FROM generate_series(1, 1000) AS i;
INSERT INTO compare_source.t (id, name) VALUES (1001, ''), (1002, E'\\\\N');
CREATE TABLE compare_target.t AS SELECT *, now() AS synced_at FROM compare_source.t;
CREATE TABLE compare_source.bag (name text, amount numeric);
INSERT INTO compare_source.bag VALUES ('a', 1), ('a', 1), ('b', NULL);
CREATE TABLE compare_target.bag AS TABLE compare_source.bag;
"""


def psql(statement):
    subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", URL],
        input="SET client_min_messages = error;" + statement,
        check=True,
        text=True,
    )


def compare(*arguments):
    command = [sys.executable, str(COMPARE), "--source", URL, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


class PostgresTest(unittest.TestCase):
    def setUp(self):
        psql(PREPARE)

    def tearDown(self):
        psql("DROP SCHEMA compare_source, compare_target CASCADE")

    def check(self, damage, status, *words):
        psql(damage)
        tables = ["compare_source.t=compare_target.t", "compare_source.bag=compare_target.bag"]
        answer = compare("--target", URL, *tables)
        self.assertEqual(answer.returncode, status, answer.stdout + answer.stderr)
        for word in words:
            self.assertIn(word, answer.stdout + answer.stderr)

    def test_equal_tables(self):
        self.check("", 0, "1002 rows, equal", "3 rows, equal")

    def test_one_changed_digit(self):
        self.check("UPDATE compare_target.t SET amount = amount + 0.01 WHERE id = 500", 1,
                   "(id='500')", "amount is '5.01', at the source '5.00'")

    def test_zeros_that_only_the_display_has(self):
        self.check("ALTER TABLE compare_source.t ADD COLUMN free numeric DEFAULT 64000.00;"
                   "ALTER TABLE compare_target.t ADD COLUMN free numeric DEFAULT 64000", 0)

    def test_zeros_that_count(self):
        self.check("ALTER TABLE compare_source.t ADD COLUMN free numeric DEFAULT 64000.00;"
                   "ALTER TABLE compare_target.t ADD COLUMN free numeric DEFAULT 6400", 1, "6400")

    def test_one_changed_microsecond(self):
        self.check("UPDATE compare_target.t SET at = at + '1 us' WHERE id = 500", 1, "(id='500')")

    def test_a_lost_row(self):
        self.check("DELETE FROM compare_target.t WHERE id = 7", 1, "(id='7'): not in the target")

    def test_the_last_row_lost(self):
        self.check("DELETE FROM compare_target.t WHERE id = 999", 1, "(id='999')")

    def test_a_row_too_many(self):
        self.check("INSERT INTO compare_target.t (id) VALUES (0)", 1, "(id='0')", "target only")

    def test_a_doubled_row(self):
        self.check("INSERT INTO compare_target.t SELECT * FROM compare_target.t WHERE id = 42", 1,
                   "(id='42')", "once too often")

    def test_a_null_for_a_value(self):
        self.check("UPDATE compare_target.t SET name = NULL WHERE id = 3", 1, "name is NULL")

    def test_a_null_for_an_empty_text(self):
        self.check("UPDATE compare_target.t SET name = NULL WHERE id = 1001", 1, "name is NULL")

    def test_a_null_for_a_text_that_looks_like_one(self):
        self.check("UPDATE compare_target.t SET name = NULL WHERE id = 1002", 1, "name is NULL")

    def test_a_value_for_a_null(self):
        self.check("UPDATE compare_target.t SET amount = 0 WHERE id = 1001", 1, "source NULL")

    def test_a_doubled_row_without_a_key(self):
        self.check("INSERT INTO compare_target.bag VALUES ('b', NULL)", 1, "1 different")

    def test_a_lost_twin_without_a_key(self):
        self.check("DELETE FROM compare_target.bag WHERE ctid IN"
                   " (SELECT ctid FROM compare_target.bag WHERE name = 'a' LIMIT 1)", 1)

    def test_a_missing_table(self):
        self.check("DROP TABLE compare_target.t", 2, "does not exist")

    def test_a_missing_column(self):
        self.check("ALTER TABLE compare_target.t DROP COLUMN flag", 2, "flag")


class SqliteTest(unittest.TestCase):
    def setUp(self):
        psql(PREPARE + "DELETE FROM compare_source.t WHERE id > 20 AND id < 1001")
        self.folder = tempfile.TemporaryDirectory()
        self.file = os.path.join(self.folder.name, "target.sqlite")
        self.database = sqlite3.connect(self.file)
        self.database.execute("CREATE TABLE t (id, name, amount TEXT, flag, at TEXT, data TEXT)")
        listing = subprocess.run(
            ["psql", "-X", "-A", "-t", "-d", URL, "-F", "\x1f", "-P", "null=\\N", "-c",
             "SELECT id, name, amount, CASE flag WHEN true THEN 1 WHEN false THEN 0 END,"
             " to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), data"
             " FROM compare_source.t WHERE id <> 1002"],
            capture_output=True, check=True, text=True,
        ).stdout
        for line in listing.splitlines():
            row = [None if field == "\\N" else field for field in line.split("\x1f")]
            self.database.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", row)
        self.database.execute("INSERT INTO t (id, name) VALUES (1002, '\\N')")

    def tearDown(self):
        self.database.close()
        self.folder.cleanup()
        psql("DROP SCHEMA compare_source, compare_target CASCADE")

    def check(self, damage, status):
        self.database.execute(damage)
        self.database.commit()
        answer = compare("--sqlite", self.file, "compare_source.t=t")
        self.assertEqual(answer.returncode, status, answer.stdout + answer.stderr)

    def test_equal_tables(self):
        self.check("SELECT 1", 0)

    def test_one_changed_digit(self):
        self.check("UPDATE t SET amount = '0.06' WHERE id = '5'", 1)

    def test_a_lost_row(self):
        self.check("DELETE FROM t WHERE id = '7'", 1)

    def test_a_doubled_row(self):
        self.check("INSERT INTO t SELECT * FROM t WHERE id = '7'", 1)

    def test_a_null_for_a_value(self):
        self.check("UPDATE t SET at = NULL WHERE id = '7'", 1)

    def test_the_order_of_a_documents_keys(self):
        psql("UPDATE compare_source.t SET data = '{\"b\": [1.10, null], \"aa\": \"ü\"}'")
        self.check("""UPDATE t SET data = '{"aa":"ü", "b": [1.10,null]}'""", 0)

    def test_what_a_document_holds(self):
        psql("UPDATE compare_source.t SET data = '{\"a\": 1.10}' WHERE id = 7")
        for other in ['{"a": 1.1}', '{"a": "1.10"}', '{"a": null}', '[["a", 1.10]]', '{}', 'a']:
            with self.subTest(other):
                self.check(f"UPDATE t SET data = '{other}' WHERE id = '7'", 1)


if __name__ == "__main__":
    unittest.main()
