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
    """Hours and less, which is all that one number of a record can say; or a TIME of MariaDB."""
    match = re.fullmatch(r"PT(?:(-?)(\d+)H)?(?:(-?)(\d+)M)?(?:(-?)(\d+)(\.\d*[1-9])?S)?", held)
    if match is None:
        return time(held)
    hours, minutes, seconds = (int(match[n] or 0) for n in (2, 4, 6))
    signs = {match[n] for n in (1, 3, 5) if match[n] is not None}
    if len(signs) != 1 or minutes > 59 or seconds > 59:
        return None
    return f"{signs.pop()}{hours:02}:{minutes:02}:{seconds:02}{match[7] or ''}"


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


INTEGER = Form(int, str)
# A text has no scale but its own: each zero counts.
DECIMAL = Form(str, as_it_is, "same")
TEXT = Form()

FORMS = {
    "boolean": Form(int, boolean),
    "smallint": INTEGER,
    "integer": INTEGER,
    "bigint": INTEGER,
    "oid": INTEGER,
    "real": Form(float, single, "real"),
    "double precision": Form(float, repr, "double"),
    "numeric": DECIMAL,
    # MariaDB's unsigned bigint is an integer where the record does not say that it has no sign.
    "numeric(20,0)": Form((str, int), str, "same"),
    "public.amount": DECIMAL,
    "money": Form(str, as_it_is, "money"),
    "bytea": Form(bytes, octets),
    "geometry": Form(bytes, octets),
    "geography": Form(bytes, octets),
    "bit(1)": Form(int, str),
    "varbit(1)": Form(int, str),
    "date": Form(str, date),
    "time": Form(str, time),
    "timetz": Form(str, timetz),
    "timestamp": Form(str, timestamp),
    "timestamptz": Form(str, timestamptz),
    "interval": Form(str, interval),
    "point": Form((str, bytes), point),
}


def sqlite_equal(type, name, source, held):
    """NULL equals only NULL. `name` is the function of equal.py for this type."""
    if source is None or held is None:
        return source is held
    if type.endswith("[]"):
        return arrays(type.removesuffix("[]"), name.removesuffix("[]"), source, held)
    form = form_of(type)
    if not isinstance(held, form.held):
        return False
    text = form.spell(held)
    return text is not None and equal.equal(form.equality or name, source, text)


def form_of(type):
    """By the type with its modifiers, else by the type alone; what is not named is a text."""
    whole = re.sub(r" (DEFAULT .*|NOT NULL|NULL)$", "", type)
    return FORMS.get(whole) or FORMS.get(re.sub(r"\(.*\)", "", whole), TEXT)


def arrays(type, name, source, held):
    """JSON with an element for each of the source's."""
    theirs, ours = from_json(held), equal.elements(source)
    if not isinstance(theirs, list) or ours is None or len(ours) != len(theirs):
        return False
    return all(sqlite_equal(type, name, a, alone(type, b)) for a, b in zip(ours, theirs))


def from_json(held):
    try:
        return json.loads(held) if isinstance(held, str) else None
    except ValueError:
        return None


def alone(type, element):
    """An element of JSON as a column of its type would hold it."""
    held = form_of(type).held
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
    return element
