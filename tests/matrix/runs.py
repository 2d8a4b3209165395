"""The runs: which connectors send the cases, and with which settings.

Not the cross product. Every type goes through each format with the default modes, with and without
the source's types; a mode is changed for the types whose wire it changes. Modes that change
different types share a connector. SQLite takes the same records as PostgreSQL.
`time.precision.mode=structured` is not here: the connectors of the stack refuse it.
"""

import dataclasses

DEFAULTS = {
    "postgres": {
        "time.precision.mode": "adaptive",
        "decimal.handling.mode": "precise",
        "money.fraction.digits": 2,
        "binary.handling.mode": "bytes",
        "interval.handling.mode": "numeric",
        "hstore.handling.mode": "json",
        "include.unknown.datatypes": "false",
    },
    "mariadb": {
        "time.precision.mode": "adaptive_time_microseconds",
        "decimal.handling.mode": "precise",
        "binary.handling.mode": "bytes",
        "bigint.unsigned.handling.mode": "long",
    },
}

MODES = {
    "postgres": {
        "a": {
            "time.precision.mode": "adaptive_time_microseconds",
            "decimal.handling.mode": "string",
            # Unknown types are octets, which this spells as it spells bytea.
            "binary.handling.mode": "base64",
            "include.unknown.datatypes": "true",
            "interval.handling.mode": "string",
            "hstore.handling.mode": "map",
        },
        "b": {
            "time.precision.mode": "connect",
            "decimal.handling.mode": "double",
            "binary.handling.mode": "base64-url-safe",
            "include.unknown.datatypes": "true",
        },
        "c": {"time.precision.mode": "isostring"},
        "d": {"time.precision.mode": "microseconds", "include.unknown.datatypes": "true"},
        "e": {
            "time.precision.mode": "nanoseconds",
            "binary.handling.mode": "hex",
            "include.unknown.datatypes": "true",
        },
    },
    "mariadb": {
        "a": {
            "time.precision.mode": "connect",
            "decimal.handling.mode": "string",
            "binary.handling.mode": "base64",
        },
        "b": {
            "time.precision.mode": "isostring",
            "decimal.handling.mode": "double",
            "binary.handling.mode": "base64-url-safe",
        },
        "c": {
            "time.precision.mode": "microseconds",
            "binary.handling.mode": "hex",
            "bigint.unsigned.handling.mode": "precise",
        },
        "d": {"time.precision.mode": "nanoseconds"},
    },
}

@dataclasses.dataclass
class Run:
    """One connector, and the consumer that applies what it sends."""

    source: str
    format: str
    propagate: bool = False
    changed: dict[str, str] = dataclasses.field(default_factory=dict)
    letter: str = ""
    # Where the records go: into tables that the consumer creates in PostgreSQL, into such that are
    # made beforehand with the source's types (without schemas they must be), or into SQLite. Runs
    # that differ in nothing else take the same records.
    target: str = "created"

    @property
    def connector(self):
        """The topic prefix, connector and slot."""
        typed = "typed" if self.propagate else ""
        parts = ["matrix", self.source, self.format, typed, self.letter]
        return "_".join(part for part in parts if part)

    @property
    def name(self):
        """The sink and the target's schema, or its file."""
        return self.connector + ("" if self.target == "created" else f"_{self.target}")

    @property
    def engine(self):
        return "sqlite" if self.target == "sqlite" else "postgres"

    @property
    def prepared(self):
        return self.target == "existing" or self.format == "plain"

    @property
    def modes(self):
        types = {"column.propagate.source.type": ".*" if self.propagate else "none"}
        return DEFAULTS[self.source] | types | self.changed

    def takes(self, case):
        """Whether the connector sends the case's table."""
        return self.concerns(case) and not case.fails_under(self.modes)

    def concerns(self, case):
        is_changed = any(mode in self.changed for mode in case.modes)
        # What is left out in other modes as well shows nothing new.
        return not self.changed or (is_changed and not case.is_left_out(self.modes))

    def changed_for(self, case):
        """What differs from the default modes for this type, as MATRIX.md names it."""
        parts = [f"{k}={v}" for k, v in self.changed.items() if k in case.modes]
        return ", ".join(parts)

    def column(self):
        words = {"json": "JSON with schemas", "plain": "JSON without", "avro": "Avro"}
        types = ", source types" if self.propagate else ""
        engine = "SQLite, " if self.engine == "sqlite" else ""
        tables = ", existing tables" if self.target == "existing" else ""
        return engine + words[self.format] + types + tables

    def topic(self, case):
        """Debezium's own rule for what a topic's name cannot hold."""
        legal = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in case.table)
        return f"{self.connector}.matrix.{legal}"


# Format, whether with the source's types, target.
DEFAULT_RUNS = [
    ("json", False, "created"),
    ("json", True, "created"),
    ("json", False, "existing"),
    ("plain", False, "created"),
    ("avro", False, "created"),
    ("avro", True, "created"),
    ("json", False, "sqlite"),
    ("json", True, "sqlite"),
    ("avro", False, "sqlite"),
    ("plain", False, "sqlite"),
]


def waves(source, only=None):
    """Runs that share the source's rows: few enough for its replication slots."""
    groups = [[Run(source, f, typed, target=target) for f, typed, target in DEFAULT_RUNS]]
    changed = [
        [Run(source, f, typed, modes, letter, target) for f, typed, target in DEFAULT_RUNS]
        for letter, modes in MODES[source].items()
    ]
    groups += [sum(changed[i : i + 2], []) for i in range(0, len(changed), 2)]
    chosen = [[run for run in group if only is None or run.name in only] for group in groups]
    return [group for group in chosen if group]
