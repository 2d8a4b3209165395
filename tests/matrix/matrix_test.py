#!/usr/bin/env python3
"""Tests of the matrix's own judgement: what it must not take for equal, lost, or no worse."""

import base64
import json
import math
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import cases
import equal
import judge
import report
import runs
import sqlite_equal
import wire

# Function, and pairs of source and target.
EQUAL = {
    "same": [("", ""), ("a ", "a ")],
    "money": [("$1,234.11", "1234.11"), ("-$0.01", "-0.01"), ("$0.00", "0"), ("-$1,234.11", "-$1,234.11")],
    "fixed": [("1.10", "1.1"), ("1.10", "1.10"), ("100.00", "100"), ("NaN", "NAN"),
              ("9999999999999999583119736832.0", "1e+28")],
    "free": [("1.10", "1.10"), ("NaN", "NaN"), ("NaN", "NAN"), ("Infinity", "POSITIVE_INFINITY"),
             ("10000000000000000000000", "1e+22"), ("0.00001", "1e-05")],
    "binary": [("\\x", ""), ("\\x", "\\x"), ("\\x00ff", "\\x00ff"), ("\\x00ff", "00ff"),
               ("\\xfbff", "+/8="), ("\\xfbff", "-_8=")],
    "octets": [("(1,2)", "(1,2)"), ("ü", "\\xc3bc"), ("ü", "c3bc"), ("ü", "w7w="), ("~~?", "fn4_")],
    "geometries": [("{0101AB:NULL}", '{"\\\\x0101ab",NULL}'), ("{0101AB}", "{0101AB}"), ("{}", "{}")],
    "boxes": [("{(1,2),(0,0);NULL}", "{(1,2),(0,0);NULL}"), ("{(1,2),(0,0);(3,3),(2,2)}", '{"\\\\x28312c32292c28302c3029","\\\\x28332c33292c28322c3229"}')],
    "integer": [("00042", "42"), ("-1", "-1")],
    "real": [("1.100000023841858", "1.1"), ("16777216", "1.6777216e+07"), ("-0", "-0")],
    "double": [("1e20", "1e+20"), ("0.1", "0.1")],
    "fraction": [("12:00:00.000000", "12:00:00"), ("12:00:00.120", "12:00:00.12"), ("2016-11-04", "2016-11-04")],
    "utc": [("2016-11-04 13:51:30.100", "2016-11-04 13:51:30.1+00")],
    "bit": [("0", "f"), ("1", "t"), ("1", "1")],
    "json_or_text": [('{"a":1}', '{"a":1}'), ('{"b": 1, "a": 2}', '{"a":2,"b":1}'), ("1e2", "100"), ("[ ]", "[]")],
    "wkb": [("0101AB", "\\x0101ab"), ("0101AB", "0101AB")],
    "shape": [("0 010100000000", "\\x010100000000"), ("4326 0101000000aa", "0101000020E6100000AA"),
              ("0 0101000000000000000000f83f00000000000000c0", "(1.5,-2)")],
    "binary[]": [('{"\\\\x00ff","\\\\x",NULL}', '{AP8=,"",NULL}')],
    "fixed[]": [("{1.20,NULL}", "{1.2,NULL}")],
    "hstore": [('"a"=>"1", "b"=>NULL', '{"b": null, "a": "1"}'), ('"a"=>"1"', '"a"=>"1"')],
}

UNLIKE = {
    "same": [("", " "), ("a ", "a"), ("1.10", "1.1"), ("A", "a"), ("00:00:00.1", "00:00:00.10"), ("", "NULL")],
    "money": [("$1,234.11", "1234.1"), ("-$0.01", "0.01"), ("$1.00", "100"), ("$1,234.11", "$123,411.00"),
              ("$0.01", "-$0.01"), ("$1.00", "$1.01")],
    "fixed": [("1.10", "1.11"), ("NaN", "0"), ("100.00", "1000"), ("Infinity", "NEGATIVE_INFINITY"),
              ("1234567890123456789.5", "1.2345678901234568e+18")],
    "free": [("1.10", "1.1"), ("100", "1e3"), ("100", "100.0"), ("NaN", "Infinity"), ("0", "-1e-400")],
    "binary": [("\\x", "\\x00"), ("\\x00ff", "00fF"), ("\\x00ff", "00f"), ("\\x00", "AA"), ("\\x00", "")],
    "octets": [("(1,2)", "(1,3)"), ("ü", "\\xfc"), ("ü", "fc"), ("", "a"), ("ü", "w7w"), ("~~?", "fn4=")],
    "geometries": [("{0101AB:NULL}", '{"\\\\x0101ab"}'), ("{0101AB}", "{NULL}"), ("{NULL}", '{"\\\\x0101ab"}'),
                   ("{0101AB}", '{"\\\\x0101ac"}'), ("{}", "{NULL}")],
    "boxes": [("{(1,2),(0,0);NULL}", "{(1,2),(0,0)}"), ("{(1,2),(0,0)}", '{"\\\\x28312c33292c28302c3029"}'), ("{(1,2),(0,0)}", "{}")],
    "integer": [("42", "420"), ("1", "-1")],
    "real": [("1.1", "1.2"), ("16777216", "1.67772e+07"), ("0", "-0")],
    "double": [("0.1", "0.10000000000000002"), ("1e20", "1e+21"), ("0", "-0")],
    "fraction": [("12:00:00.100", "12:00:00"), ("12:00:00.01", "12:00:00.1"), ("12:00:00", "12:00:10"),
                 ("12:00:10", "12:00:1"), ("-12:00:00", "12:00:00")],
    "utc": [("2016-11-04 13:51:30", "2016-11-04 13:51:30"), ("2016-11-04 13:51:30", "2016-11-04 13:51:30+02"),
            ("2016-11-04 13:51:30", "2016-11-04 12:51:30+00")],
    "bit": [("0", "t"), ("1", "f"), ("", "f"), ("01", "t")],
    "json_or_text": [("1", "true"), ("1", '"1"'), ("1.10", "1.1"), ('{"a": 1}', '{"a": 2}'), ("[1, 2]", "[2, 1]"),
             ('""', "null"), ("12345678901234567890.1", "12345678901234567890.2"), ('{"a": {}}', '{"a": []}')],
    "wkb": [("0101AB", "\\x0101ac"), ("0101AB", "\\x0101"), ("", "\\x00")],
    "shape": [("0 0101000000aa", "\\x0101000020E6100000AA"), ("4326 0101000000aa", "\\x0101000000aa"),
              ("4326 0101000000000000000000f83f00000000000000c0", "(1.5,-2)"), ("0 0101000000000000000000f83f00000000000000c0", "(-2,1.5)")],
    "binary[]": [('{"\\\\x00ff"}', '{AP8=,""}'), ('{"\\\\x"}', "{NULL}")],
    "fixed[]": [("{1.20}", "{1.21}"), ("{}", "{1}"), ("{1}", "{}")],
    "hstore": [('"a"=>NULL', '{"a": "NULL"}'), ('"a"=>""', '{"a": null}'), ('"a"=>"1"', '{"a": "1", "b": "2"}')],
}


# Type, function, and pairs of what the source prints and what SQLite holds.
HELD = [
    ("text", "same", [("", ""), ("a ", "a "), ("1", "1"), ("NULL", "NULL")]),
    ("boolean", "same", [("t", 1), ("f", 0)]),
    ("smallint", "integer", [("00042", 42)]),
    ("bigint", "same", [("-9223372036854775808", -9223372036854775808)]),
    ("integer DEFAULT 5", "same", [("5", 5)]),
    ("real", "same", [("1.1", 1.100000023841858), ("3.4028235e+38", 3.4028234663852886e38), ("Infinity", math.inf)]),
    ("double precision", "same", [("1", 1.0), ("1e+20", 1e20), ("5e-324", 5e-324)]),
    ("numeric", "free", [("1.10", "1.10"), ("12345678901234567890123456789.1", "12345678901234567890123456789.1")]),
    ("numeric(12,2)", "fixed", [("1.10", "1.10"), ("-0.01", "-0.01")]),
    ("numeric(20,0)", "same", [("42", 42), ("18446744073709551615", "18446744073709551615")]),
    ("public.amount", "fixed", [("1.100", "1.100")]),
    ("money", "money", [("-$1,234.10", "-1234.10")]),
    ("bytea", "binary", [("\\x", b""), ("\\x00ff", b"\0\xff")]),
    ("geometry", "wkb", [("0101AB", b"\x01\x01\xab")]),
    ("bit(1)", "bit", [("0", 0), ("1", 1)]),
    ("bit(7)", "same", [("0000001", "0000001")]),
    ("uuid", "same", [("6f1d2c3b-4a59-4687-9788-99aabbccddee", "6f1d2c3b-4a59-4687-9788-99aabbccddee")]),
    ("date", "same", [("2016-11-04", "2016-11-04"), ("0001-12-31 BC", "0000-12-31"), ("4714-11-24 BC", "-4713-11-24"),
                      ("10000-01-01", "+10000-01-01"), ("-infinity", "-infinity")]),
    ("time", "same", [("13:51:30.12", "13:51:30.120000"), ("24:00:00", "24:00:00.000000")]),
    ("time(6)", "fraction", [("13:51:30.120000", "13:51:30.120000")]),
    ("timetz", "same", [("13:51:30.12+00", "13:51:30.120000Z"), ("13:51:30-05:30", "13:51:30.000000-05:30"),
                        ("01:00:00+02", "01:00:00.000000+02:00")]),
    ("timestamp", "same", [("2016-11-04 13:51:30.1", "2016-11-04T13:51:30.100000"), ("infinity", "infinity"),
                           ("0001-12-31 23:59:59.999999 BC", "0000-12-31T23:59:59.999999")]),
    ("timestamptz", "same", [("2016-11-04 13:51:30+00", "2016-11-04T13:51:30.000000Z"), ("-infinity", "-infinity"),
                             ("0001-12-31 23:59:59+00 BC", "0000-12-31T23:59:59.000000Z")]),
    ("timestamptz(6)", "utc", [("2016-11-04 13:51:30.100000", "2016-11-04T13:51:30.100000Z")]),
    ("interval", "same", [("00:00:00", "PT0S"), ("04:05:06.78", "PT4H5M6.78S"), ("-00:00:00.000001", "PT-0.000001S"),
                          ("-23:00:00", "PT-23H"), ("10303:05:06", "PT10303H5M6S"), ("1 day", "P1D"),
                          ("-1 days +01:00:00", "P-1DT1H"), ("1 year 2 mons 3 days 04:05:06.78", "P1Y2M3DT4H5M6.78S"),
                          ("-1 years -2 mons +3 days -04:05:06.78", "P-1Y-2M3DT-4H-5M-6.78S")]),
    ("interval", "fraction", [("-838:59:59.999999", "-838:59:59.999999"), ("24:00:00.000000", "24:00:00.000000")]),
    ("json", "same", [('{"a": 1.10}', '{"a": 1.10}'), ("null", "null")]),
    ("hstore", "hstore", [('"a"=>NULL', '{"a":null}')]),
    ("point", "same", [("(0.1,-2)", "(0.1,-2)"), ("(1e+300,0)", "(1" + "0" * 300 + ",0)")]),
    ("point", "shape", [("0 0101000000000000000000f83f00000000000000c0",
                         bytes.fromhex("0101000000000000000000f83f00000000000000c0"))]),
    ("text[]", "same", [("{}", "[]"), ('{"",NULL,"NULL","q\\"","null"}', '["",null,"NULL","q\\"","null"]')]),
    ("boolean[]", "same", [("{t,f,NULL}", "[true,false,null]")]),
    ("integer[]", "same", [("{1,-2,NULL}", "[1,-2,null]")]),
    ("real[]", "same", [("{1.1,NaN,NULL}", '[1.1,"NaN",null]')]),
    ("double precision[]", "same", [("{0.1,-Infinity}", '[0.1,"-Infinity"]'), ("{1}", "[1.0]")]),
    ("numeric(10,2)[]", "fixed[]", [("{1.20,NULL}", '["1.20",null]')]),
    ("bytea[]", "binary[]", [('{"\\\\x00ff","\\\\x"}', '["00ff",""]')]),
    ("timestamp[]", "same", [('{"2020-04-01 00:01:02"}', '["2020-04-01T00:01:02.000000"]')]),
]

MISHELD = [
    ("text", "same", [("", None), ("", " "), ("a ", "a"), ("1", 1), ("1.0", 1.0), ("a", b"a"), ("A", "a")]),
    ("boolean", "same", [("t", 0), ("f", None), ("f", "f"), ("f", "0"), ("t", 1.0), ("t", 2)]),
    ("smallint", "integer", [("42", "42"), ("42", 42.0), ("42", 420)]),
    ("bigint", "same", [("1", "1"), ("1", 1.0), ("9007199254740993", 9007199254740992), ("0", None)]),
    ("integer DEFAULT 5", "same", [("5", "5"), ("5", 0)]),
    ("real", "same", [("1.1", 1.1), ("1.1", "1.1"), ("1", 1), ("0", None), ("-0", 0.0)]),
    ("double precision", "same", [("1", 1), ("0.1", "0.1"), ("0.1", 0.10000000000000002), ("-0", 0.0), ("NaN", None)]),
    ("numeric", "free", [("1.10", "1.1"), ("1.10", 1.1), ("100", "1e2"), ("1", 1)]),
    ("numeric(12,2)", "fixed", [("1.10", "1.1"), ("1.00", "1"), ("1.10", 1.1), ("0.00", 0)]),
    ("numeric(20,0)", "same", [("42", 42.0), ("42", "42.0"), ("42", 43)]),
    ("public.amount", "fixed", [("1.100", "1.1")]),
    ("money", "money", [("$1,234.10", "1234.11"), ("-$0.01", "0.01"), ("$1.00", 1)]),
    ("bytea", "binary", [("\\x", ""), ("\\x", None), ("\\x00ff", "\\x00ff"), ("\\x00ff", "AP8="), ("\\x00", b"")]),
    ("geometry", "wkb", [("0101AB", "0101AB"), ("0101AB", b"\x01\x01")]),
    ("bit(1)", "bit", [("0", "0"), ("0", 1), ("0", None)]),
    ("bit(7)", "same", [("0000001", 1), ("0000001", "1")]),
    ("uuid", "same", [("6f1d2c3b-4a59-4687-9788-99aabbccddee", b"\x6f\x1d\x2c\x3b\x4a\x59\x46\x87\x97\x88\x99\xaa\xbb\xcc\xdd\xee")]),
    ("date", "same", [("2016-11-04", "2016-11-05"), ("2016-11-04", "20161104"), ("0001-12-31 BC", "-0001-12-31"),
                      ("0001-12-31 BC", "0001-12-31"), ("2016-11-04", "2016-11-04T00:00:00.000000"), ("2016-11-04", 17109)]),
    ("time", "same", [("13:51:30.12", "13:51:30.012000"), ("13:51:30", "13:51:30"), ("13:51:30.12", "13:51:30.12"),
                      ("24:00:00", "00:00:00.000000"), ("13:51:30", "-13:51:30.000000")]),
    ("time(6)", "fraction", [("13:51:30.120000", "13:51:30.12"), ("13:51:30.120000", "13:51:30.000000")]),
    ("timetz", "same", [("13:51:30+00", "13:51:30.000000"), ("13:51:30+02", "13:51:30.000000Z"),
                        ("13:51:30-05:30", "13:51:30.000000-05:00")]),
    ("timestamp", "same", [("2016-11-04 13:51:30.1", "2016-11-04T13:51:30.010000"), ("2016-11-04 13:51:30", "2016-11-04 13:51:30"),
                           ("2016-11-04 13:51:30", "2016-11-04T13:51:30.000000Z"), ("infinity", "-infinity"),
                           ("0001-12-31 23:59:59 BC", "0001-12-31T23:59:59.000000")]),
    ("timestamptz", "same", [("2016-11-04 13:51:30+00", "2016-11-04T13:51:30.000000"), ("infinity", "infinityZ"),
                             ("2016-11-04 13:51:30+00", "2016-11-04T15:51:30.000000+02:00")]),
    ("timestamptz(6)", "utc", [("2016-11-04 13:51:30.100000", "2016-11-04T13:51:30.010000Z")]),
    ("interval", "same", [("24:00:00", "P1D"), ("04:05:06.78", "PT4H5M6.7S"), ("-23:00:00", "PT23H"), ("00:01:00", "PT60S"),
                          ("00:05:00", "PT5H"), ("-01:00:01", "PT-1H1S"), ("00:00:00", "PT"), ("00:00:00", 0), ("00:00:00", "P"),
                          ("1 day", "PT24H"), ("1 mon", "P30D"), ("1 year", "P12M"), ("-1 days +01:00:00", "P-1DT-1H"), ("1 day", "P1DT")]),
    ("interval", "fraction", [("-838:59:59.999999", "838:59:59.999999"), ("24:00:00", "24:00:00")]),
    ("json", "same", [("1", '"1"'), ("1", 1), ("1.10", "1.1"), ("null", None)]),
    ("hstore", "hstore", [('"a"=>NULL', '{"a":"NULL"}'), ('"a"=>"1"', '{"a":1}')]),
    ("point", "same", [("(0.1,-2)", "(-2,0.1)"), ("(0.1,-2)", "(0.1,2)")]),
    ("point", "shape", [("4326 0101000000000000000000f83f00000000000000c0",
                         bytes.fromhex("0101000000000000000000f83f00000000000000c0"))]),
    ("text[]", "same", [("{NULL}", '["NULL"]'), ('{""}', "[null]"), ("{1}", "[1]"), ("{a}", '["a",null]'), ("{a}", "{a}"),
                        ("{}", "{}"), ("{}", None), ("{}", "null")]),
    ("boolean[]", "same", [("{t}", "[1]"), ("{t}", "[false]"), ("{f}", "[null]")]),
    ("integer[]", "same", [("{1}", "[1.0]"), ("{1}", '["1"]'), ("{1}", "[true]")]),
    ("real[]", "same", [("{1.1}", "[1.2]"), ("{NaN}", "[null]"), ("{1.1}", '["1.1"]')]),
    ("double precision[]", "same", [("{0.1}", '["0.1"]'), ("{1}", "[1]"), ("{Infinity}", '["-Infinity"]')]),
    ("numeric(10,2)[]", "fixed[]", [("{1.20}", '["1.2"]'), ("{1.20}", "[1.20]")]),
    ("bytea[]", "binary[]", [('{"\\\\x00ff"}', '["AP8="]'), ('{"\\\\x"}', "[null]")]),
    ("timestamp[]", "same", [('{"2020-04-01 00:01:02"}', '["2020-04-01 00:01:02"]')]),
]


class SqliteEqual(unittest.TestCase):
    def test_every_form_has_pairs_of_both_kinds(self):
        forms = [sqlite_equal.form_of(type) for type, _, _ in HELD]
        for type, form in sqlite_equal.FORMS.items():
            self.assertIn(form, forms, type)
        self.assertEqual([entry[:2] for entry in HELD], [entry[:2] for entry in MISHELD])

    def test_what_is_held(self):
        for type, name, source, held in pairs_of(HELD):
            with self.subTest(type, source=source, held=held):
                self.assertTrue(sqlite_equal.Judge().equal(type, name, source, held))

    def test_what_is_held_as_something_else(self):
        for type, name, source, held in pairs_of(MISHELD):
            with self.subTest(type, source=source, held=held):
                self.assertFalse(sqlite_equal.Judge().equal(type, name, source, held))

    def test_null_is_only_null(self):
        for type, name, _ in HELD:
            with self.subTest(type):
                self.assertTrue(sqlite_equal.Judge().equal(type, name, None, None))
                for held in ["", "NULL", "null", 0, 0.0, b"", "[]"]:
                    self.assertFalse(sqlite_equal.Judge().equal(type, name, None, held))

    def test_other_modes_have_other_forms(self):
        for mode, type, name, alike, unlike in OTHER_MODES:
            judge = sqlite_equal.Judge(dict([mode.split("=")]))
            for source, held in alike:
                with self.subTest(mode, type=type, source=source, held=held):
                    self.assertTrue(judge.equal(type, name, source, held))
                    if mode != "any=any":
                        self.assertFalse(sqlite_equal.Judge().equal(type, name, source, held))
            for source, held in unlike:
                with self.subTest(mode, type=type, source=source, held=held):
                    self.assertFalse(judge.equal(type, name, source, held))


# Mode, type, function, and pairs that are the same under it, and that are not.
OTHER_MODES = [
    ("decimal.handling.mode=string", "numeric", "free", [("NaN", "NAN"), ("Infinity", "POSITIVE_INFINITY")],
     [("NaN", "NEGATIVE_INFINITY"), ("1.10", "1.1"), ("1.1", 1.1)]),
    ("decimal.handling.mode=double", "numeric(12,2)", "fixed", [("1.10", 1.1), ("0.00", 0.0), ("1.10", "1.1")],
     [("1.10", 1.11), ("1.00", 1), ("NaN", None), ("0.01", 0.0)]),
    ("decimal.handling.mode=double", "numeric", "free", [("1.1", 1.1), ("0", 0.0)],
     [("1.10", 1.1), ("12345678901234567890123456789.1", 1.2345678901234568e28)]),
    ("decimal.handling.mode=double", "money", "money", [("$1,234.11", 1234.11)], [("$1,234.11", 1234.1)]),
    ("decimal.handling.mode=double", "numeric(10,2)[]", "fixed[]", [("{1.20,NULL}", "[1.2,null]")], [("{1.20}", "[1.21]")]),
    ("binary.handling.mode=hex", "bytea", "binary", [("\\x00ff", "00ff")], [("\\x00ff", "00f"), ("\\x", None)]),
    ("binary.handling.mode=base64", "bytea[]", "binary[]", [('{"\\\\x00ff",NULL}', '["AP8=",null]')],
     [('{"\\\\x00ff"}', '["AP9="]'), ('{"\\\\x00ff"}', "[null]")]),
    ("any=any", "public.pair", "octets", [("(1,2)", b"(1,2)"), ("ü", "\\xc3bc")], [("(1,2)", b"(1,3)"), ("", 0)]),
    ("any=any", "box[]", "boxes", [("{(1,2),(0,0);NULL}", '["28312c32292c28302c3029",null]')],
     [("{(1,2),(0,0)}", '["28312c33292c28302c3029"]'), ("{(1,2),(0,0);(1,2),(0,0)}", '["28312c32292c28302c3029"]')]),
    ("any=any", "hstore[]", "hstore[]", [('{"\\"a\\"=>\\"1\\"",NULL}', '[{"a":"1"},null]')],
     [('{"\\"a\\"=>\\"1\\""}', '[{"a":"2"}]'), ('{"\\"a\\"=>\\"1\\""}', '[{"a":1}]')]),
]


def pairs_of(entries):
    return [(type, name, *pair) for type, name, pairs in entries for pair in pairs]


class Equal(unittest.TestCase):
    def test_every_function_has_pairs_of_both_kinds(self):
        names = {name.removesuffix("[]") for name in EQUAL}
        self.assertEqual(names, set(equal.FUNCTIONS))
        self.assertEqual(set(EQUAL), set(UNLIKE))

    def test_what_is_equal(self):
        for name, pairs in EQUAL.items():
            for source, target in pairs:
                with self.subTest(name, source=source, target=target):
                    self.assertTrue(equal.equal(name, source, target))

    def test_what_must_stay_different(self):
        for name, pairs in UNLIKE.items():
            for source, target in pairs:
                with self.subTest(name, source=source, target=target):
                    self.assertFalse(equal.equal(name, source, target))

    def test_null_is_only_null(self):
        for name in equal.FUNCTIONS:
            with self.subTest(name):
                self.assertTrue(equal.equal(name, None, None))
                self.assertFalse(equal.equal(name, None, ""))
                self.assertFalse(equal.equal(name, "", None))
                self.assertFalse(equal.equal(name, None, "0"))


class Message:
    """A record as JSON without a schema."""

    def __init__(self, id, field):
        self.text = b'{"after": {"id": %d, "v": %s}}' % (id, field.encode())

    def value(self):
        return self.text


class Judge(unittest.TestCase):
    """A case of two values, '1.10' and its twin '1.1', whose rows all arrived unless said."""

    def setUp(self):
        lost = [{"keep": "another mode", "twins": {"1.10": "1.1"}}]
        self.case = cases.Case("numeric", ["1.10"], lost=lost)
        self.run_ = runs.Run("postgres", "plain")
        texts = {"NULL": None, "1.10": "1.10", "1.1": "1.1"}
        ways = [cases.CREATED, cases.READ, cases.UPDATED, cases.MOVED_TO]
        self.source = {
            cases.key(self.case, value, way): {"v": texts[value]}
            for value in self.case.values
            for way in ways
        }
        self.target = {id: dict(row) for id, row in self.source.items()}
        self.wire = {id: '"1"' if row["v"] else "null" for id, row in self.source.items()}
        self.letters, self.stopped = {}, {}

    def kinds(self):
        topic = self.run_.topic(self.case)
        arrived = judge.Arrived(
            tables={self.case.table: self.target},
            letters={topic: self.letters},
            stopped=self.stopped,
            records={topic: [Message(id, field) for id, field in self.wire.items()]},
            equal=lambda type, name, source, target: equal.equal(name, source, target),
        )
        source = {self.case.table: self.source}
        ((_, outcomes),) = judge.judge(self.run_, [self.case], source, arrived)
        return {value: outcome.kind for value, outcome in outcomes.items()}

    def id(self, value, way=cases.CREATED):
        return cases.key(self.case, value, way)

    def test_all_arrived(self):
        self.assertEqual(set(self.kinds().values()), {"right"})

    def test_a_changed_value(self):
        self.target[self.id("1.1")]["v"] = "1.2"
        self.assertEqual(self.kinds()["1.1"], "wrong")

    def test_a_null_for_a_value(self):
        self.target[self.id("1.1")]["v"] = None
        self.assertEqual(self.kinds()["1.1"], "wrong")

    def test_a_missing_row(self):
        del self.target[self.id("1.10", cases.UPDATED)]
        self.assertEqual(self.kinds()["1.10"], "wrong")

    def test_a_deleted_row_that_stays(self):
        self.target[self.id("NULL", cases.DELETED)] = {"v": None}
        self.assertEqual(self.kinds()["NULL"], "wrong")

    def test_a_moved_row_that_stays(self):
        self.target[self.id("NULL", cases.MOVED)] = {"v": None}
        self.assertEqual(self.kinds()["NULL"], "wrong")

    def test_a_missing_row_with_a_dead_letter(self):
        del self.target[self.id("1.1", cases.READ)]
        self.letters[self.id("1.1", cases.READ)] = [("value_unfit", "")]
        self.assertEqual(self.kinds(), {"NULL": "right", "1.10": "right", "1.1": "refused"})

    def test_a_dead_letter_of_another_row_explains_nothing(self):
        del self.target[self.id("1.1", cases.READ)]
        self.letters[self.id("1.10", cases.READ)] = [("value_unfit", "")]
        self.assertEqual(self.kinds()["1.1"], "wrong")

    def test_a_wrong_row_is_not_refused_by_its_dead_letter(self):
        self.target[self.id("1.1")]["v"] = "1.2"
        self.letters[self.id("1.1")] = [("value_unfit", "")]
        self.assertEqual(self.kinds()["1.1"], "wrong")

    def test_a_refused_update_leaves_what_was_there(self):
        self.letters[self.id("1.1", cases.UPDATED)] = [("value_unfit", "")]
        self.target[self.id("1.1", cases.UPDATED)]["v"] = None
        self.assertEqual(self.kinds()["1.1"], "refused")
        self.target[self.id("1.1", cases.UPDATED)]["v"] = "1.2"
        self.assertEqual(self.kinds()["1.1"], "wrong")

    def test_a_missing_table_whose_partition_is_stopped(self):
        self.target = {}
        self.stopped[self.run_.topic(self.case)] = "column_unfit: no conversion"
        self.assertEqual(set(self.kinds().values()), {"refused"})

    def test_a_missing_table(self):
        self.target = {}
        self.assertEqual(set(self.kinds().values()), {"wrong"})

    def test_a_value_that_the_record_does_not_hold(self):
        self.target[self.id("1.10")]["v"] = "1.1"
        self.assertEqual(self.kinds()["1.10"], "lost")

    def test_a_value_is_not_lost_when_its_bytes_differ_from_the_twins(self):
        self.target[self.id("1.10")]["v"] = "1.1"
        self.wire[self.id("1.10")] = '"2"'
        self.assertEqual(self.kinds()["1.10"], "wrong")

    def test_what_another_format_loses_is_wrong(self):
        self.target[self.id("1.10")]["v"] = "1.1"
        self.case.lost[0].through = "avro sqlite"
        self.assertEqual(self.kinds()["1.10"], "wrong")
        self.case.lost[0].through = "plain created"
        self.assertEqual(self.kinds()["1.10"], "lost")

    def test_a_lost_value_must_arrive_as_its_twin(self):
        self.target[self.id("1.10")]["v"] = "1"
        self.assertEqual(self.kinds()["1.10"], "wrong")


class Wire(unittest.TestCase):
    def test_avro(self):
        schema = wire.resolved(
            {
                "type": "record",
                "name": "E",
                "namespace": "n",
                "fields": [
                    {"name": "before", "type": ["null", {"type": "record", "name": "V", "fields": [
                        {"name": "id", "type": "int"}, {"name": "v", "type": ["string", "null"]}]}]},
                    {"name": "after", "type": ["null", "V"]},
                    {"name": "list", "type": {"type": "array", "items": "long"}},
                ],
            },
            {},
        )
        data = bytes([0, 2, 3, 0, 4, 0xC3, 0xBC, 4, 2, 0xAC, 0x02, 0])
        expected = {"before": None, "after": {"id": -2, "v": "ü"}, "list": [1, 150]}
        self.assertEqual(wire.avro(data, 0, schema), (expected, len(data)))


class Keys(unittest.TestCase):
    """A type as a key, one of whose values each of two modes sends as another."""

    MODES = {"seconds": "true", "short": "no"}

    def setUp(self):
        lost = [
            {"when": "seconds=true", "keep": "nothing", "twins": {"'5'": "'0'"}},
            {"when": "short=yes", "keep": "nothing", "twins": {"'24'": "'0'", "'9'": "'0'"}},
            {"when": "short=never", "keep": "nothing", "twins": {"'9'": "NULL"}},
        ]
        values = ["'0'", "'24'", "'5'", "'9'"]
        self.key = cases.Case("time", values, modes=["short"], lost=lost).as_key(self.MODES)

    def test_it_has_the_modes_of_its_type_and_what_default_modes_keep(self):
        self.assertEqual((self.key.modes, self.key.values), (["short"], ["'0'", "'24'", "'9'"]))

    def test_a_value_that_is_sent_as_the_one_before_is_no_other_key(self):
        moved = lambda value, short: cases.is_moved(self.key, value, {"short": short})
        self.assertEqual([moved("'24'", "yes"), moved("'24'", "no")], [False, True])
        # The first value's row begins with the second one.
        self.assertEqual([moved("'0'", "yes"), moved("'0'", "no")], [False, True])

    def test_the_connector_ends_where_it_would_send_null(self):
        self.assertTrue(self.key.fails_under({"short": "never"}))
        self.assertFalse(self.key.fails_under({"short": "yes"}))


class LostRecords(unittest.TestCase):
    """The captured records of lost.jsonl, which MATRIX.md rests on."""

    def test_each_shows_that_its_bytes_do_not_hold_the_value(self):
        lines = report.RECORDS.read_text().splitlines()
        self.assertGreater(len(lines), 50)
        for line in lines:
            entry = json.loads(line)
            with self.subTest(entry["type"], value=entry["value"], modes=entry["modes"]):
                column = entry["column"]
                rows = [captured(it)["after"] for it in entry["records"]]
                if column not in rows[0]:
                    sent = entry["says"].removeprefix("the column's name, sent as ")
                    self.assertIn(sent, [*rows[0], "the record has no such field"])
                elif entry["says"] == "the record has no such field":
                    self.assertNotIn(column, rows[0])
                elif len(rows) == 2:
                    topics = [it["topic"] for it in entry["records"]]
                    self.assertNotEqual((topics[0], rows[0]["id"]), (topics[1], rows[1]["id"]))
                    self.assertEqual(rows[0][column], rows[1][column])
                else:
                    self.assertTrue(entry["says"].endswith(json.dumps(rows[0][column])))


    def test_there_is_one_for_each_value_of_the_table(self):
        recorded = {}
        for entry in map(json.loads, report.RECORDS.read_text().splitlines()):
            name = report.SOURCES[entry["source"]], entry["type"], entry["says"]
            recorded.setdefault(name, set()).add(entry["value"])
        of = {(title, case.name): case for name, title in report.SOURCES.items() for case in cases.load(name)[0]}
        section = report.FILE.read_text().partition("## Lost by the source\n")[2].partition("\n## ")[0]
        rows = [report.parts_of(line) for line in section.strip().splitlines()[2:]]
        self.assertGreater(len(rows), 50)
        for source, type, values, _, says, _ in rows:
            with self.subTest(type, says=says):
                all_ = len(of[source, type].values)
                found = [report.shorten(it) for it in recorded.get((source, type, says), ())]
                if values == "all":
                    self.assertEqual(len(found), all_)
                else:
                    self.assertEqual(sorted(found), sorted(re.findall(r"`([^`]*)`", values)))

    def test_a_lost_value_without_a_record_is_named(self):
        run, case = runs.Run("postgres", "json"), cases.Case("numeric", ["1.10"])
        results = [(run, case, {"1.10": judge.Outcome("lost", "nothing", "the same bytes as 1.1: 1")})]
        entry = {"source": "postgres", "type": "numeric", "value": "1.10", "says": "the same bytes as 1.1: 1"}
        self.assertEqual(report.unshown(results, json.dumps(entry)), [])
        for other in [{"value": "1.50"}, {"type": "money"}, {"says": "the same bytes as 1.1: 2"}]:
            self.assertEqual(len(report.unshown(results, json.dumps(entry | other))), 1)
        self.assertEqual(len(report.unshown(results, report.records_of(results))), 1)


def captured(record):
    """A record of lost.jsonl: JSON as it is, Avro with its writer's schema."""
    if "schema" not in record:
        return wire.unpack(record["value"].encode())
    return wire.avro(base64.b64decode(record["value"]), 5, wire.parsed(record["schema"]))[0]


MATRIX = """\
## PostgreSQL, default modes

| type | JSON with schemas | Avro |
| --- | --- | --- |
| text | {} | 2 right, 1 lost |
"""


class Report(unittest.TestCase):
    def worse(self, before, now):
        return report.worse(MATRIX.format(before), MATRIX.format(now))

    def test_the_same(self):
        self.assertEqual(self.worse("3 right", "3 right"), [])

    def test_better(self):
        self.assertEqual(self.worse("2 right, 1 refused: value_unfit", "3 right"), [])

    def test_fewer_right(self):
        self.assertEqual(len(self.worse("3 right", "2 right, 1 refused: value_unfit")), 1)
        self.assertEqual(len(self.worse("3 right", "2 right, 1 lost")), 1)

    def test_refused_where_it_was_lost(self):
        self.assertEqual(len(self.worse("2 right, 1 lost", "2 right, 1 refused: no_key")), 1)

    def test_lost_where_it_was_refused(self):
        self.assertEqual(len(self.worse("2 right, 1 refused: value_unfit", "2 right, 1 lost")), 1)
        self.assertEqual(len(self.worse("1 right, 1 lost, 1 refused: no_key", "1 right, 2 lost")), 1)
        self.assertEqual(self.worse("1 right, 1 lost, 1 refused: no_key", "2 right, 1 lost"), [])

    def test_stopped_where_a_record_was_refused(self):
        dead, stopped = "2 right, 1 refused: value_unfit", "2 right, 1 refused: stopped, column_unfit"
        self.assertEqual(len(self.worse(dead, stopped)), 1)
        self.assertEqual(self.worse(stopped, stopped), [])

    def test_a_value_more(self):
        self.assertEqual(len(self.worse("3 right", "4 right")), 1)

    def test_a_cell_that_is_gone(self):
        self.assertEqual(len(report.worse(MATRIX.format("3 right"), MATRIX.format(""))), 1)


if __name__ == "__main__":
    unittest.main()
