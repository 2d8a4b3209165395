"""What bounds everybody: the server with the same rows beside it, COPY by psql, the client alone."""

import itertools
import json
import subprocess
import time

import model
from places import BROKERS, DRAIN, NAME, SCRATCH, TARGET, connect

# Changes of a transaction, as the consumer's largest batch.
BATCH = 50_000
# Records that the client alone reads at most: about a second of them.
READ = 1_000_000


def stage(work):
    """Makes `model.stage`: what remains of each batch of changes, by table and in the order of keys.

    Tables come one behind the other.
    """
    nth = f"(place * {work.count} + event - {work.rows}) / {work.tables}"
    folded = f"""
        SELECT {nth} / {BATCH} AS batch, place, row, max(event * 2 + (op = 'd')::int) AS marked
        FROM ({work.events()}) AS e GROUP BY 1, 2, 3"""
    with connect(TARGET) as target:
        target.execute("SET work_mem = '256MB'")
        target.execute("DROP TABLE IF EXISTS model.stage")
        target.execute(f"""CREATE TABLE model.stage AS
            SELECT batch, place, marked % 2 = 1 AS is_delete, {work.kind.values()}
            FROM (SELECT batch, place, row, marked, marked / 2 AS event FROM ({folded}) AS f) AS last
            ORDER BY batch, place, id""")
        target.execute("CREATE INDEX ON model.stage (batch, place)")
        target.execute("VACUUM ANALYZE model.stage")


def drop_stage():
    with connect(TARGET) as target:
        target.execute("DROP TABLE IF EXISTS model.stage")


def statement(work):
    """The server alone: one statement of upserts and one of deletes for each batch and table."""
    model.reset(work)
    tables = [f"{NAME}.{table}" for table in work.table_names()]
    with connect(TARGET) as target:
        parts = target.execute("""SELECT batch, place, bool_or(is_delete) FROM model.stage
            GROUP BY 1, 2 ORDER BY 1, 2""").fetchall()
        begin = time.monotonic()
        for _, batch in itertools.groupby(parts, key=lambda part: part[0]):
            with target.transaction():
                for *part, has_deletes in batch:
                    table = tables[part[1]]
                    if has_deletes:
                        target.execute(_delete(table), part)
                    target.execute(_upsert(work, table), part)
        seconds = time.monotonic() - begin
    return _result("server alone, a statement a batch", work, seconds)


def _delete(table):
    return f"""DELETE FROM {table} AS t USING model.stage AS s
        WHERE s.batch = %s AND s.place = %s AND s.is_delete AND t.id = s.id"""


def _upsert(work, table):
    names = work.kind.names()
    insert = f"""INSERT INTO {table} ({names}) SELECT {names} FROM model.stage
        WHERE batch = %s AND place = %s AND NOT is_delete ORDER BY id"""
    if work.change == "creates":
        return insert
    sets = ", ".join(f"{column.name} = EXCLUDED.{column.name}" for column in work.kind.columns)
    return f"{insert} ON CONFLICT (id) DO UPDATE SET {sets}, synced_at = EXCLUDED.synced_at"


def one_statement(work):
    """The server alone, creates in one transaction."""
    model.reset(work)
    [table] = work.table_names()
    names = work.kind.names()
    with connect(TARGET) as target:
        begin = time.monotonic()
        target.execute(f"INSERT INTO {NAME}.{table} ({names}) SELECT {names} FROM model.stage")
        seconds = time.monotonic() - begin
    return _result("server alone, one statement", work, seconds)


def copy(work):
    """COPY in the binary format by psql, one transaction."""
    model.reset(work)
    [table] = work.table_names()
    names = work.kind.names()
    file = SCRATCH / "copy.bin"
    _psql(f"\\copy (SELECT {names} FROM model.stage) TO '{file}' (FORMAT binary)")
    begin = time.monotonic()
    _psql(f"\\copy {NAME}.{table} ({names}) FROM '{file}' (FORMAT binary)")
    seconds = time.monotonic() - begin
    file.unlink()
    return _result("psql, binary COPY", work, seconds)


def drain(filled):
    """The Kafka client reads the first records of the same topics and does nothing."""
    command = [DRAIN, BROKERS, str(min(READ, filled.records)), *filled.names]
    read = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # A delete has a tombstone behind it, which is no change.
    changes = round(filled.work.count * read["records"] / filled.records)
    work = filled.work.sized(changes)
    return _result("librdkafka alone", work, read["seconds"]) | {"format": filled.format}


def _psql(command):
    subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", TARGET, "-c", command], check=True)


def _result(name, work, seconds):
    return {"contender": name, "work": work.name, "format": "none", "changes": work.count,
            "seconds": round(seconds, 3), "rate": round(work.count / seconds)}
