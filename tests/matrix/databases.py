"""The databases, through their own clients: the sources are written, both sides read as text."""

import contextlib
import os
import pathlib
import sqlite3
import subprocess
import sys
import urllib.parse

import cases
import equal
import sqlite_equal

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import compare

DATABASE = "matrix"


class Postgres:
    """A PostgreSQL server, source or target, seen through psql."""

    def __init__(self, url, admin_url):
        self.maintenance = admin_url
        self.admin = with_database(admin_url)
        self.url = with_database(url)
        self.owner = urllib.parse.urlsplit(url).username

    quote = staticmethod(compare.quote)

    @staticmethod
    def judge(modes):
        return lambda type, name, source, target: equal.equal(name, source, target)

    def url_of(self, schema):
        return self.url

    def create(self, setup):
        self.drop()
        psql(self.maintenance, f"CREATE DATABASE {DATABASE} OWNER {self.owner}")
        extensions = [f"CREATE EXTENSION {name};" for name in setup.get("extensions", [])]
        psql(self.admin, "\n".join(extensions))
        psql(self.url, "\n".join(f"{statement};" for statement in setup.get("setup", [])))

    def drop(self):
        psql(self.maintenance, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")

    def fill(self, some):
        """The source's tables anew, with the rows that the snapshot reads."""
        lines = [
            f"DROP SCHEMA IF EXISTS {DATABASE} CASCADE",
            f"CREATE SCHEMA {DATABASE}",
            f"SET search_path = {DATABASE}, public",
        ]
        for case in some:
            table = self.quote(case.table)
            lines.append(cases.create(case, self.quote, case.sql, table))
            lines.append(cases.insert(case, self.quote, cases.rows_before(case)))
            if case.identity:
                lines.append(f"ALTER TABLE {table} REPLICA IDENTITY {case.identity}")
        lines.append(f"GRANT USAGE ON SCHEMA {DATABASE} TO debezium")
        lines.append(f"GRANT SELECT ON ALL TABLES IN SCHEMA {DATABASE} TO debezium")
        psql(self.url, ";\n".join(lines))
        psql(
            self.admin,
            f"DROP PUBLICATION IF EXISTS {DATABASE}; CREATE PUBLICATION {DATABASE} FOR ALL TABLES",
        )

    def change(self, some):
        lines = [f"SET search_path = {DATABASE}, public"]
        for case in some:
            lines += cases.changes(case, self.quote)
        psql(self.url, ";\n".join(lines))

    def prepare(self, schema, some, modes):
        """The tables that a user makes: JSON without schemas needs them."""
        lines = [f"CREATE SCHEMA {schema}"]
        for case in some:
            relation = f"{schema}.{self.quote(case.table)}"
            lines.append(cases.create(case, self.quote, case.target, relation))
        psql(self.url, ";\n".join(lines))

    def read(self, schema, some):
        """What stands in these tables: by table, by key, by column; no table where there is none."""
        there = self.columns(schema)
        script = []
        for case in some:
            columns = ["id", *(name for name in there.get(case.table, []) if name != "id")]
            if case.table in there:
                relation = f"{compare.quote(schema)}.{self.quote(case.table)}"
                listing = ", ".join(self.quote(name) for name in columns)
                script.append(f"\\echo\n\\echo table {some.index(case)}")
                script.append(f"COPY (SELECT {listing} FROM {relation}) TO STDOUT;")
        tables, case = {}, None
        for line in psql_text(self.url, "\n".join(script)).split("\n"):
            if line.startswith("table "):
                case = some[int(line[6:])]
                columns = ["id", *(name for name in there[case.table] if name != "id")]
                rows = tables[case.table] = {}
            elif line:
                texts = [unescape(field) for field in line.split("\t")]
                row = dict(zip(columns[1:], texts[1:]))
                # A moved row that left its old one behind.
                twice = int(texts[0]) in rows
                rows[int(texts[0])] = dict.fromkeys(row, "(two rows)") if twice else row
        return tables

    def columns(self, schema):
        listing = psql_text(
            self.url,
            "COPY (SELECT relname, attname FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid"
            f" WHERE relnamespace = to_regnamespace('{schema}') AND attnum > 0 AND NOT attisdropped"
            " AND relkind = 'r' ORDER BY attnum) TO STDOUT",
        )
        tables = {}
        for line in listing.splitlines():
            table, column = (unescape(field) for field in line.split("\t"))
            tables.setdefault(table, []).append(column)
        return tables

    def dead_letters(self, sink):
        """(topic, key bytes, reason, error) of each record that was refused."""
        listing = psql_text(
            self.url,
            "COPY (SELECT topic, coalesce(encode(key, 'hex'), ''), reason, coalesce(error, '')"
            f" FROM afterimage.dead_letter WHERE sink = '{sink}') TO STDOUT",
        )
        rows = [[unescape(field) for field in line.split("\t")] for line in listing.splitlines()]
        return [(topic, bytes.fromhex(key), reason, error) for topic, key, reason, error in rows]

    def stopped(self, sink):
        """Why a topic's partition is stopped."""
        listing = psql_text(
            self.url,
            "COPY (SELECT topic, state_reason FROM afterimage.checkpoint"
            f" WHERE sink = '{sink}' AND state = 'stopped') TO STDOUT",
        )
        return dict([unescape(f) for f in line.split("\t")] for line in listing.splitlines())


class MariaDb:
    """The MariaDB server, a source, seen through its own client."""

    def __init__(self, socket):
        self.socket = socket

    @staticmethod
    def quote(name):
        return "`" + name.replace("`", "``") + "`"

    def create(self, setup):
        self.drop()

    def drop(self):
        self.run(f"DROP DATABASE IF EXISTS {DATABASE}")

    def fill(self, some):
        lines = [
            f"DROP DATABASE IF EXISTS {DATABASE}",
            f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4",
            f"USE {DATABASE}",
        ]
        for case in some:
            lines.append(cases.create(case, self.quote, case.sql, self.quote(case.table)))
            lines.append(cases.insert(case, self.quote, cases.rows_before(case)))
        self.run(";\n".join(lines))

    def change(self, some):
        lines = [f"USE {DATABASE}"]
        for case in some:
            lines += cases.changes(case, self.quote)
        self.run(";\n".join(lines))

    def read(self, schema, some):
        script = [f"USE {schema}"]
        for number, case in enumerate(some):
            texts = [(case.read or "{v}").format(v=self.quote(case.column))]
            texts += [self.quote(name) for name in case.further]
            # As hex, which neither tabs nor line ends nor a text NULL can disturb.
            hexes = [f"IFNULL(HEX(CONVERT({text} USING utf8mb4)), 'NULL')" for text in texts]
            script.append(f"SELECT 'table', {number}")
            script.append(f"SELECT id, {', '.join(hexes)} FROM {self.quote(case.table)}")
        tables = {}
        for line in self.run(";\n".join(script)).splitlines():
            fields = line.split("\t")
            if fields[0] == "table":
                case = some[int(fields[1])]
                rows = tables[case.table] = {}
            else:
                texts = [None if f == "NULL" else bytes.fromhex(f).decode() for f in fields[1:]]
                rows[int(fields[0])] = dict(zip([case.column, *case.further], texts))
        return tables

    def run(self, script):
        # Zero dates and texts that are no member of an enum are refused otherwise.
        settings = "SET sql_mode = '', time_zone = '+00:00';\n"
        command = ["mariadb", "--no-defaults", "--default-character-set=utf8mb4", "--batch", "--raw"]
        command += ["--skip-column-names", "-uroot", "-S", self.socket]
        done = subprocess.run(command, input=(settings + script).encode(), capture_output=True)
        if done.returncode != 0:
            raise SystemExit(f"mariadb: {done.stderr.decode().strip()}")
        return done.stdout.decode()


class Sqlite:
    """A folder of SQLite files, targets, seen through Python's own library: one file for a sink."""

    @staticmethod
    def judge(modes):
        return sqlite_equal.Judge(modes).equal

    def __init__(self, folder):
        self.folder = folder

    def create(self, setup):
        self.drop()

    def drop(self):
        for file in self.folder.glob("*.sqlite*"):
            file.unlink()

    def prepare(self, sink, some, modes):
        """The tables that a user makes: JSON without schemas needs them."""
        with contextlib.closing(sqlite3.connect(self.file(sink))) as file:
            for case in some:
                type = sqlite_equal.declared(case.target, case.equal, modes)
                file.execute(cases.create(case, compare.quote, type, compare.quote(case.table)))
            file.commit()

    def file(self, sink):
        return self.folder / f"{sink}.sqlite"

    def url_of(self, sink):
        return f"sqlite://{self.file(sink)}"

    def read(self, sink, some):
        """What stands in these tables, each value in its storage class: as Postgres.read has it."""
        tables = {}
        for case in some:
            name = compare.quote(case.table)
            if not self.query(sink, "SELECT 1 FROM sqlite_schema WHERE name = ?", case.table):
                continue
            rows = tables[case.table] = {}
            for row in self.query(sink, f"SELECT * FROM {name}"):
                columns = dict(zip(row.keys(), row))
                id = columns.pop("id")
                twice = id in rows
                rows[id] = dict.fromkeys(columns, "(two rows)") if twice else columns
        return tables

    def dead_letters(self, sink):
        return self.query(
            sink,
            "SELECT topic, coalesce(key, x''), reason, coalesce(error, '') FROM afterimage_dead_letter",
        )

    def stopped(self, sink):
        reasons = "SELECT topic, state_reason FROM afterimage_checkpoint WHERE state = 'stopped'"
        return dict(map(tuple, self.query(sink, reasons)))

    def query(self, sink, query, *binds):
        with contextlib.closing(sqlite3.connect(f"file:{self.file(sink)}?mode=ro", uri=True)) as file:
            file.row_factory = sqlite3.Row
            return file.execute(query, binds).fetchall()


def with_database(url):
    return urllib.parse.urlsplit(url)._replace(path=f"/{DATABASE}").geturl()


def unescape(field):
    return compare.unescape(field.encode(), compare.Column("", "text", False))


def psql(url, script):
    psql_text(url, "SET client_min_messages = error;\n" + script + ";\n" if script else "")


def psql_text(url, script):
    environment = os.environ | {"PGOPTIONS": compare.SETTINGS, "PGCLIENTENCODING": "UTF8"}
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]
    done = subprocess.run(command, input=script.encode(), env=environment, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"psql: {done.stderr.decode().strip()}")
    return done.stdout.decode()
