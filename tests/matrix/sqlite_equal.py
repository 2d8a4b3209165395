"""When a value that SQLite holds is the one that the source's client printed.

SQLite has five storage classes, and the program one canonical text for everything else. So a value
counts only in the class of its type and in that form; it is then spelled as PostgreSQL prints the
type, and equal.py decides. The types have PostgreSQL's names, MariaDB's too.
"""

import collections.abc
import dataclasses
import json
import re
import struct

import equal


def as_it_is(held):
    return held


def boolean(held):
    return {0: "f", 1: "t"}.get(held)


def single(held):
    """A number of single precision is held as the double that it is, not as one that rounds to it."""
    return repr(held) if repr(rounded(held)) == repr(held) else None


def rounded(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def octets(held):
    return "\\x" + held.hex()


def date(held):
    """The year 0 is 1 BC; a year of more than four digits has a sign."""
    if held in ("infinity", "-infinity"):
        return held
    match = re.fullmatch(r"(\d{4}|-\d{4,}|\+[1-9]\d{4,})(-\d\d-\d\d)", held)
    if match is None or held.startswith("-0000"):
        return None
    year = int(match[1])
    return f"{year:04}{match[2]}" if year > 0 else f"{1 - year:04}{match[2]} BC"


def time(held):
    """Six digits after the point, nine where a value has them."""
    if re.fullmatch(r"-?\d{2,3}:\d\d:\d\d\.\d{6}(\d{3})?", held) is None:
        return None
    return held.rstrip("0").rstrip(".")


def timetz(held):
    match = re.fullmatch(r"(.*?)(?:Z|([+-]\d\d)(?::00|(:\d\d)))", held)
    clock = match and time(match[1])
    return clock and clock + (match[2] or "+00") + (match[3] or "")


def timestamp(held):
    return held if held in ("infinity", "-infinity") else moment(held, "")


def timestamptz(held):
    if held in ("infinity", "-infinity"):
        return held
    return moment(held.removesuffix("Z"), "+00") if held.endswith("Z") else None


def moment(held, zone):
    day, _, clock = held.partition("T")
    day, clock = date(day), time(clock)
    if day is None or clock is None:
        return None
    day, _, era = day.partition(" ")
    return f"{day} {clock}{zone} {era}".rstrip()


def interval(held):
    """What one number can say has no days; a text has each unit by itself. Or a TIME of MariaDB."""
    match = re.fullmatch(
        r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?"
        r"(?:T(?:(-?)(\d+)H)?(?:(-?)(\d+)M)?(?:(-?)(\d+)(\.\d*[1-9])?S)?)?",
        held,
    )
    if match is None or held[-1] in "PT":
        return time(held)
    years, months, days = (int(match[n] or 0) for n in (1, 2, 3))
    hours, minutes, seconds = (int(match[n] or 0) for n in (5, 7, 9))
    signs = {match[n] for n in (4, 6, 8) if match[n] is not None}
    if len(signs) > 1 or minutes > 59 or seconds > 59 or abs(months) > 11:
        return None
    words, follows_negative = [], False
    for count, unit in [(years, "year"), (months, "mon"), (days, "day")]:
        if count:
            plus = "+" if follows_negative and count > 0 else ""
            words.append(f"{plus}{count} {unit}{'' if count == 1 else 's'}")
            follows_negative = count < 0
    clock = f"{hours:02}:{minutes:02}:{seconds:02}{match[10] or ''}"
    if signs and clock != "00:00:00" or not words:
        sign = "".join(signs) or ("+" if follows_negative else "")
        words.append(sign + clock)
    return " ".join(words)


def number(held):
    """A double as PostgreSQL prints it, or the text of one."""
    return held if isinstance(held, str) else coordinate(held)


def octets_or_text(held):
    """Octets that the connector spelled are a text as long as no schema says what they are."""
    return held if isinstance(held, str) else octets(held)


def point(held):
    """MariaDB's points are geometries."""
    if isinstance(held, bytes):
        return octets(held)
    x, y = held.strip("()").split(",")
    return "(" + ",".join(coordinate(float(it)) for it in (x, y)) + ")"


def coordinate(number):
    names = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
    digits = repr(number).removesuffix(".0")
    return names.get(digits, digits)


@dataclasses.dataclass
class Form:
    """In which class a type's values are held, and which text of PostgreSQL's each of them is.

    None is a value in another form than the canonical one.
    """

    held: type | tuple[type, ...] = str
    spell: collections.abc.Callable = as_it_is
    # Where another function of equal.py must judge than for a target that knows the type.
    equality: str | None = None
    # The type that a user declares who makes the table.
    declared: str = "TEXT"


INTEGER = Form(int, str, declared="INTEGER")
# A text has no scale but its own: each zero counts.
DECIMAL = Form(str, as_it_is, "same", "DECIMAL_TEXT")
TEXT = Form()

FORMS = {
    "boolean": Form(int, boolean, declared="BOOLEAN"),
    "smallint": INTEGER,
    "integer": INTEGER,
    "bigint": INTEGER,
    "oid": INTEGER,
    "real": Form(float, single, "real", "REAL"),
    "double precision": Form(float, repr, "double", "REAL"),
    "numeric": DECIMAL,
    # MariaDB's unsigned bigint is an integer where the record does not say that it has no sign.
    "numeric(20,0)": Form((str, int), str, "same", "DECIMAL_TEXT"),
    "public.amount": dataclasses.replace(DECIMAL, declared="DECIMAL_TEXT(8,3)"),
    "money": Form(str, as_it_is, "money", "DECIMAL_TEXT(19,2)"),
    "bytea": Form(bytes, octets, declared="BLOB"),
    "geometry": Form(bytes, octets, declared="BLOB"),
    "geography": Form(bytes, octets, declared="BLOB"),
    "bit(1)": Form(int, str, declared="BOOLEAN"),
    "bit": Form(declared="BITS_TEXT"),
    "varbit(1)": Form(int, str, declared="BOOLEAN"),
    "varbit": Form(declared="BITS_TEXT"),
    "date": Form(str, date, declared="DATE_TEXT"),
    "time": Form(str, time, declared="TIME_TEXT"),
    "timetz": Form(str, timetz, declared="TIMETZ_TEXT"),
    "timestamp": Form(str, timestamp, declared="TIMESTAMP_TEXT"),
    "timestamptz": Form(str, timestamptz, declared="TIMESTAMPTZ_TEXT"),
    "interval": Form(str, interval, declared="DURATION_TEXT"),
    "point": Form((str, bytes), point, declared="PLACE_TEXT"),
    "uuid": Form(declared="UUID_TEXT"),
    "json": Form(declared="JSON_TEXT"),
    "jsonb": Form(declared="JSON_TEXT"),
    "hstore": Form(declared="JSON_TEXT"),
}


# What else a type is under other modes than the default ones.
OCTETS = Form((str, bytes), octets_or_text)
MODES = {
    "decimal.handling.mode=string": {"numeric": TEXT, "public.amount": TEXT, "money": TEXT},
    "decimal.handling.mode=double": dict.fromkeys(
        ["numeric", "public.amount", "money"], Form((str, float), number)
    ),
    "binary.handling.mode=base64": {"bytea": OCTETS},
    "binary.handling.mode=base64-url-safe": {"bytea": OCTETS},
    "binary.handling.mode=hex": {"bytea": OCTETS},
}


@dataclasses.dataclass
class Judge:
    """Judges what records hold that were sent under these modes."""

    modes: dict[str, str] = dataclasses.field(default_factory=dict)

    def equal(self, type, name, source, held):
        """NULL equals only NULL. `name` is the function of equal.py for this type."""
        if source is None or held is None:
            return source is held
        if name == "boxes":
            # The one type whose elements have no comma between them.
            name, boxes = "octets[]", source[1:-1].split(";") if source != "{}" else []
            source = "{" + ",".join(it if it == "NULL" else f'"{it}"' for it in boxes) + "}"
        if name == "geometries":
            name, source = "wkb[]", source.replace(":", ",")
        if type.endswith("[]"):
            return self.arrays(type.removesuffix("[]"), name.removesuffix("[]"), source, held)
        form = self.form(type, name)
        if not isinstance(held, form.held):
            return False
        text = form.spell(held)
        return text is not None and equal.equal(form.equality or name, source, text)

    def form(self, type, name):
        if name == "octets":
            return OCTETS
        for setting, mode in self.modes.items():
            own = MODES.get(f"{setting}={mode}", {})
            if base_of(type) in own and type not in FORMS.keys() - own.keys():
                return own[base_of(type)]
        return form_of(type)

    def arrays(self, type, name, source, held):
        """JSON with an element for each of the source's."""
        theirs, ours = from_json(held), equal.elements(source)
        if not isinstance(theirs, list) or ours is None or len(ours) != len(theirs):
            return False
        held = self.form(type, name).held
        return all(self.equal(type, name, a, alone(type, held, b)) for a, b in zip(ours, theirs))


def form_of(type):
    """By the type with its modifiers, else by the type alone; what is not named is a text."""
    whole = re.sub(r" (DEFAULT .*|NOT NULL|NULL)$", "", type)
    return FORMS.get(whole) or FORMS.get(base_of(whole), TEXT)


def base_of(type):
    return re.sub(r"\(.*\)", "", type)


def declared(type, name, modes):
    """What a user declares for a type of PostgreSQL's: digits and lengths count where no schema is."""
    if type.endswith("[]"):
        return "ARRAY_TEXT"
    if name == "octets":
        return "BLOB"
    if type == "hstore" and modes["hstore.handling.mode"] == "map":
        return "MAP_TEXT"
    own = form_of(type).declared
    modifiers = re.search(r"\(.*\)", type) if own.endswith("_TEXT") else None
    # PostgreSQL's times have six digits where they do not say so.
    standard = "(6)" if own in ("TIME_TEXT", "TIMESTAMP_TEXT") else ""
    return own + (modifiers[0] if modifiers else standard)


def from_json(held):
    try:
        return json.loads(held) if isinstance(held, str) else None
    except ValueError:
        return None


def alone(type, held, element):
    """An element of JSON as a column that holds its type in these classes would have it."""
    if type == "boolean" and element is not None:
        # JSON's own true and false, and no numbers.
        return int(element) if isinstance(element, bool) else str(element)
    if held is float and element in ("NaN", "Infinity", "-Infinity"):
        return float(element)
    if type == "real" and isinstance(element, float):
        # JSON has the digits that tell the number from others of single precision.
        return rounded(element)
    if held is bytes and isinstance(element, str) and re.fullmatch("(?:[0-9a-f]{2})*", element):
        return bytes.fromhex(element)
    if isinstance(element, dict):
        return json.dumps(element)
    return element
