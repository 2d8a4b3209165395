"""Measures the consumer beside its peer and its ceilings; `scripts/bench.sh` calls it.

    bench.py [--part NAME]... [--short]

Each part keeps its runs in `bench/results`, and `RESULTS.md` is written of all of them. A short run
keeps its own in the stack's folder. What a run makes on the stack is taken back at its end.
Exit status: 0 measured, 1 a run of the consumer has no result.
"""

import argparse
import datetime
import math
import os
import signal
import sys
import time

import goals
import growth
import latency
import micro
import model
import perf
import places
import records
import report
import throughput
import topics
from contenders import DEFAULTS, LARGEST, Worker
from works import KINDS

PARTS = {
    "throughput": throughput.throughput,
    "formats": throughput.formats,
    "shapes": throughput.shapes,
    "latency": latency.latency,
    "growth": growth.growth,
    "distance": growth.distance,
    "joining": growth.joining,
    "decode": micro.decode,
    "instructions": micro.instructions,
}
BY_NAME = {"guard": throughput.guard, "profile": perf.profile}
# How long the fastest of the consumer's runs is to take, and in the first round must; and how many changes a
# run has at most.
SECONDS, SECONDS_MIN = 21, 20
COUNTS = {"creates": 10_000_000, "updates": 4_000_000, "mix": 8_000_000, "hot": 12_000_000,
          "wide": 2_500_000, "big": 140_000, "tables": 8_000_000, "alternating": 10_000_000,
          "plain": 10_000_000, "guarded": 2_000_000}
# Records of JSON are large, and so many take long enough.
JSON_SHARE = 0.75
# How many the sink's runs have, and all warm-ups; fewer where 200,000 take minutes.
PEER_COUNTS = {"alternating": 40_000, "big": 20_000}
PEER_COUNT = 200_000
SHORT_SHARE = 0.1
SHORT_PARTS = ("throughput", "latency", "instructions")


class Bench:
    """What the parts share: samples, sizes, rounds, the peer's worker, and the log."""

    def __init__(self, options):
        self.is_short = options.short
        self.rounds = 1 if self.is_short else options.rounds
        self.few_sinks = [LARGEST]
        if not self.is_short:
            self.few_sinks.insert(0, DEFAULTS)
        self.worker = Worker(os.environ["BENCH_JAVA"], os.environ["BENCH_PLUGINS"].split(":"),
                             int(os.environ["BENCH_WORKER_PORT"]))
        self.left_out, self.samples = [], {}
        # How fast each was when the project's results were measured last.
        self.last = goals.Rates(report.read(report.RESULTS))
        # Whether a run of the consumer has no result.
        self.is_broken = False

    def sample(self, kind, format):
        if not self.samples:
            self.say("captures records from real connectors")
            self.samples = records.capture(list(KINDS.values()), list(records.FORMATS))
        return self.samples[kind.name, format]

    def count(self, work, format, rate):
        """How many changes a run of the consumer has that makes so many a second."""
        share = (1 if format == "avro" else JSON_SHARE) * (SHORT_SHARE if self.is_short else 1)
        return int(min(COUNTS[work.name] * share, rate * SECONDS)) // 20 * 20

    def is_enough(self, measured, work, format):
        """Whether a run of the consumer was as long as one must be."""
        most = self.count(work, format, math.inf)
        return self.is_short or measured["seconds"] >= SECONDS_MIN or measured["changes"] == most

    def scaled(self, count):
        return int(count * (SHORT_SHARE if self.is_short else 1)) // 20 * 20

    def peer_count(self, work):
        share = SHORT_SHARE if self.is_short else 1
        return int(PEER_COUNTS.get(work.name, PEER_COUNT) * share) // 20 * 20

    def leave_out(self, contender, backlog, reason):
        """Keeps that a contender has no figure, and why."""
        self.say(f"  {contender.name}, {backlog.work.name} ({backlog.format}): {reason}")
        self.left_out.append({"contender": contender.name, "work": backlog.work.name,
                              "format": backlog.format, "reason": reason})

    def told(self, run, round):
        details = f"{run['work']} ({run['format']}): {run['rate']:,} a second"
        which = f"round {round + 1}" if round >= 0 else "warm-up"
        varied = f", {run['factor']} {run['value']}" if "factor" in run else ""
        self.say(f"  {which}, {run['contender']}{varied}, {details} in {run['seconds']} s")
        return run | {"round": round}

    def say(self, text):
        print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


def main():
    options = arguments()
    # What was started is stopped, also when somebody ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    places.SCRATCH.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    folder = report.RESULTS if not options.short else places.SCRATCH / "short"
    begin = time.monotonic()
    try:
        clean_up()
        model.create()
        model.prove()
        for name in options.part or (SHORT_PARTS if options.short else PARTS):
            bench.say(f"part {name}")
            bench.left_out, started = [], time.monotonic()
            runs = list((PARTS | BY_NAME)[name](bench))
            report.keep(folder, name, runs, bench, (time.monotonic() - started) / 60)
    finally:
        bench.worker.stop()
        clean_up()
    bench.say(f"took {(time.monotonic() - begin) / 60:.0f} minutes")
    print(report.write(folder))
    return 1 if bench.is_broken else 0


def clean_up():
    topics.drop_all()
    records.drop_source()
    records.drop_schemas()
    model.drop()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS | BY_NAME)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
