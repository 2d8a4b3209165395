"""What bounds a rate: where both cores are while a backlog is taken over, by perf; and what bounds
memory, by `heap`.

Only by name, `make bench PART=profile`: perf comes with the system, and slows what it looks at a
little, so that the rates here are not those of the other parts.
"""

import collections
import itertools
import re
import signal
import subprocess

import growth
import heap
import throughput
from contenders import Consumer
from places import CONSUMER, SCRATCH
from works import ALTERNATING, CREATES, HOT, MIX, UPDATES

HERTZ = 999
# So many functions are named; what has less says little.
NAMED = 12
# How many changes are taken over while perf looks on: ten seconds and more of most.
CHANGES = {"avro": 2_000_000, "json": 800_000}
# How many changes are taken over in valgrind: some batches.
WEIGHED = 400_000
# How threads are called that rest, and those of the Kafka client.
IDLE, CLIENT = "swapper", "rdk:"
# What decodes and folds for a lane runs in one thread at a time; others carry its rows to the target.
OWN, CONSUMERS_CLIENT = "consumer, without the Kafka client's threads", "consumer, the Kafka client's threads"


# How far the target is that has a goal, and how many tables have one.
FAR_MILLIS, MANY_TABLES = 10, 1000


def profile(bench):
    """The works that have a goal; and the heap."""
    with growth.away(FAR_MILLIS) as far:
        own = [Profiled("consumer, 1 lane")]
        away = [Profiled(f"consumer, {FAR_MILLIS} ms away", target=far)]
        lanes = [Profiled("consumer, 2 lanes", "--lanes", "2")]
        many = [Profiled(f"consumer, {MANY_TABLES} tables")]
        for work, format, contenders in (
                (CREATES, "avro", own + away), (CREATES, "json", own), (UPDATES, "avro", own + lanes),
                (MIX, "avro", own), (HOT, "avro", own), (ALTERNATING, "avro", own),
                (growth.creates_in(MANY_TABLES), "avro", many)):
            work = work.sized(bench.scaled(CHANGES[format]))
            with throughput.Backlog(bench, work, format, bench.sample(work.kind, format)) as backlog:
                for contender, round in itertools.product(contenders, range(bench.rounds)):
                    yield from throughput.run(bench, contender, backlog, round)
    work = UPDATES.sized(bench.scaled(WEIGHED))
    with throughput.Backlog(bench, work, "avro", bench.sample(work.kind, "avro")) as backlog:
        yield from throughput.run(bench, heap.Weighed("consumer, 1 lane"), backlog, 0)


class Profiled(Consumer):
    """The consumer, while perf looks at all that runs."""

    samples = SCRATCH / "perf.data"
    perf = None

    def begun(self):
        self.samples.unlink(missing_ok=True)
        command = ["perf", "record", "-q", "-a", "-e", "cpu-clock", "-F", str(HERTZ), "-o", self.samples]
        self.perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def extra(self):
        self._look_away()
        # A run that is over at once is over before perf has begun.
        found = shares(_report(self.samples), CONSUMER.name) if self.samples.exists() else {}
        return super().extra() | found

    def stop(self):
        self._look_away()
        super().stop()

    def _look_away(self):
        if self.perf is not None:
            self.perf.send_signal(signal.SIGINT)
            self.perf.wait()
            self.perf = None


def _report(samples):
    """Lines of `share|process|object|function`."""
    command = ["perf", "report", "-q", "--stdio", "--no-children", "-i", samples, "-t", "|",
               "--sort", "comm,dso,symbol", "--percent-limit", "0"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def shares(lines, program):
    """Shares of both cores: by who runs, and by the function that runs in the consumer, in percent."""
    whose, functions = collections.Counter(), collections.Counter()
    for line in filter(str.strip, lines):
        share, thread, place, symbol = (part.strip() for part in line.split("|")[:4])
        share, symbol = float(share.rstrip("%")), re.sub(r"^\[(.)\] ", "", symbol)
        owner = _owner(thread, program)
        whose[owner] += share
        if owner in (OWN, CONSUMERS_CLIENT):
            functions[_named(place, symbol, program)] += share
    return {"whose": dict(whose.most_common()),
            "functions": {name: round(share, 2) for name, share in functions.most_common(NAMED)}}


def _owner(thread, program):
    if thread == IDLE:
        return "idle"
    if thread.startswith("postgres"):
        return "target"
    if thread.startswith(CLIENT):
        return CONSUMERS_CLIENT
    # The program's own name, and tokio's.
    return OWN if thread.startswith((program, "tokio")) else "others, the broker among them"


def _named(place, symbol, program):
    """A function of ours or of librdkafka by its name, one of the kernel by where it is."""
    if place.startswith("["):
        return "the kernel"
    symbol = re.sub(r"<[^<>]*>|::h[0-9a-f]{16}$", "", symbol)
    return symbol if place == program else f"{place}: {symbol}"
