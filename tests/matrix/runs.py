"""The runs: which connectors send the cases, and with which settings.

Not the cross product. Every type goes through each format with the default modes, with and without
the source's types; a mode is changed for the types whose wire it changes. Modes that change
different types share a connector. `time.precision.mode=structured` is not here: the connectors of
the stack refuse it.
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
            "binary.handling.mode": "base64",
            "interval.handling.mode": "string",
            "hstore.handling.mode": "map",
        },
        "b": {
            "time.precision.mode": "connect",
            "decimal.handling.mode": "double",
            "binary.handling.mode": "base64-url-safe",
        },
        "c": {"time.precision.mode": "isostring", "binary.handling.mode": "hex"},
        # Unknown types are octets, so binary.handling.mode must be bytes here.
        "d": {"time.precision.mode": "microseconds", "include.unknown.datatypes": "true"},
        "e": {"time.precision.mode": "nanoseconds"},
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
    # Whether the target's tables are made beforehand, with the source's types. Without schemas they
    # must be; with them, such a run takes the records of the one that is like it otherwise.
    existing: bool = False

    @property
    def connector(self):
        """The topic prefix, connector and slot."""
        typed = "typed" if self.propagate else ""
        parts = ["matrix", self.source, self.format, typed, self.letter]
        return "_".join(part for part in parts if part)

    @property
    def name(self):
        """The sink and the target's schema."""
        return self.connector + ("_existing" if self.existing else "")

    @property
    def prepared(self):
        return self.existing or self.format == "plain"

    @property
    def modes(self):
        types = {"column.propagate.source.type": ".*" if self.propagate else "none"}
        return DEFAULTS[self.source] | types | self.changed

    def takes(self, case):
        """Whether the connector sends the case's table."""
        return self.concerns(case) and not case.fails_under(self.modes)

    def concerns(self, case):
        return not self.changed or any(mode in self.changed for mode in case.modes)

    def changed_for(self, case):
        """What differs from the default modes for this type, as MATRIX.md names it."""
        parts = [f"{k}={v}" for k, v in self.changed.items() if k in case.modes]
        return ", ".join(parts)

    def column(self):
        words = {"json": "JSON with schemas", "plain": "JSON without", "avro": "Avro"}
        types = ", source types" if self.propagate else ""
        return words[self.format] + types + (", existing tables" if self.existing else "")

    def topic(self, case):
        """Debezium's own rule for what a topic's name cannot hold."""
        legal = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in case.table)
        return f"{self.connector}.matrix.{legal}"


# Format, whether with the source's types, whether into existing tables.
DEFAULT_RUNS = [
    ("json", False, False),
    ("json", True, False),
    ("json", False, True),
    ("plain", False, False),
    ("avro", False, False),
    ("avro", True, False),
]
CHANGED_RUNS = [run for run in DEFAULT_RUNS if run[:2] != ("avro", True)]


def waves(source, only=None):
    """Runs that share the source's rows: few enough for its replication slots."""
    groups = [[Run(source, f, typed, existing=there) for f, typed, there in DEFAULT_RUNS]]
    changed = [
        [Run(source, f, typed, modes, letter, there) for f, typed, there in CHANGED_RUNS]
        for letter, modes in MODES[source].items()
    ]
    groups += [sum(changed[i : i + 2], []) for i in range(0, len(changed), 2)]
    chosen = [[run for run in group if only is None or run.name in only] for group in groups]
    return [group for group in chosen if group]
