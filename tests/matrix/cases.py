"""The cases: the types and values that go through the matrix, from postgres.toml and mariadb.toml."""

import dataclasses
import pathlib
import re
import tomllib

import runs

# What {long} in a value stands for: 6400 digits that do not compress into a row of PostgreSQL.
LONG = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) AS i)"

HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass
class Lost:
    """Values that a record no longer holds: each has the bytes of its twin, or is sent as another."""

    keep: str
    twins: dict[str, str] = dataclasses.field(default_factory=dict)
    # What the record's field holds, and how the source would print that.
    sent: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    when: str | None = None
    # The table of the twins, where that is another one.
    table: str | None = None
    # The one format and target that it is about, as `plain sqlite`.
    through: str | None = None

    def is_null_for(self, values):
        """Whether NULL is sent for one of these values."""
        return any(self.twins.get(value) == "NULL" for value in values)

    def of_key(self, values):
        """The same of these values in a key, in which no twin is NULL; as the file has it."""
        twins = {value: twin for value, twin in self.twins.items() if value in values}
        own = {value: twin for value, twin in twins.items() if self.table or twin in values}
        sent = {value: held for value, held in self.sent.items() if value in values}
        entry = dataclasses.asdict(self) | {"twins": own, "sent": sent}
        return [entry] if own or sent else []


@dataclasses.dataclass(eq=False)
class Case:
    """One type, its table, and its values as SQL expressions, NULL first."""

    name: str
    values: list[str]
    sql: str = ""
    table: str = ""
    column: str = "v"
    target: str = ""
    read: str = ""
    equal: str = "same"
    modes: list[str] = dataclasses.field(default_factory=list)
    lost: list[Lost] = dataclasses.field(default_factory=list)
    fails: list[str] = dataclasses.field(default_factory=list)
    omitted: str | None = None
    identity: str | None = None
    further_columns: int = 0
    # Whether NULL is among the values, and whether the value is part of the table's key.
    null: bool = True
    is_key: bool = False

    def __post_init__(self):
        self.sql = self.sql or self.name
        self.target = self.target or self.sql
        # A table is a type as well, and must not hide the one that it is about.
        plain = re.sub(r"\W+", "_", self.name.replace("[]", "_array")).strip("_")
        self.table = self.table or f"t_{plain}"
        self.lost = [Lost(**entry) for entry in self.lost]
        own = [entry for entry in self.lost if entry.table is None]
        twins = [twin for entry in own for twin in entry.twins.values()]
        self.values = list(dict.fromkeys([*["NULL"] * self.null, *self.values, *twins]))

    def losses(self, value, modes):
        """How a record may have lost this value under these modes."""
        return [it for it in self.lost if value in it.twins | it.sent and holds(it.when, modes)]

    def as_key(self, modes):
        """The same type as the first column of a key, with the values that can stand there."""
        fit = [value for value in self.values if value != "NULL" and "repeat(" not in value]
        lost = lambda value: [loss for loss in self.losses(value, modes) if loss.through is None]
        values = [value for value in fit if not lost(value)]
        # A column of a key cannot be sent as NULL instead.
        ends = [loss.when for loss in self.lost if loss.when and loss.is_null_for(values)]
        return Case(
            name=f"{self.name} as a key",
            values=values,
            sql=self.sql.removesuffix(" NULL"),
            table=f"key_{self.table}",
            column=self.column,
            target=self.target,
            read=self.read,
            equal=self.equal,
            modes=self.modes,
            lost=[entry for loss in self.lost for entry in loss.of_key(values)],
            fails=[*self.fails, *ends],
            null=False,
            is_key=True,
        )

    def is_left_out(self, modes):
        """Whether the connector leaves the column out, and would send it in another mode."""
        return self.omitted not in (None, "nothing") and not holds(self.omitted, modes)

    def fails_under(self, modes):
        return any(holds(when, modes) for when in self.fails)

    @property
    def further(self):
        return [f"c{n}" for n in range(1, self.further_columns + 1)]


def holds(when, modes):
    if when in (None, "any"):
        return True
    setting, _, mode = when.partition("=")
    return modes.get(setting) == mode


def load(source):
    """The cases of a source, and the file's other keys."""
    with open(HERE / f"{source}.toml", "rb") as file:
        content = tomllib.load(file)
    cases = [Case(**entry) for entry in content.pop("type")]
    tables = [case.table for case in cases]
    keys = content["keys"]
    if unknown := set(keys) - set(tables):
        raise SystemExit(f"{source}.toml: keys of unknown tables: {', '.join(sorted(unknown))}")
    modes = runs.Run(source, "json").modes
    cases += [case.as_key(modes) for case in cases if case.table in keys]
    twice = {table for table in tables if tables.count(table) > 1}
    if twice:
        raise SystemExit(f"{source}.toml: tables named twice: {', '.join(sorted(twice))}")
    return cases, content


# The ways in which a value reaches the target. Each is a row of its own; its key is ten times the
# value's number plus this.
CREATED, READ, UPDATED, MOVED, DELETED, MOVED_TO, UNTOUCHED = range(7)
WAYS = {
    CREATED: "created",
    READ: "read by the snapshot",
    UPDATED: "updated",
    MOVED: "moved to another key",
    DELETED: "deleted",
    UNTOUCHED: "another column updated",
}


def ways(case):
    """The ways of a case's values: only where there is another column can that one be updated."""
    return [way for way in WAYS if way != UNTOUCHED or case.further_columns]


def reads(case):
    """How many rows the snapshot reads."""
    return len(case.values) * (len(ways(case)) - 1)


def records(case, modes):
    """And how many records there are at the end.

    A create, an update, a move (delete, tombstone, create), a delete with its tombstone, and perhaps
    the update of another column. The update of a key is a move as well.
    """
    updates = sum(3 if is_moved(case, value, modes) else 1 for value in case.values)
    others = len(case.values) * (1 + 3 + 2 + (UNTOUCHED in ways(case)))
    return reads(case) + updates + others


def is_moved(case, value, modes):
    """Whether the update to a value changes the key as the record has it."""
    pair = {value, before_update(case, value)}
    twins = [{it, loss.twins.get(it)} for it in pair for loss in case.losses(it, modes)]
    return case.is_key and pair not in twins


def key(case, value, way):
    return 10 * (case.values.index(value) + 1) + way


def rows_before(case):
    """Rows that are there when the connector begins: (key, value)."""
    for value in case.values:
        yield key(case, value, READ), value
        yield key(case, value, UPDATED), before_update(case, value)
        yield key(case, value, MOVED), value
        yield key(case, value, DELETED), value
        if UNTOUCHED in ways(case):
            yield key(case, value, UNTOUCHED), value


def before_update(case, value):
    """The row that is updated to a value begins with another one."""
    return case.values[0] if value != case.values[0] else case.values[1]


def changes(case, quote):
    """The statements that run while the connector streams."""
    table, column = quote(case.table), quote(case.column)
    for value in case.values:
        created = insert(case, quote, [(key(case, value, CREATED), value)])
        yield created
        yield f"UPDATE {table} SET {column} = {expanded(value)} WHERE id = {key(case, value, UPDATED)}"
        old, new = key(case, value, MOVED), key(case, value, MOVED_TO)
        yield f"UPDATE {table} SET id = {new} WHERE id = {old}"
        yield f"DELETE FROM {table} WHERE id = {key(case, value, DELETED)}"
        if UNTOUCHED in ways(case):
            yield f"UPDATE {table} SET c1 = -1 WHERE id = {key(case, value, UNTOUCHED)}"


def expanded(value):
    return value.replace("{long}", LONG)


def insert(case, quote, rows):
    columns = ", ".join(quote(name) for name in ["id", case.column, *case.further])
    tuples = []
    for id, value in rows:
        further = "".join(f", {id * 1000 + n}" for n in range(case.further_columns))
        tuples.append(f"({id}, {expanded(value)}{further})")
    return f"INSERT INTO {quote(case.table)} ({columns}) VALUES {', '.join(tuples)}"


def create(case, quote, type, relation):
    id, column = quote("id"), quote(case.column)
    columns = [f"{id} integer", f"{column} {type}"]
    columns += [f"{quote(name)} integer" for name in case.further]
    columns.append(f"PRIMARY KEY ({column}, {id})" if case.is_key else f"PRIMARY KEY ({id})")
    return f"CREATE TABLE {relation} ({', '.join(columns)})"
