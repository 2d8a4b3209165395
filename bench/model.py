"""What must be in the target, as the generator says it: SQL beside the target, and checksums.

The database also has the rows that the ceilings write. It shares no code with the consumer.
"""

from places import NAME, TARGET, TARGET_SERVER, connect
from works import CREATES, MASK, PAD_BYTES

# A name of its own for what only judges, so that dropping the targets leaves it.
SETUP = f"""
CREATE SCHEMA {NAME} AUTHORIZATION writer;
CREATE SCHEMA model;
CREATE TABLE model.pad AS SELECT string_agg(
        substr('0123456789abcdef', ((b # (b >> 13)) % 16)::int + 1, 1), '' ORDER BY place) AS pad
    FROM generate_series(0::bigint, {PAD_BYTES} - 1) AS place,
        LATERAL (SELECT (place * 1103515245 + 12345) & {MASK} AS a) AS a,
        LATERAL (SELECT ((a # (a >> 15)) * 668265263) & {MASK} AS b) AS b;
"""


class Unequal(Exception):
    """The target is not what the events say: the run has no result."""


def create():
    with connect(TARGET_SERVER) as server:
        server.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {NAME}")
        server.execute(f"GRANT CREATE ON DATABASE {NAME} TO writer")
    with connect(TARGET) as target:
        target.execute(SETUP)


def drop():
    with connect(TARGET_SERVER) as server:
        server.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")


def reset(work):
    """Fresh tables with the rows that are there before, for a consumer that has never run."""
    with connect(TARGET) as target:
        target.execute("SET client_min_messages = error")
        target.execute(f"DROP SCHEMA {NAME} CASCADE")
        target.execute("DROP SCHEMA IF EXISTS afterimage CASCADE")
        target.execute(f"CREATE SCHEMA {NAME} AUTHORIZATION writer")
        target.execute("SET ROLE writer")
        for table in work.table_names():
            target.execute(work.kind.ddl(f"{NAME}.{table}"))
        target.execute("RESET ROLE")
        if work.rows:
            _put_rows(target, work)
        # Each run begins with nothing to write back.
        target.execute("CHECKPOINT")


def _put_rows(target, work):
    """Puts in the rows that are there before, from a copy: they are computed once, for all runs."""
    [table] = work.table_names()
    names, copy = work.kind.names(), f"model.{table}_{work.rows}"
    # A vacuum of its own could come while somebody is measured.
    target.execute(f"""CREATE TABLE IF NOT EXISTS {copy} WITH (autovacuum_enabled = false) AS
        SELECT {work.kind.values()}
        FROM (SELECT n AS event, n + 1 AS row
            FROM generate_series(0::bigint, {work.rows} - 1) AS n) AS e""")
    # An index of rows that are there already is made sooner, and is as large.
    target.execute(f"ALTER TABLE {NAME}.{table} DROP CONSTRAINT {table}_pkey")
    target.execute(f"INSERT INTO {NAME}.{table} ({names}) SELECT {names} FROM {copy}")
    target.execute(f"ALTER TABLE {NAME}.{table} ADD PRIMARY KEY (id)")
    target.execute(f"VACUUM ANALYZE {NAME}.{table}")


def expected(work):
    """The count and the checksum of the rows that must be there."""
    values = f"SELECT place, {work.kind.values()} FROM ({work.last_events()}) AS last"
    return checksum(work, values)


def found(work):
    tables = [f"SELECT {place} AS place, {work.kind.names()} FROM {NAME}.{table}"
              for place, table in enumerate(work.table_names())]
    return checksum(work, " UNION ALL ".join(tables))


def checksum(work, rows):
    with connect(TARGET) as target:
        target.execute("SET timezone = 'UTC'")
        target.execute("SET work_mem = '256MB'")
        # A seed for each row: without, values that rows have exchanged would come to the same sum.
        query = f"""SELECT count(*), coalesce(sum(hash_record_extended(
            (place, {work.kind.hashed()}), id)::numeric), 0) FROM ({rows}) AS rows"""
        return tuple(int(value) for value in target.execute(query).fetchone())


def judge(work, must_be):
    """Holds the target to the model."""
    is_there = found(work)
    if is_there != must_be:
        raise Unequal(f"{work.name}: {is_there} is in the target, and must be {must_be}")


def prove():
    """Shows that the judge can say no: to a row too few, a value, a sign, values of the wrong row, a row too
    many."""
    work = CREATES.sized(1_000)
    reset(work)
    must_be = expected(work)
    [table] = work.table_names()
    table, names = f"{NAME}.{table}", work.kind.names()
    negate = f"UPDATE {table} SET amount = -amount WHERE id = 7"
    exchange = f"""UPDATE {table} AS t SET note = o.note FROM {table} AS o
        WHERE t.id IN (7, 8) AND o.id = 15 - t.id"""
    filled = f"""INSERT INTO {table} ({names})
        SELECT {work.kind.values()} FROM ({work.last_events()}) AS last"""
    with connect(TARGET) as target:
        target.execute(filled)
        judge(work, must_be)
        for spoilt, mended in (
            (f"DELETE FROM {table} WHERE id = 7", f"{filled} ON CONFLICT DO NOTHING"),
            (f"UPDATE {table} SET quantity = quantity + 1 WHERE id = 7",
             f"UPDATE {table} SET quantity = quantity - 1 WHERE id = 7"),
            (negate, negate),
            (exchange, exchange),
            (f"INSERT INTO {table} ({names}) SELECT 5000, {names.partition(', ')[2]} FROM {table} WHERE id = 7",
             f"DELETE FROM {table} WHERE id = 5000"),
        ):
            target.execute(spoilt)
            try:
                judge(work, must_be)
            except Unequal:
                target.execute(mended)
                continue
            raise SystemExit(f"the judge does not see: {spoilt}")
        judge(work, must_be)
