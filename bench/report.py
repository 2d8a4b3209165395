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

RESULTS = ROOT / "bench" / "results"
TITLES = {
    "throughput": "Creates, updates and a mix in Avro",
    "formats": "The same as JSON",
    "shapes": "Other work in Avro",
}


def keep(folder, part, runs, bench):
    """Writes the runs of a part, with what they were made by."""
    folder.mkdir(parents=True, exist_ok=True)
    is_changed = bool(output("git", "status", "--porcelain", "--", "src", "Cargo.lock"))
    document = {
        "part": part,
        "commit": output("git", "rev-parse", "--short", "HEAD") + (" and changes" if is_changed else ""),
        "at": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "command": f"make bench-short" if bench.is_short else f"make bench PART={part}",
        "rounds": bench.rounds,
        "machine": machine(),
        "failures": bench.failures,
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


def write(folder):
    """Writes the page and its charts, and returns the table of goals."""
    parts = {name: json.loads((folder / f"{name}.json").read_text()) for name in TITLES
             if (folder / f"{name}.json").exists()}
    table = goals.table(parts)
    page = [
        "# What was measured\n",
        "Written by `make bench`; each part names the commit it was measured at.",
        "Rates are changes a second from the first commit to the last, medians of the rounds with the"
        " lowest and the highest.",
        "Every run ended with a comparison of the target with what the generator says; one that was"
        " not equal is not here.\n",
        "## Against the goals\n", table,
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
        f"`{part['command']}` at commit {part['commit']}, {part['at']}, {part['rounds']} rounds.",
        f"Machine: {machine}; broker, databases and contenders share its cores.\n",
    ]
    for (work, format), runs in _grouped(part["runs"], "work", "format"):
        lines += [f"### {work}, {format}\n", *_throughput(runs), ""]
        chart = charts.bars(folder / f"{name}-{work}-{format}.svg", f"{work}, {format}", rates(runs))
        lines += [f"![{work}, {format}]({'results/' if folder == RESULTS else ''}{chart.name})\n"]
    if part["failures"]:
        lines.append("No result:\n")
        lines += [f"- {it['contender']}, {it['work']}, {it['format']}: {it['reason']}"
                  for it in part["failures"]]
    return lines


def _throughput(runs):
    yield "| contender | changes/s | lowest to highest | changes | s | CPU s | peak MiB |" \
        " WAL bytes a change | transactions | start to first commit, s |"
    yield "|---|--:|---|--:|--:|---|--:|--:|--:|--:|"
    for (contender,), same in _grouped(runs, "contender"):
        spread = [run["rate"] for run in same]
        median = sorted(same, key=lambda run: run["rate"])[len(same) // 2]
        cpu = ", ".join(f"{name} {used:.1f}" for name, used in median.get("cpu_seconds", {}).items())
        memory = max(run.get("peak_memory", 0) for run in same) / 2**20
        wal = median.get("wal_bytes", 0) / median["changes"]
        yield (
            f"| {contender} | {statistics.median(spread):,.0f} | {min(spread):,} to {max(spread):,} |"
            f" {median['changes']:,} | {median['seconds']:.1f} | {cpu} | {memory:.0f} | {wal:.0f} |"
            f" {median.get('transactions', '')} | {median.get('start_seconds', '')} |")


def rates(runs):
    """Medians by contender, with the lowest and the highest."""
    found = {}
    for (contender,), same in _grouped(runs, "contender"):
        spread = [run["rate"] for run in same]
        found[contender] = (statistics.median(spread), min(spread), max(spread))
    return found


def _grouped(runs, *names):
    groups = collections.defaultdict(list)
    for run in runs:
        groups[tuple(run[name] for name in names)].append(run)
    return groups.items()
