"""The ratios that are held against goals, each from runs of one part."""

import statistics


def table(parts):
    """Markdown of every goal whose part was run."""
    lines = ["| what | at least | reached |", "|---|--:|--:|"]
    for what, goal, reached in _ratios(Rates(parts)):
        if reached is not None:
            mark = "" if reached >= goal else " (missed)"
            lines.append(f"| {what} | {goal:g}× | {reached:.2f}×{mark} |")
    return "\n".join(lines)


class Rates:
    def __init__(self, parts):
        self.runs = [run for part in parts.values() for run in part["runs"]]

    def of(self, contender, work, format):
        """The median rate of a contender, `None` where it has none."""
        rates = [run["rate"] for run in self.runs if (run["work"], run["format"]) == (work, format)
                 and run["contender"] == contender]
        return statistics.median(rates) if rates else None

    def best_sink(self, work, format):
        names = {run["contender"] for run in self.runs if run["contender"].startswith("sink")}
        rates = [self.of(name, work, format) for name in names]
        return max((rate for rate in rates if rate), default=None)

    def applying(self, work):
        """Changes a second within the batches' transactions, one lane."""
        rates = [run["changes"] / run["apply_seconds"] for run in self.runs
                 if (run["work"], run["format"], run["contender"]) == (work, "avro", ONE_LANE)
                 and run.get("apply_seconds")]
        return statistics.median(rates) if rates else None


ONE_LANE, TWO_LANES = "consumer, 1 lane", "consumer, 2 lanes"
SERVER = "server alone, a statement a batch"


def _ratios(rates):
    """Yields what, the goal, and what was reached."""
    against_sink = [
        ("creates, Avro, against the sink's best", 15, "creates", "avro", ONE_LANE),
        ("updates, Avro, against the sink's best", 5, "updates", "avro", ONE_LANE),
        ("the same with two lanes", 7, "updates", "avro", TWO_LANES),
        ("mix, Avro, against the sink's best", 8, "mix", "avro", ONE_LANE),
        ("creates, JSON with schemas, against the sink's best", 12, "creates", "json", ONE_LANE),
        ("insert and delete of one key, against the sink's best", 50, "alternating", "avro", ONE_LANE),
    ]
    for what, goal, work, format, contender in against_sink:
        yield what, goal, _ratio(rates.of(contender, work, format), rates.best_sink(work, format))
    for work in ("creates", "updates", "mix"):
        reached = _ratio(rates.applying(work), rates.of(SERVER, work, "none"))
        yield f"{work}, apply alone against the server's statement", 0.85, reached
    alone = rates.of("librdkafka alone", "hot", "avro")
    yield "hot keys against librdkafka alone", 0.5, _ratio(rates.of(ONE_LANE, "hot", "avro"), alone)


def _ratio(ours, theirs):
    return ours / theirs if ours and theirs else None
