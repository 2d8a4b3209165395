"""The ratios that are held against goals, each from runs of one part."""

import statistics

from contenders import DEFAULTS
from latency import HELD
from records import FORMATS


def table(parts):
    """Markdown of every goal whose part was run."""
    lines = ["| what | goal | reached | the server alone | the client alone |", "|---|--:|--:|--:|--:|"]
    for what, goal, reached, *alone in _ratios(Rates(parts)):
        if reached is not None:
            mark = "" if reached >= goal else " (missed)"
            cells = " | ".join(f"{bound:.2f}×" if bound else "" for bound in alone or (None, None))
            lines.append(f"| {what} | at least {goal:g}× | {reached:.2f}×{mark} | {cells} |")
    for what, goal, unit, reached in _bounds(parts):
        mark = "" if reached <= goal else " (missed)"
        lines.append(f"| {what} | at most {goal:g} {unit} | {reached:.4g} {unit}{mark} | | |")
    return "\n".join(lines)


class Rates:
    def __init__(self, parts):
        # What perf looks at is a little slower.
        self.runs = [run for name, part in parts.items() if name != "profile" for run in part["runs"]
                     if "work" in run]

    def of(self, contender, work, format):
        """The median rate of a contender, `None` where it has none."""
        rates = [run["rate"] for run in self.runs if (run["work"], run["format"]) == (work, format)
                 and run["contender"] == contender and "factor" not in run]
        return statistics.median(rates) if rates else None

    def varied(self, contender, factor, value):
        """The median rate of a contender where one thing has a value."""
        rates = [run["rate"] for run in self.runs if run["contender"] == contender
                 and (run.get("factor"), run.get("value")) == (factor, value)]
        return statistics.median(rates) if rates else None

    def best_sink(self, work, format):
        names = {run["contender"] for run in self.runs if run["contender"].startswith("sink")}
        rates = [self.of(name, work, format) for name in names]
        return max((rate for rate in rates if rate), default=None)

    def server_alone(self, work):
        """What the server makes of rows that are there already, by the fastest of its ways."""
        rates = [self.of(name, work, "none") for name in CEILINGS]
        return max((rate for rate in rates if rate), default=None)

    def applying(self, work):
        """Changes a second within the batches' transactions, one lane."""
        rates = [run["changes"] / run["apply_seconds"] for run in self.runs
                 if (run["work"], run["format"], run["contender"]) == (work, "avro", ONE_LANE)
                 and run.get("apply_seconds")]
        return statistics.median(rates) if rates else None


ONE_LANE, TWO_LANES = "consumer, 1 lane", "consumer, 2 lanes"
SERVER = "server alone, a statement a batch"
CLIENT = "librdkafka alone"
CEILINGS = (SERVER, "server alone, one statement", "psql, binary COPY")


def _ratios(rates):
    """Yields what, the goal, what was reached, and against the sink what one connection of the server could
    reach, and what the Kafka client."""
    against_sink = [
        ("creates, Avro, against the sink's best", 15, "creates", "avro", ONE_LANE),
        ("updates, Avro, against the sink's best", 5, "updates", "avro", ONE_LANE),
        ("the same with two lanes", 7, "updates", "avro", TWO_LANES),
        ("mix, Avro, against the sink's best", 8, "mix", "avro", ONE_LANE),
        ("creates, JSON with schemas, against the sink's best", 12, "creates", "json", ONE_LANE),
        ("insert and delete of one key, against the sink's best", 50, "alternating", "avro", ONE_LANE),
    ]
    for what, goal, work, format, contender in against_sink:
        sink = rates.best_sink(work, format)
        server = rates.server_alone(work) if (format, contender) == ("avro", ONE_LANE) else None
        alone = (_ratio(rate, sink) for rate in (server, rates.of(CLIENT, work, format)))
        yield what, goal, _ratio(rates.of(contender, work, format), sink), *alone
    ours, defaults = (rates.of(contender, "alternating", "avro") for contender in (ONE_LANE, DEFAULTS))
    yield "the same against the sink's defaults", 50, _ratio(ours, defaults)
    for work in ("creates", "updates", "mix"):
        reached = _ratio(rates.applying(work), rates.of(SERVER, work, "none"))
        yield f"{work}, apply alone against the server's statement", 0.85, reached
    hot = _ratio(rates.of(ONE_LANE, "hot", "avro"), rates.of(CLIENT, "hot", "avro"))
    yield "hot keys against librdkafka alone", 0.5, hot
    near, far = (rates.varied("consumer", "round trip, ms", value) for value in ("none", 10))
    yield "creates, target 10 ms away against loopback", 0.8, _ratio(far, near)
    many = (_ratio(*(rates.varied(contender, "tables", count) for count in (1000, 1)))
            for contender in ("consumer", SERVER, CLIENT))
    yield "1000 tables against 1, same rows", 0.6, *many


def _bounds(parts):
    """Yields what, the goal, its unit, and what was reached."""
    goals = {"json": 1.0, "plain_json": 0.8, "avro": 0.25}
    for run in _runs(parts, "decode"):
        if run["group"] == "decode":
            what = f"decode a record of orders, {FORMATS[run['name']]}, one core"
            yield what, goals[run["name"]], "µs", run["nanos"] / 1000
    full = [run for run in _runs(parts, "throughput") if run["contender"] == ONE_LANE]
    for format, same in (("Avro", full), ("JSON", _runs(parts, "formats"))):
        peaks = [run["peak_memory"] for run in same if run["contender"] == ONE_LANE]
        if peaks:
            yield f"peak memory at full load of orders, {format}, one lane", 64, "MiB", max(peaks) / 2**20
    if full:
        starts = [run["start_seconds"] - (run["join_seconds"] or 0) for run in full]
        yield "start to first commit, without the join", 0.5, "s", statistics.median(starts)
    latencies = _runs(parts, "latency")
    bare = [run["p99"] for run in latencies if run["what"] == "insert and commit"]
    at_rate = [run["p99"] for run in latencies if (run["what"], run["rate"], run["contender"])
               == ("record to commit", HELD, ONE_LANE)]
    if bare and at_rate:
        goal = max(20, round(4 * statistics.median(bare), 1))
        yield "record to commit, 1000 a second, p99", goal, "ms", statistics.median(at_rate)


def _runs(parts, name):
    return parts[name]["runs"] if name in parts else []


def _ratio(ours, theirs):
    return ours / theirs if ours and theirs else None
