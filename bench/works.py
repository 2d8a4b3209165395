"""The tables, and what happens to them: the arithmetic of `fill.rs`, as SQL.

A value is `low + number * factor % modulus`, where number is that of the event. So the last event of
a row says all of it, and a query says which one that is.
"""

from dataclasses import dataclass, field, replace

# Rows at the edges of a partition, before its first event and behind its last one, from these down: who sees
# them knows that the partition has begun, or is done.
FIRST_ROW, LAST_ROW = -1, -101
LIFE = 64
PAD_BYTES = 65_536
MASK = 0x7FFFFFFF
DAY = "2024-05-06"

PARTITIONS = 3


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    shape: str = "number"
    low: int = 0
    factor: int = 1
    modulus: int = MASK
    prefix: str = ""
    filled: int = 0

    def hole(self):
        if self.shape == "clock":
            return {"of": "clock", "low": 0, "factor": 1, "modulus": 2**62, "shape": "number"}
        shape = {"number": "number", "micros": "number", "decimal": "decimal",
                 "instant": {"instant": DAY}, "text": {"text": [self.prefix, self.filled]}}
        return {"of": "event", "low": self.low, "factor": self.factor, "modulus": self.modulus,
                "shape": shape[self.shape]}

    def sql(self):
        value = f"({self.low} + event * {self.factor} % {self.modulus})"
        if self.shape == "number":
            return f"{value}::{self.type}"
        if self.shape == "decimal":
            return f"({value}::numeric / 100)::{self.type}"
        if self.shape == "micros":
            return f"(timestamp '1970-01-01' + {value} * interval '1 us')"
        if self.shape == "instant":
            return f"(timestamptz '{DAY} 00:00:00+00' + {value} * interval '1 us')"
        text = f"'{self.prefix}' || {value}"
        if self.filled:
            text += f" || substr((SELECT pad FROM model.pad), ({value} % 1009)::int + 1, {self.filled})"
        return f"({text})"


@dataclass(frozen=True)
class Kind:
    """A table's columns behind its key, `id bigint`."""

    name: str
    columns: tuple

    def ddl(self, table):
        columns = "".join(f", {c.name} {c.type} NOT NULL" for c in self.columns)
        return f"CREATE TABLE {table} (id bigint PRIMARY KEY{columns}, synced_at timestamptz DEFAULT now())"

    def names(self):
        """Of the columns whose values the events say."""
        return ", ".join(["id", *(c.name for c in self.columns if c.shape != "clock")])

    def hashed(self):
        """The names as a hash of the row needs them: that of a number does not have its sign, nor its scale,
        which the column's type fixes."""
        signs = (f"{c.name} < 0" for c in self.columns if c.shape == "decimal")
        return ", ".join([self.names(), *signs])

    def values(self):
        """Of an event and its row."""
        return ", ".join(["row AS id", *(f"{c.sql()} AS {c.name}" for c in self.columns if c.shape != "clock")])


def _orders(*left_out):
    columns = (
        Column("user_id", "bigint", factor=7919, modulus=100_003, low=1),
        Column("status", "text", "text", factor=31, modulus=7, prefix="state "),
        Column("amount", "numeric(12,2)", "decimal", factor=104_729, modulus=9_999_991),
        Column("quantity", "integer", factor=13, modulus=100),
        Column("note", "text", "text", factor=15_485_863, prefix="leave it at the door of number "),
        Column("created_at", "timestamp", "micros", low=1_714_979_289_000_000, factor=1_000_003,
               modulus=2_000_000_000_003),
        Column("updated_at", "timestamptz", "instant", factor=982_451_653, modulus=86_399_999_999),
    )
    return tuple(column for column in columns if column.name not in left_out)


def _wide():
    made = []
    for place in range(50):
        step = 1_000_003 + 2 * place
        made.append((
            Column(f"number_{place:02}", "bigint", factor=step),
            Column(f"count_{place:02}", "integer", factor=step, modulus=1_000_000),
            Column(f"text_{place:02}", "text", "text", factor=step, prefix="value "),
            Column(f"amount_{place:02}", "numeric(12,2)", "decimal", factor=step, modulus=9_999_991),
            Column(f"name_{place:02}", "text", "text", factor=step, modulus=997, prefix="n"),
        )[place % 5])
    return tuple(made)


ORDERS = Kind("orders", _orders())
# With the time at which the record was sent, in microseconds.
CLOCKED = Kind("orders", tuple(
    replace(column, shape="clock") if column.name == "created_at" else column for column in ORDERS.columns))
# Without the type that the peer's unnest mode fails on.
PLAIN = Kind("plain", _orders("created_at"))
WIDE = Kind("wide", _wide())
BIG = Kind("big", (Column("body", "text", "text", factor=982_451_653, filled=10_000),))
KINDS = {kind.name: kind for kind in (ORDERS, PLAIN, WIDE, BIG)}


@dataclass(frozen=True)
class Work:
    """Events on tables of a kind, in so many pieces of a backlog. Each has rows behind its last event."""

    name: str
    title: str
    change: str
    kind: Kind = field(default=ORDERS)
    rows: int = 0
    tables: int = 1
    count: int = 0
    pieces: int = 1

    def sized(self, count):
        return replace(self, count=count)

    def extended(self, count):
        """With a piece more, and so many changes in all."""
        return replace(self, count=count, pieces=self.pieces + 1)

    def last_row(self):
        """Of the rows behind all, the first."""
        return LAST_ROW - (self.pieces - 1) * PARTITIONS

    def table_names(self):
        if self.tables == 1:
            return [self.kind.name]
        return [f"{self.kind.name}_{place:04}" for place in range(self.tables)]

    def fill_work(self):
        return {"updates": self.rows} if self.change == "updates" else self.change

    def events(self, count=None):
        """SQL of the events: number, op, row, and which table."""
        first, last = self.rows, self.rows + (self.count if count is None else count) - 1
        op, row = CHANGES[self.change]
        return f"""
            SELECT event, {op.format(rows=self.rows)} AS op, {row.format(rows=self.rows)} AS row,
                event % {self.tables} AS place
            FROM generate_series({first}::bigint, {last}) AS event,
                LATERAL (SELECT (event * 1103515245 + 12345) & {MASK} AS a) AS a,
                LATERAL (SELECT ((a # (a >> 15)) * 668265263) & {MASK} AS b) AS b,
                LATERAL (SELECT b # (b >> 13) AS random) AS random"""

    def last_events(self, count=None):
        """SQL of what remains: for each row its last event, without the deleted ones."""
        there = f"""SELECT n AS event, n + 1 AS row, 0 AS place
            FROM generate_series(0::bigint, {self.rows} - 1) AS n"""
        behind = self.last_row() - PARTITIONS + 1
        edges = f"""SELECT 0::bigint AS event, edge AS row, place
            FROM generate_series(0, {self.tables} - 1) AS place,
                (SELECT generate_series({FIRST_ROW - PARTITIONS + 1}::bigint, {FIRST_ROW}) AS edge
                UNION ALL SELECT generate_series({behind}, {LAST_ROW})) AS edges"""
        if self.change == "creates":
            return f"SELECT event, row, place FROM ({self.events(count)}) AS e UNION ALL {edges}"
        return f"""
            SELECT marked / 2 AS event, row, 0 AS place FROM (
                SELECT max(event * 2 + is_delete) AS marked, row FROM (
                    SELECT event, row, (op = 'd')::int AS is_delete FROM ({self.events(count)}) AS e
                    UNION ALL SELECT event, row, 0 FROM ({there}) AS t
                ) AS all_events GROUP BY row
            ) AS last WHERE marked % 2 = 0
            UNION ALL {edges}"""


_RANDOM_OF_MIX = "14 * (random % (event / 20 + 1)) + (random / (event / 20 + 1)) % 13 + 1"
_IS_MIXED_DELETE = f"event % 20 = 19 AND event / 20 >= {LIFE}"
# The op and the row of an event, as `Work::change` in fill.rs has them.
CHANGES = {
    "creates": ("'c'", "event + 1"),
    "updates": ("'u'", "1 + random % {rows}"),
    "alternating": ("CASE WHEN event % 2 = 0 THEN 'c' ELSE 'd' END", "1::bigint"),
    "mix": (
        f"CASE WHEN event % 20 < 14 THEN 'c' WHEN {_IS_MIXED_DELETE} THEN 'd' ELSE 'u' END",
        f"""CASE WHEN event % 20 < 14 THEN 14 * (event / 20) + event % 20 + 1
            WHEN {_IS_MIXED_DELETE} THEN 14 * (event / 20 - {LIFE}) + 14
            ELSE {_RANDOM_OF_MIX} END""",
    ),
}

CREATES = Work("creates", "creates", "creates")
UPDATES = Work("updates", "updates of random keys over 1 M rows", "updates", rows=1_000_000)
MIX = Work("mix", "70 % creates, 25 % updates, 5 % deletes", "mix")
HOT = Work("hot", "1000 keys take all updates", "updates", rows=1_000)
WIDE_ROWS = Work("wide", "creates of 50 columns", "creates", kind=WIDE)
BIG_VALUES = Work("big", "creates with 10 KB of text", "creates", kind=BIG)
TABLES = Work("tables", "creates in 20 tables at once", "creates", tables=20)
ALTERNATING = Work("alternating", "insert and delete of one key in turns", "alternating")
PLAIN_CREATES = Work("plain", "creates, without MicroTimestamp", "creates", kind=PLAIN)
GUARDED = Work("guarded", "creates without and with the row guard", "creates")
CLOCKED_CREATES = Work("latency", "creates at a rate", "creates", kind=CLOCKED)
WORKS = {work.name: work for work in (CREATES, UPDATES, MIX, HOT, WIDE_ROWS, BIG_VALUES, TABLES,
                                      ALTERNATING, PLAIN_CREATES, GUARDED)}
