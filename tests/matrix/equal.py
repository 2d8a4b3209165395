"""When two databases' texts of a value are the same value: one function for each type that needs one.

A function gets what the source's client printed and what psql printed at the target. Whatever it
lets pass must be the same value; matrix_test.py holds each against pairs that are not.
"""

import base64
import decimal
import json
import re
import struct


def same(source, target):
    return source == target


def money(source, target):
    """The source prints $1,234.11 and -$0.01."""
    return decimal_of(source) == decimal_of(target)


def decimal_of(text):
    return decimal.Decimal(text.replace("$", "").replace(",", ""))


def fixed(source, target):
    """A decimal whose scale is its type's: a number of any type, or its text, has the same value."""
    return free(source, target) or (
        is_finite(source) and is_finite(target) and as_number(source, target)
    )


def as_number(source, target):
    exact = decimal.Decimal(target) == decimal.Decimal(source)
    # A double of that very value, which prints the shortest digits that tell it from others.
    return exact or ("e" in target and decimal.Decimal(float(target)) == decimal.Decimal(source))


def free(source, target):
    """A decimal whose zeros count: 1.10 is not 1.1. As text it has Debezium's names."""
    names = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}
    return plain(source) == plain(names.get(target, target))


def plain(text):
    return format(decimal.Decimal(text), "f") if is_finite(text) else text


def is_finite(text):
    return re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text) is not None


def binary(source, target):
    r"""Bytes as \x and hex; in a text column they keep the encoding that the source gave them."""
    if target.startswith("\\x"):
        return source == target
    wanted = bytes.fromhex(source.removeprefix("\\x"))
    encodings = [bytes.hex, as_text(base64.b64encode), as_text(base64.urlsafe_b64encode)]
    return any(target == encode(wanted) for encode in encodings)


def octets(source, target):
    """A type that the connector does not know, as it is or as the octets of its text, spelled."""
    return target == source or binary("\\x" + source.encode().hex(), target)


def boxes(source, target):
    """An array of boxes, the one type whose elements have no comma between them; or of octets."""
    if source == target:
        return True
    ours, theirs = source[1:-1].split(";"), elements(target) or []
    return len(ours) == len(theirs) and all(map(octets, ours, theirs))


def geometries(source, target):
    """An array of geometries, which PostGIS keeps apart by colons."""
    return arrays("wkb", source.replace(":", ","), target.replace(":", ","))


def as_text(encode):
    return lambda data: encode(data).decode()


def integer(source, target):
    """The source prints the zeros that a column's width asks for."""
    return int(source) == int(target)


def real(source, target):
    """The source prints the digits of a double, for a number of single precision."""
    return single(source) == single(target)


def single(text):
    return struct.pack("<f", float(text))


def double(source, target):
    """Each prints the shortest digits, one as 1e20, one as 1e+20."""
    return struct.pack("<d", float(source)) == struct.pack("<d", float(target))


def fraction(source, target):
    """The source prints all digits of its column's fraction, the target those that are not zero."""
    return short(source) == short(target)


def short(text):
    return text.rstrip("0").rstrip(".") if "." in text else text


def utc(source, target):
    """The source prints a timestamp without its zone, which the session says."""
    return target.endswith("+00") and fraction(source, target.removesuffix("+00"))


def bit(source, target):
    """One bit arrives as a boolean."""
    return {"f": "0", "t": "1"}.get(target, target) == source


def json_or_text(source, target):
    """MariaDB's json is a text: it arrives as one, or as a document in an existing jsonb, which has
    its own blanks and order of keys; numbers keep their digits."""
    return source == target or parse_json(source) == parse_json(target)


def parse_json(text):
    # Tagged, because Python holds 1 and true for equal; of a doubled key the last one counts.
    return json.loads(text, parse_int=number, parse_float=number, parse_constant=None, object_hook=tag)


def number(text):
    value = decimal.Decimal(text)
    # jsonb writes 1e2 as 100 and knows no negative zero, and it keeps the zeros of 1.10.
    return ("number", format(abs(value) if value.is_zero() else value, "f"))


def tag(fields):
    return ("object", tuple(sorted(fields.items(), key=lambda field: field[0])))


def hstore(source, target):
    """An hstore at the target, or a JSON object of the same keys and texts."""
    if target.startswith("{"):
        return dict(parse_hstore(source)) == json.loads(target)
    return parse_hstore(source) == parse_hstore(target)


def parse_hstore(text):
    pairs = re.findall(rf"{QUOTED}=>(?:{QUOTED}|(NULL))", text)
    return sorted((bare(k), None if null else bare(v)) for k, v, null in pairs)


QUOTED = r'"((?:[^"\\]|\\.)*)"'


def bare(part):
    return re.sub(r"\\(.)", r"\1", part)


def wkb(source, target):
    """PostGIS prints well-known binary as hex; so does bytea, after its \\x."""
    return source.lower() == target.lower().removeprefix("\\x")


def shape(source, target):
    """MariaDB's SRID and well-known binary: the extended form that holds both, or a plain point."""
    srid, _, body = source.partition(" ")
    return (int(srid), body.lower()) == parse_shape(target)


def parse_shape(text):
    if text.startswith("("):
        x, y = text.strip("()").split(",")
        return 0, struct.pack("<BIdd", 1, 1, float(x), float(y)).hex()
    return without_srid(text.lower().removeprefix("\\x"))


def without_srid(text):
    data = bytes.fromhex(text)
    kind = int.from_bytes(data[1:5], "little")
    if not kind & 0x20000000:
        return 0, text
    kind = (kind & ~0x20000000).to_bytes(4, "little")
    return int.from_bytes(data[5:9], "little"), (data[:1] + kind + data[9:]).hex()


def elements(text):
    """The elements of a PostgreSQL array of one dimension, which begins at 1."""
    if not re.fullmatch(r"\{[^{].*\}|\{\}", text, re.DOTALL):
        return None
    items = re.findall(rf'{QUOTED}|([^",{{}}]+)', text[1:-1])
    return [None if plain == "NULL" else plain or bare(quoted) for quoted, plain in items]


def arrays(name, source, target):
    ours, theirs = elements(source), elements(target)
    if ours is None or theirs is None:
        return source == target
    return len(ours) == len(theirs) and all(equal(name, a, b) for a, b in zip(ours, theirs))


FUNCTIONS = {
    "same": same,
    "money": money,
    "fixed": fixed,
    "free": free,
    "binary": binary,
    "octets": octets,
    "geometries": geometries,
    "boxes": boxes,
    "integer": integer,
    "real": real,
    "double": double,
    "fraction": fraction,
    "utc": utc,
    "bit": bit,
    "json_or_text": json_or_text,
    "hstore": hstore,
    "wkb": wkb,
    "shape": shape,
}


def equal(name, source, target):
    """NULL equals only NULL, whatever the type. A name with [] is about each element of an array."""
    if source is None or target is None:
        return source is target
    if name.endswith("[]"):
        return arrays(name.removesuffix("[]"), source, target)
    return FUNCTIONS[name](source, target)
