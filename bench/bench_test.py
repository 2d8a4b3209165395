#!/usr/bin/env python3
"""Tests of what the harness computes itself, without services."""

import base64
import json
import os
import pathlib
import unittest
from unittest import mock

for name in ("KAFKA_BOOTSTRAP_SERVERS", "CONNECT_URL", "SCHEMA_REGISTRY_URL", "SOURCE_ADMIN_URL",
             "TARGET_ADMIN_URL", "TARGET_DATABASE_URL", "BENCH_STACK", "BENCH_CACHE", "BENCH_PROGRAMS"):
    os.environ[name] = "/nowhere"

import ceilings  # noqa: E402
import goals  # noqa: E402
import growth  # noqa: E402
import heap  # noqa: E402
import micro  # noqa: E402
import perf  # noqa: E402
import records  # noqa: E402
import throughput  # noqa: E402
import topics  # noqa: E402
from contenders import Consumer  # noqa: E402
from works import ALTERNATING, MIX, ORDERS, UPDATES  # noqa: E402

FIXTURES = pathlib.Path(__file__).parent.parent / "tests" / "fixtures"
REGISTERED = 77


def captured(format, folder):
    sample = records.Sample(ORDERS, format)
    for op, situation in (("c", "create"), ("u", "update"), ("d", "delete")):
        record = json.loads((FIXTURES / folder / f"orders-{situation}.json").read_text())
        sample.values[op] = base64.b64decode(record["value"])
        sample.key = base64.b64decode(record["key"])
    if format == "avro":
        schemas = json.loads((FIXTURES / folder / "schemas.json").read_text())
        sample.schemas = {int(id): text for id, text in schemas.items() if id.isdigit()}
    return sample


def joined(pieces):
    return b"".join(base64.b64decode(piece["bytes"]) if "bytes" in piece else b"?" for piece in pieces)


class Pieces(unittest.TestCase):
    def setUp(self):
        records.ask = lambda method, url, body=None: {"id": REGISTERED}

    def test_a_record_is_its_bytes_around_holes(self):
        for format, folder in (("json", "json"), ("plain_json", "plain"), ("avro", "avro")):
            table = captured(format, folder).table("a.topic")
            holes = [piece["hole"] for piece in table["create"] if "hole" in piece]
            self.assertEqual(sum(hole["of"] == "row" for hole in holes), 1, format)
            # Each column but the key, and four figures that rise.
            self.assertEqual(sum(hole["of"] == "event" for hole in holes), len(ORDERS.columns) + 4, format)
            self.assertEqual([piece["hole"]["of"] for piece in table["key"] if "hole" in piece], ["row"])

    def test_avro_names_the_schema_that_was_registered(self):
        table = captured("avro", "avro").table("a.topic")
        self.assertEqual(joined(table["create"])[:5], b"\0" + REGISTERED.to_bytes(4))

    def test_a_table_of_another_name_is_named_in_the_source_block(self):
        for format, folder in (("json", "json"), ("avro", "avro")):
            table = captured(format, folder).table("a.topic", "orders_0007")
            self.assertIn(b"orders_0007", joined(table["create"]), format)

    def test_bytes_that_debezium_would_not_write_are_refused(self):
        sample = captured("json", "json")
        sample.values["c"] = sample.values["c"].replace(b'"op":', b'"op": ')
        with self.assertRaises(AssertionError):
            sample.table("a.topic")


class Works(unittest.TestCase):
    def test_a_prefix_is_of_the_same_events(self):
        self.assertEqual(MIX.sized(40).events(), MIX.sized(80).events(40))

    def test_each_piece_of_a_backlog_has_rows_of_its_own_behind_it(self):
        longer = MIX.sized(40).extended(80).extended(120)
        self.assertEqual((longer.count, MIX.last_row(), longer.last_row()), (120, -101, -107))
        self.assertIn("generate_series(-109, -101)", longer.last_events())


class Backlogs(unittest.TestCase):
    def test_what_is_put_behind_begins_where_it_ends(self):
        there = topics.Filled(UPDATES.sized(40), "avro", ["a.topic"], 46, 5)
        with mock.patch("topics.run_fill", return_value={"records": 26, "bytes": 2}) as ran:
            longer = topics.extend(there, there.work.extended(60), mock.Mock())
        [job] = ran.call_args.args
        self.assertEqual((job["first"], job["count"]), (1_000_040, 20))
        self.assertEqual((job["first_row"], job["last_row"]), (None, -104))
        self.assertEqual((longer.work.count, longer.records, longer.bytes), (60, 72, 7))

    def test_a_first_run_that_is_over_too_soon_does_not_count(self):
        found = iter([(20, 100), (10, 300), (22, 320)])
        backlog = mock.Mock()

        def run(_bench, contender, _backlog, _round):
            seconds, rate = next(found)
            yield {"contender": contender, "seconds": seconds, "rate": rate}

        bench = mock.Mock(is_enough=lambda measured, *_: measured["seconds"] >= 20)
        with mock.patch("throughput.run", run):
            runs = [run for contender in ("one lane", "two") for run in throughput._first(bench, contender, backlog)]
        self.assertEqual([(run["contender"], run["rate"]) for run in runs], [("one lane", 100), ("two", 320)])
        self.assertEqual(backlog.extend.call_count, 1)
        self.assertAlmostEqual(bench.count.call_args.args[2], 330)

    def test_ours_are_believed_to_be_as_fast_as_the_last_time_but_on_a_slow_machine(self):
        last = {"one lane": 300, "two lanes": 400}
        bench = mock.Mock(last=mock.Mock(of=lambda name, work, _format: last.get(name) if work == "mix" else None))

        def rate(work, **warm):
            warm = {Consumer(name.replace("_", " ")): rate for name, rate in warm.items()}
            return throughput._rate(bench, work, "avro", warm)

        self.assertEqual(rate(MIX, one_lane=350, two_lanes=310), 400)
        self.assertEqual(rate(MIX, one_lane=100, two_lanes=90), 150)
        self.assertEqual(rate(UPDATES, one_lane=100, two_lanes=90), 100)


class Growth(unittest.TestCase):
    def test_the_run_of_the_defaults_stands_in_its_place_and_is_not_made_again(self):
        contenders = [(lanes, Consumer("consumer", "--lanes", str(lanes))) for lanes in (1, 2)]
        with mock.patch("growth.run", lambda _bench, contender, *_, **varied: [{"rate": 7} | varied]):
            runs = list(growth._vary(None, "lanes", None, contenders, [{"contender": "consumer", "rate": 5}]))
        self.assertEqual([(run["value"], run["rate"]) for run in runs], [(1, 5), (2, 7)])

    def test_every_default_is_among_the_values(self):
        values = {"lanes": growth.LANES, "members": growth.MEMBERS, "batch rows": growth.BATCH_ROWS}
        self.assertTrue(all(growth.SHIPPED[factor] in values[factor] for factor in values))


class Ceilings(unittest.TestCase):
    def test_the_client_alone_has_changes_where_its_records_have_tombstones(self):
        filled = topics.Filled(ALTERNATING.sized(4_000_000), "avro", ["a.topic"], 6_000_000, 7)
        read = mock.Mock(stdout='{"records": 900000, "seconds": 1.0}')
        with mock.patch("subprocess.run", return_value=read) as ran:
            found = ceilings.drain(filled)
        self.assertEqual(ran.call_args.args[0][2:], ["1000000", "a.topic"])
        self.assertEqual((found["changes"], found["rate"]), (600_000, 600_000))


class Goals(unittest.TestCase):
    def test_the_best_variant_of_the_sink_is_what_counts(self):
        def run(contender, rate):
            return {"contender": contender, "work": "creates", "format": "avro", "rate": rate}

        runs = [run(goals.ONE_LANE, 300), run(goals.ONE_LANE, 310), run(goals.ONE_LANE, 290),
                run("sink, defaults", 10), run("sink, reduction buffer", 20)]
        rates = goals.Rates({"throughput": {"runs": runs}})
        self.assertEqual(rates.of(goals.ONE_LANE, "creates", "avro"), 300)
        self.assertEqual(rates.best_sink("creates", "avro"), 20)

    def test_each_line_has_all_columns_and_what_the_client_alone_could_reach(self):
        def run(contender, rate):
            return {"contender": contender, "work": "alternating", "format": "avro", "rate": rate}

        runs = [run(goals.ONE_LANE, 300), run("sink, defaults", 20), run(goals.CLIENT, 650)]
        decoded = [{"group": "decode", "name": "avro", "nanos": 200}]
        lines = goals.table({"shapes": {"runs": runs}, "decode": {"runs": decoded}}).splitlines()
        self.assertEqual([line.count("|") for line in lines], [6] * 5)
        self.assertEqual(lines[2].split("|")[3:], [" 15.00× (missed) ", "  ", " 32.50× ", ""])

    def test_many_tables_are_held_against_one_by_whoever_writes_or_reads_them(self):
        def runs(contender, one, many):
            return [{"contender": contender, "work": "creates", "format": "avro", "factor": "tables",
                     "value": value, "rate": rate} for value, rate in ((1, one), (1000, many))]

        alone = [{"contender": goals.SERVER, "work": "creates", "format": "none", "rate": 9}]
        runs = runs("consumer", 100, 70) + runs(goals.SERVER, 50, 45) + runs(goals.CLIENT, 10, 8) + alone
        [line] = goals.table({"growth": {"runs": runs}}).splitlines()[2:]
        self.assertEqual(line.split("|")[3:], [" 0.70× ", " 0.90× ", " 0.80× ", ""])

    def test_a_goal_that_is_not_reached_says_so(self):
        runs = [{"group": "decode", "name": "avro", "nanos": 300}, {"group": "decode", "name": "json", "nanos": 900}]
        lines = goals.table({"decode": {"runs": runs}}).splitlines()
        self.assertEqual(["(missed)" in line for line in lines[2:]], [True, False])


class Profiles(unittest.TestCase):
    def test_shares_are_of_who_runs_and_of_the_consumers_functions(self):
        lines = [
            "    40.00%|swapper        |[kernel.kallsyms]  |[k] pv_native_safe_halt  |-      -",
            "",
            "    20.50%|postgres       |postgres           |[.] heap_insert",
            "    10.00%|tokio-rt-worker|consumer           |[.] afterimage::decode::avro::walk_envelope",
            "     5.00%|rdk:broker1    |consumer           |[.] rd_kafka_broker_serve",
            "     2.00%|consumer       |[kernel.kallsyms]  |[k] copy_user",
            "     1.00%|consumer       |libc.so.6          |[.] __memmove_avx",
            "     3.00%|data-plane-kafk|libjvm.so          |[.] G1Evacuate",
        ]
        found = perf.shares(lines, "consumer")
        self.assertEqual(found["whose"], {"idle": 40.0, "target": 20.5, perf.OWN: 13.0,
                                          perf.CONSUMERS_CLIENT: 5.0, "others, the broker among them": 3.0})
        self.assertEqual(list(found["functions"].items()), [
            ("afterimage::decode::avro::walk_envelope", 10.0), ("rd_kafka_broker_serve", 5.0),
            ("the kernel", 2.0), ("libc.so.6: __memmove_avx", 1.0)])


class Heaps(unittest.TestCase):
    def test_bytes_are_of_the_first_own_function_above_them_at_the_peak(self):
        lines = [
            "mem_heap_B=9", "heap_tree=detailed", "n0: 9 (heap allocation functions)", "#-----------",
            "mem_heap_B=700", "mem_heap_extra_B=1", "heap_tree=peak",
            "n3: 700 (heap allocation functions) malloc/new/new[], --alloc-fns, etc.",
            " n2: 600 0x1: alloc::raw_vec::RawVecInner<A>::finish_grow (mod.rs:555)",
            "  n1: 200 0x2: encode_with<sqlx_postgres::message::bind::Bind> (mod.rs:218)",
            "   n0: 200 0x3: afterimage::target::postgres::session::Session::run::{{closure}} (session.rs:145)",
            "  n1: 400 0x4: push<afterimage::rows::Row, alloc::alloc::Global> (mod.rs:992)",
            "   n1: 400 0x4: afterimage::rows::writer::RowWriter::finish (writer.rs:157)",
            "    n0: 400 0x5: afterimage::decode::decoder::Decoder::write (decoder.rs:9)",
            " n0: 60 0x6: rd_kafka_op_new0 (rdkafka_op.c:297)",
            " n0: 40 in 12 places, all below massif's threshold (1.00%)",
            "#-----------", "mem_heap_B=8", "heap_tree=empty",
        ]
        self.assertEqual(heap.peak(lines), {"heap": 700, "owners": {
            "afterimage::rows::writer::RowWriter::finish": 400, "sqlx: messages to the server": 200,
            "rd_kafka_op_new0": 60, "others": 40}})


class Instructions(unittest.TestCase):
    def test_a_function_has_its_own_cost_and_not_that_of_what_it_calls(self):
        lines = ["fn=(1) main", "10 5", "cfn=(2) decode", "calls=3 20", "11 900", "+1 2", "* 1",
                 "fn=(2)", "20 800", "cfn=(1)", "calls=1 1", "-4 7", "summary: 816"]
        self.assertEqual(dict(micro.own_costs(lines)), {"main": 8, "decode": 800})


if __name__ == "__main__":
    unittest.main()
