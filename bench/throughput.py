"""The parts that take a backlog over: each contender in turns, from the same records."""

import concurrent.futures
import itertools
import os

import ceilings
import measure
import model
import topics
from contenders import DEFAULTS, FASTEST, LARGEST, SINKS, UNNEST, Consumer, Failed, Sink
from places import NAME
from works import (ALTERNATING, BIG_VALUES, CREATES, GUARDED, HOT, MIX, PLAIN_CREATES, TABLES, UPDATES,
                   WIDE_ROWS)

# Changes that the server alone makes: some seconds of them.
ALONE = 800_000
# How many of the sink's variants go on after their warm-ups, beside its defaults.
KEPT = 2
# How much faster a run may be than a warm-up, which is short: that says little but of a machine that is slow.
FASTER = 1.5
# How much faster a run may be than the one before it that was too short.
LONGER = 1.1


def throughput(bench):
    """The work that the peer is measured by, in Avro, and the ceilings."""
    own = [Consumer("consumer, 1 lane"), Consumer("consumer, 2 lanes", "--lanes", "2")]
    sinks = [Sink(bench.worker, name, **config) for name, config in SINKS.items()
             if not bench.is_short or name in bench.few_sinks]
    for work in (CREATES, UPDATES, MIX):
        yield from against(bench, work, "avro", own, sinks)
        yield from bounds(bench, work)
    if bench.is_short:
        return
    sinks = [Sink(bench.worker, name, **config)
             for name, config in itertools.chain(SINKS.items(), UNNEST.items())
             if name == LARGEST or name in UNNEST]
    yield from against(bench, PLAIN_CREATES, "avro", own[:1], sinks)


def formats(bench):
    """The same work as JSON. The peer needs schemas."""
    own = [Consumer("consumer, 1 lane")]
    sinks = [Sink(bench.worker, FASTEST, **SINKS[FASTEST])]
    for work in (CREATES, UPDATES, MIX):
        yield from against(bench, work, "json", own, sinks)
        yield from against(bench, work, "plain_json", own, [])


def shapes(bench):
    """Other work, in Avro: what the consumer does best and worst."""
    own = [Consumer("consumer, 1 lane"), Consumer("consumer, 2 lanes", "--lanes", "2")]
    for work in (HOT, WIDE_ROWS, BIG_VALUES, TABLES):
        yield from against(bench, work, "avro", own, [])
    sinks = [Sink(bench.worker, name, **SINKS[name]) for name in bench.few_sinks]
    yield from against(bench, ALTERNATING, "avro", own[:1], sinks)


def guard(bench):
    """What the row guard costs."""
    rules = f'[table."{NAME}.{CREATES.kind.name}"]\nrow_guard = true\n'
    own = [Consumer("consumer, 1 lane"), Consumer("consumer, row guard", rules=rules)]
    yield from against(bench, GUARDED, "avro", own, [])


def against(bench, work, format, own, sinks):
    """Yields the runs of a work: interleaved rounds, each contender after a warm-up of its own.

    All warm up with the prefix that the sinks are measured by.
    """
    sample = bench.sample(work.kind, format)
    with Backlog(bench, work.sized(bench.peer_count(work)), format, sample, "-prefix") as prefix:
        warm = {contender: _warm_up(bench, contender, prefix) for contender in own}
        warm = {contender: rate for contender, rate in warm.items() if rate is not None}
        rates = {sink: _warm_up(bench, sink, prefix) for sink in sinks}
        sinks = _fastest(bench, rates, prefix)
        if warm:
            rate = _rate(bench, work, format, warm)
            yield from _rounds(bench, work, format, list(warm), sinks, prefix, rate)


def _rate(bench, work, format, warm):
    """How fast the fastest will probably be: as the last time."""
    fastest = max(warm.values())
    last = (bench.last.of(contender.name, work.name, format) for contender in warm)
    return min(max(filter(None, last), default=fastest), fastest * FASTER)


def _rounds(bench, work, format, own, sinks, prefix, rate):
    """Yields the rounds of those that have warmed up, the fastest of ours at about that rate."""
    full = work.sized(bench.count(work, format, rate))
    with Backlog(bench, full, format, bench.sample(work.kind, format)) as backlog:
        for round in range(bench.rounds):
            for contender in own:
                yield from (run(bench, contender, backlog, round) if round > 0
                            else _first(bench, contender, backlog))
            for sink in sinks:
                # They take longer than all the rest, and are never the peer's best.
                if round == 0 or sink.name != DEFAULTS:
                    yield from run(bench, sink, prefix, round)
            yield bench.told(ceilings.drain(backlog.filled), round)


def _first(bench, contender, backlog):
    """Yields the first run of one of ours. Where it is over too soon, its rate is believed, and it is made again
    from a backlog that is longer."""
    for measured in run(bench, contender, backlog, 0):
        if bench.is_enough(measured, backlog.work, backlog.format):
            yield measured
        else:
            backlog.extend(bench.count(backlog.work, backlog.format, measured["rate"] * LONGER))
            yield from _first(bench, contender, backlog)


def run(bench, contender, backlog, round, **varied):
    """Yields what was measured, with what was varied; nothing where there is no result."""
    try:
        measured = measure.run(contender, backlog.filled, backlog.must_be)
    except (Failed, model.Unequal) as error:
        bench.leave_out(contender, backlog, str(error)[:300])
        bench.is_broken |= isinstance(contender, Consumer)
    else:
        yield bench.told(measured | varied, round)


def _warm_up(bench, contender, backlog):
    """Returns the rate of a run that does not count, `None` where it has no result."""
    for measured in run(bench, contender, backlog, -1):
        return measured["rate"]
    return None


def _fastest(bench, rates, warm):
    """Returns the sinks that go on: the defaults, and those that were fastest when they warmed up."""
    ranked = sorted((sink for sink in rates if rates[sink] is not None), key=rates.get, reverse=True)
    goes_on = ranked[:KEPT] + [sink for sink in ranked[KEPT:] if sink.name == DEFAULTS]
    for sink in ranked:
        if sink not in goes_on:
            bench.leave_out(sink, warm, f"{rates[sink]:,} a second in its warm-up: not among the fastest")
    return goes_on


def bounds(bench, work):
    """Yields what the server alone can do."""
    work = work.sized(bench.scaled(ALONE))
    ceilings.stage(work)
    for round in range(bench.rounds):
        yield bench.told(ceilings.statement(work), round)
        if work.change == "creates":
            yield bench.told(ceilings.one_statement(work), round)
            yield bench.told(ceilings.copy(work), round)
    ceilings.drop_stage()


class Backlog:
    """A work's topics while they are needed."""

    def __init__(self, bench, work, format, sample, label=""):
        self.bench, self.work, self.format = bench, work, format
        self.sample, self.label = sample, label

    def __enter__(self):
        self._fill(topics.fill, self.work, self.format, self.sample, self.label)
        return self

    def extend(self, count):
        """Makes it longer, to so many changes."""
        self.work = self.work.extended(count)
        self._fill(topics.extend, self.filled, self.work, self.sample)

    def _fill(self, filler, *arguments):
        # Nobody is measured meanwhile, and each of the two has a core.
        with concurrent.futures.ThreadPoolExecutor() as beside:
            must_be = beside.submit(model.expected, self.work)
            self.filled = filler(*arguments)
            self.must_be = must_be.result()
        # What the broker has taken is written back before somebody is measured.
        os.sync()
        self.bench.say(f"{self.work.count} changes, {self.work.title}, {self.format}{self.label}: "
                       f"{self.filled.bytes / self.filled.records:.0f} bytes a record")

    def __exit__(self, *_):
        topics.drop(self.filled.names)
