"""What was measured, as a page: keeps the runs of each part, and writes RESULTS.md of all of them."""

import collections
import datetime
import json
import os
import pathlib
import platform
import re
import statistics

import charts
import goals
from places import ROOT, TARGET_SERVER, connect, output
from records import FORMATS

RESULTS = ROOT / "bench" / "results"
TITLES = {
    "throughput": "Creates, updates and a mix in Avro",
    "formats": "The same as JSON",
    "shapes": "Other work in Avro",
    "latency": "How long a record takes",
    "growth": "With more of one thing",
    "distance": "With the target some way off",
    "joining": "A member that joins",
    "decode": "Decode, encode and fold in memory",
    "instructions": "Instructions of decoding a record",
    "guard": "The row guard",
    "profile": "What bounds it",
}


def keep(folder, part, runs, bench, minutes):
    """Writes the runs of a part, with what they were made by."""
    folder.mkdir(parents=True, exist_ok=True)
    is_changed = bool(output("git", "status", "--porcelain", "--", "src", "Cargo.lock"))
    document = {
        "part": part,
        "commit": output("git", "rev-parse", "--short", "HEAD") + (" and changes" if is_changed else ""),
        "at": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "command": "make bench-short" if bench.is_short else f"make bench PART={part}",
        "rounds": bench.rounds,
        "minutes": round(minutes, 1),
        "machine": machine(),
        "left_out": bench.left_out,
        "runs": runs,
    }
    text = json.dumps(document, indent=1)
    (folder / f"{part}.json").write_text(text + "\n")


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    with connect(TARGET_SERVER) as server:
        postgres = server.execute("SHOW server_version").fetchone()[0]
    versions = ROOT / "scripts" / "versions.env"
    pinned = dict(re.findall(r"^(\w+)_VERSION=(.*)$", versions.read_text(), re.M))
    lock = re.search(r'name = "rdkafka-sys"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text())
    return {
        "cores": os.cpu_count(), "processor": cpu[1] if cpu else platform.machine(),
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB", "system": platform.platform(),
        "PostgreSQL": postgres, "Kafka": pinned["KAFKA"],
        "Debezium": pinned["DEBEZIUM_POSTGRES"], "JDBC sink": pinned["DEBEZIUM_JDBC"],
        "rdkafka-sys": lock[1],
    }


def read(folder):
    """Returns the parts that are kept there, by their names."""
    files = {name: folder / f"{name}.json" for name in TITLES}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def write(folder):
    """Writes the page and its charts, and returns the table of goals."""
    parts = read(folder)
    table = goals.table(parts)
    page = [
        "# What was measured\n",
        "Written by `make bench`; each part names the commit it was measured at.",
        "Rates are changes a second from the first commit to the last, medians of the rounds with the"
        " lowest and the highest.",
        "Every run ended with a comparison of the target with what the generator says; one that was"
        " not equal is not here.",
        "",
        "A backlog is records that Debezium's own connector wrote, captured and multiplied with new keys"
        " and values, in three partitions and with as many records in a batch as Connect writes of a backlog;"
        " many tables come one behind the other, as from a snapshot.",
        "The first and the last commit are seen at the target, by rows that stand at the edges of each"
        " partition; what the consumer's first commit had is not counted, while the sink's is, of some percent.",
        "All contenders of a round read the same records into fresh tables of the same definition;"
        " the sink reads a prefix of them, with which each contender has warmed up, in a worker of its own"
        " that stays warm, and the Kafka client alone as many as its line says.",
        "The consumer has its shipped defaults, but for what a row is about; lanes, members and batch rows"
        " have one run of them in common.",
        "One round alone have what grows, but for one table and a thousand, the sink's defaults and its"
        " latencies, and with these the client that only reads.\n",
        "## Against the goals\n",
        "Beside them what one connection of the server makes of the same rows when they are there already:"
        " the fastest of COPY, one statement, and a statement for each batch. Only folding the changes of a"
        " key before they are written, as for the mix, can go beyond it. And what one Kafka client makes that"
        " reads the first of the same records and does nothing: no member goes beyond that. For many tables both"
        " are against themselves with one.\n",
        table,
    ]
    for name, part in parts.items():
        page += _part(folder, name, part)
    home = folder.parent if folder == RESULTS else folder
    (home / "RESULTS.md").write_text("\n".join(page).rstrip() + "\n")
    return table


def _part(folder, name, part):
    machine = ", ".join(f"{key} {value}" for key, value in part["machine"].items())
    lines = [
        f"\n## {TITLES[name]}\n",
        f"`{part['command']}` at commit {part['commit']}, {part['at']}, {part['rounds']} rounds, "
        f"{part['minutes']} minutes.",
        f"Machine: {machine}; broker, databases and contenders share its cores.\n",
    ]
    lines += TABLES.get(name, _backlogs)(folder, name, part["runs"])
    if part["left_out"]:
        lines.append("No figures:\n")
        lines += [f"- {it['contender']}, {it['work']}, {it['format']}: {it['reason']}"
                  for it in part["left_out"]]
    return lines


def _backlogs(folder, name, runs):
    for (work, format), same in _grouped(runs, "work", "format"):
        yield f"### {work}, {format}\n"
        yield from _throughput(same)
        chart = charts.bars(folder / f"{name}-{work}-{format}.svg", f"{work}, {format}", rates(same))
        yield "\n" + _image(folder, chart)


def _image(folder, chart):
    return f"![{chart.stem}]({'results/' if folder == RESULTS else ''}{chart.name})\n"


def _growth(folder, name, runs):
    """A table and a chart for each thing that grows."""
    for (factor,), same in _grouped(runs, "factor"):
        yield f"### {factor}\n"
        yield f"| work | contender | {factor} | changes/s | lowest to highest | peak MiB of a member |"
        yield "|---|---|--:|--:|---|--:|"
        series = collections.defaultdict(list)
        for (work, contender, value), rounds in _grouped(same, "work", "contender", "value"):
            spread = [run["rate"] for run in rounds]
            peaks = [run["peak_memory"] / 2**20 for run in rounds if "peak_memory" in run]
            memory = f"{max(peaks):.0f}" if peaks else ""
            joined = [run["join_to_commit_seconds"] for run in rounds if run.get("join_to_commit_seconds")]
            yield (f"| {work} | {contender} | {value} | {statistics.median(spread):,.0f} |"
                   f" {min(spread):,} to {max(spread):,} | {memory} |")
            if joined:
                yield f"\nFrom a member's start to its first commit: {statistics.median(joined):.1f} s," \
                    f" {min(joined):.1f} to {max(joined):.1f}."
            if value != "none":
                series[contender].append((str(value), statistics.median(spread)))
        if max(len(pairs) for pairs in series.values()) > 1:
            file = folder / f"{name}-{factor.split(',')[0].replace(' ', '-')}.svg"
            yield "\n" + _image(folder, charts.lines(file, factor, series, (factor, "changes a second")))
        else:
            yield ""


def _latency(folder, name, runs):
    yield ("A client that only reads, in Python, notes when each record comes, by the records' own"
           " milliseconds: about what producer, broker and client take. How busy the cores are is with all that"
           " runs, the harness too, from the first record on.\n")
    yield "| what | rate, 1/s | contender | p50 ms | p99 ms | max ms | rows of a round |" \
        " a batch, from its order to its answer, mean ms | cores busy |"
    yield "|---|--:|---|--:|--:|--:|--:|--:|--:|"
    series = collections.defaultdict(list)
    for (what, rate, contender), rounds in _grouped(runs, "what", "rate", "contender"):
        p50, p99 = (statistics.median(run[it] for run in rounds) for it in ("p50", "p99"))
        worst = max(run["max"] for run in rounds)
        batch = _median([run["apply_seconds"] / run["batches"] * 1000 for run in rounds if run.get("batches")])
        busy = _median([run["cores_busy"] * 100 for run in rounds if "cores_busy" in run], " %")
        yield (f"| {what} | {rate or ''} | {contender} | {p50:.1f} | {p99:.1f} | {worst:.1f} |"
               f" {rounds[0]['rows']:,} | {batch} | {busy} |")
        if what == "record to commit":
            series[f"{contender}, p99"].append((str(rate), p99))
    chart = charts.lines(folder / f"{name}.svg", "record to commit", series, ("records a second", "ms"))
    yield "\n" + _image(folder, chart)


def _median(values, unit=""):
    """As text, which is empty where there are none."""
    return f"{statistics.median(values):.1f}{unit}" if values else ""


def _decode(_folder, _name, runs):
    yield "| what | of | ns | 95 % |\n|---|---|--:|---|"
    for run in runs:
        yield f"| {run['group']} | {run['name']} | {run['nanos']:,} | {run['from']:,} to {run['to']:,} |"


def _instructions(_folder, _name, runs):
    yield "| format | instructions a record |\n|---|--:|"
    for run in runs:
        yield f"| {FORMATS[run['format']]} | {run['instructions']:,} |"
    for run in runs:
        yield f"\n| of {FORMATS[run['format']]}, in | instructions |\n|---|--:|"
        yield from (f"| `{name}` | {count:,} |" for name, count in run.get("functions", {}).items())


def _profile(_folder, _name, runs):
    """Of each work and contender the round in the middle, and the heap where it was looked at."""
    groups = _grouped((run for run in runs if "whose" in run), "work", "format", "contender")
    medians = {names: _middle(same) for names, same in groups}
    yield ("While perf looked on: what a change costs each in microseconds of a core, how busy both cores were"
           " with whatever runs, and for how much of the time a connection was within a batch's transaction.\n")
    yield "| work | contender | changes/s | consumer | target | broker | cores busy | in transactions |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for (work, format, contender), run in medians.items():
        each = [f"{run['cpu_seconds'][whose] / run['changes'] * 1e6:.2f}"
                for whose in ("consumer", "target", "broker")]
        within = run["apply_seconds"] / run["seconds"]
        yield (f"| {work}, {format} | {contender} | {run['rate']:,} | {' | '.join(each)} |"
               f" {100 - run['whose'].get('idle', 0):.0f} % | {within:.0%} |")
    yield ""
    for (work, format, contender), median in medians.items():
        yield f"### {work}, {format}, {contender}\n"
        for title, part in (("who runs", "whose"), ("in the consumer", "functions")):
            yield f"| {title} | % of both cores |\n|---|--:|"
            yield from (f"| {name} | {share:.1f} |" for name, share in median[part].items())
            yield ""
    for run in (run for run in runs if run.get("heap")):
        yield f"### {run['work']}, memory\n"
        yield (f"The heap at its peak, {run['heap']['heap'] / 2**20:.1f} MiB, by who asked for it, with what"
               " buffers have in reserve; the program's own code, stacks and gaps come to it.\n")
        yield "| asked for by | MiB |\n|---|--:|"
        yield from (f"| {name} | {size / 2**20:.1f} |" for name, size in run["heap"]["owners"].items())
        yield ""


def _throughput(runs):
    yield "| contender | changes/s | lowest to highest | changes | s | CPU s | peak MiB |" \
        " WAL bytes a change | transactions | start to first commit, s |"
    yield "|---|--:|---|--:|--:|---|--:|--:|--:|--:|"
    for (contender,), same in _grouped(runs, "contender"):
        spread = [run["rate"] for run in same]
        median = _middle(same)
        cpu = ", ".join(f"{name} {used:.1f}" for name, used in median.get("cpu_seconds", {}).items())
        memory = wal = ""
        if "wal_bytes" in median:
            memory = f"{max(run['peak_memory'] for run in same) / 2**20:.0f}"
            wal = f"{median['wal_bytes'] / median['changes']:.0f}"
        yield (
            f"| {contender} | {statistics.median(spread):,.0f} | {min(spread):,} to {max(spread):,} |"
            f" {median['changes']:,} | {median['seconds']:.1f} | {cpu} | {memory} | {wal} |"
            f" {median.get('transactions', '')} | {median.get('start_seconds', '')} |")


def rates(runs):
    """Medians by contender, with the lowest and the highest."""
    found = {}
    for (contender,), same in _grouped(runs, "contender"):
        spread = [run["rate"] for run in same]
        found[contender] = (statistics.median(spread), min(spread), max(spread))
    return found


# How the runs of a part are shown, where they are not of backlogs.
TABLES = {"latency": _latency, "growth": _growth, "distance": _growth, "joining": _growth,
          "decode": _decode, "instructions": _instructions, "profile": _profile}


def _middle(runs):
    return sorted(runs, key=lambda run: run["rate"])[len(runs) // 2]


def _grouped(runs, *names):
    groups = collections.defaultdict(list)
    for run in runs:
        groups[tuple(run[name] for name in names)].append(run)
    return groups.items()
