#!/usr/bin/env python3
"""Compares tables of two databases row by row, by what the servers themselves print.

    compare.py --source URL --target URL TABLE[=TARGET_TABLE]...
    compare.py --source URL --sqlite FILE TABLE[=TARGET_TABLE]...

The columns and the key of the source's table decide; further columns of the target are not looked
at. A table without a key is compared as a bag of whole rows. Exit status: 0 equal, 1 different,
2 could not look.

This shares no code with the consumer: it is what judges it. It reads through psql, and holds one
row of each side at a time.
"""

import argparse
import decimal
import json
import os
import sqlite3
import subprocess
import sys

SHOWN = 20

# One spelling of every value, whatever the databases' settings are.
SETTINGS = (
    "-c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres"
    " -c bytea_output=hex -c extra_float_digits=1"
)

COLUMNS = """
SELECT attname,
    CASE WHEN atttypid = 'numeric'::regtype AND atttypmod = -1 THEN 'numeric of any scale'
    ELSE format_type(atttypid, NULL) END,
    coalesce(attnum = ANY (indkey), false)
FROM pg_attribute LEFT JOIN pg_index ON indrelid = attrelid AND indisprimary
WHERE attrelid = {table}::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""


class CannotLook(Exception):
    """The answer is neither equal nor different."""


def main():
    options = arguments()
    differences = 0
    try:
        for pair in options.tables:
            source_name, _, target_name = pair.partition("=")
            differences += compare(options, source_name, target_name or source_name)
    except CannotLook as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2
    return 1 if differences else 0


def arguments():
    parser = argparse.ArgumentParser(description="Compares tables of two databases row by row.")
    parser.add_argument("tables", nargs="+", metavar="TABLE[=TARGET_TABLE]")
    parser.add_argument("--source", required=True, metavar="URL")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--target", metavar="URL")
    target.add_argument("--sqlite", metavar="FILE")
    parser.add_argument("--exclude-column", action="append", default=[], metavar="COLUMN")
    return parser.parse_args()


def compare(options, source_name, target_name):
    """Prints how the two tables differ; returns in how many rows."""
    columns = source_columns(options, source_name)
    source = postgres_rows(options.source, source_name, columns)
    if options.sqlite:
        target = sqlite_rows(options.sqlite, target_name.rpartition(".")[2], columns)
    else:
        target = postgres_rows(options.target, target_name, columns)
    rows = differences = 0
    for key, message in merge(source, target, columns):
        rows += 1
        if message is None:
            continue
        differences += 1
        if differences <= SHOWN:
            print(f"{source_name} {key}: {message}")
    verdict = f"{differences} different" if differences else "equal"
    print(f"{source_name}: {rows} rows, {verdict}")
    return differences


def merge(source, target, columns):
    """Walks both sides in key order, and yields for each row its key and what is wrong with it."""
    ours, theirs = next(source, None), next(target, None)
    while ours or theirs:
        if ours and theirs and ours.line == theirs.line:
            yield None, None
            ours, theirs = next(source, None), next(target, None)
        elif theirs is None or (ours and ours.key < theirs.key):
            yield name_key(ours, columns), "not in the target"
            ours = next(source, None)
        elif ours is None or theirs.key < ours.key:
            yield name_key(theirs, columns), "in the target only, or once too often"
            theirs = next(target, None)
        else:
            unlike = [
                f"{column.name} is {show(b)}, at the source {show(a)}"
                for column, a, b in zip(columns, ours.values, theirs.values)
                if a != b
            ]
            yield name_key(ours, columns), "; ".join(unlike) if unlike else None
            ours, theirs = next(source, None), next(target, None)


def name_key(row, columns):
    named = [f"{c.name}={show(v)}" for c, v in zip(columns, row.values) if c.in_key]
    return "(" + ", ".join(named) + ")"


def show(value):
    return "NULL" if value is None else repr(value)


class Column:
    def __init__(self, name, type, in_key):
        self.name, self.type, self.in_key = name, type, in_key


class Row:
    """One row, by its line as COPY prints it; cut into values only when that is needed."""

    def __init__(self, line, columns, values=None):
        self.line, self.columns, self.cut = line, columns, values

    @property
    def values(self):
        if self.cut is None:
            fields = self.line.rstrip(b"\n").split(b"\t")
            self.cut = [unescape(f, c) for f, c in zip(fields, self.columns)]
        return self.cut

    @property
    def key(self):
        # NULL last, as the servers sort it.
        pairs = zip(self.values, self.columns)
        return [(value is None, value or "") for value, column in pairs if column.in_key]


def unescape(field, column):
    r"""COPY's text format: \N is NULL, and a backslash begins a special character."""
    if field == b"\\N":
        return None
    if b"\\" in field:
        field = field.decode("unicode_escape").encode("latin-1")
    return plain(field.decode(), column.type)


def plain(text, type):
    """Both databases' spelling of a value as one; PostgreSQL against PostgreSQL needs none."""
    if type == "boolean":
        return {"t": "1", "f": "0"}.get(text, text)
    if type.startswith("timestamp"):
        text = text.replace("T", " ").replace("Z", "+00").replace("+00:00", "+00")
        clock, plus, zone = text.partition("+")
        if "." in clock:
            clock = clock.rstrip("0").rstrip(".")
        return clock + plus + zone
    if type == "numeric of any scale" and "." in text:
        # Debezium's connector takes the trailing zeros away before anybody can see them.
        return text.rstrip("0").rstrip(".")
    if type in ("real", "double precision"):
        return repr(float(text))
    if type == "jsonb":
        return document(text)
    return text


def document(text):
    """A document without its blanks and its order of keys, which jsonb does not keep."""
    numbers = {"parse_int": decimal.Decimal, "parse_float": decimal.Decimal}
    try:
        return repr(json.loads(text, **numbers, object_hook=lambda it: tuple(sorted(it.items()))))
    except ValueError:
        return text


# PostgreSQL


def source_columns(options, table):
    query = COLUMNS.format(table=literal(table))
    listing = run_psql(options.source, f"COPY ({query}) TO STDOUT")
    lines = [line.decode().rstrip("\n").split("\t") for line in listing]
    if not lines:
        raise CannotLook(f"{table} has no columns")
    keyless = not any(in_key == "t" for _, _, in_key in lines)
    return [
        Column(name, type, keyless or in_key == "t")
        for name, type, in_key in lines
        if name not in options.exclude_column
    ]


def postgres_rows(url, table, columns):
    names = ", ".join(quote(c.name) for c in columns)
    order = ", ".join(f'{quote(c.name)}::text COLLATE "C"' for c in columns if c.in_key)
    statement = f"COPY (SELECT {names} FROM {qualified(table)} ORDER BY {order}) TO STDOUT"
    for line in run_psql(url, statement):
        yield Row(line, columns)


def run_psql(url, statement):
    environment = os.environ | {"PGOPTIONS": SETTINGS, "PGCLIENTENCODING": "UTF8"}
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]
    try:
        psql = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise CannotLook(error) from error
    yield from psql.stdout
    problem = psql.stderr.read().decode().strip()
    if psql.wait() != 0:
        raise CannotLook(problem)


def qualified(table):
    return ".".join(quote(part) for part in table.split("."))


def quote(name):
    return '"' + name.replace('"', '""') + '"'


def literal(table):
    return "'" + qualified(table).replace("'", "''") + "'"


# SQLite


def sqlite_rows(file, table, columns):
    names = ", ".join(quote(c.name) for c in columns)
    # Compared as bytes, like COLLATE "C".
    order = ", ".join(f"CAST({quote(c.name)} AS TEXT) NULLS LAST" for c in columns if c.in_key)
    try:
        database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        for values in database.execute(f"SELECT {names} FROM {quote(table)} ORDER BY {order}"):
            texts = [sqlite_text(v, c) for v, c in zip(values, columns)]
            yield Row(None, columns, texts)
    except sqlite3.Error as error:
        raise CannotLook(f"{file}: {error}") from error


def sqlite_text(value, column):
    if value is None:
        return None
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return plain(str(value), column.type)


if __name__ == "__main__":
    sys.exit(main())
