#!/usr/bin/env python3
"""The soak: load for some minutes while everything goes wrong, then a comparison.

    soak.py --consumer PROGRAM --minutes N [--seed N] [--report FILE]

Three members of one group carry two tables while members are killed, frozen and stopped, and broker,
target, registry and connectors are restarted, or away for a minute. Then source and target are
compared by tests/compare.py, which shares no code with the consumer, and all versions of rows that
the target has shown with the records that brought them. Exit status: 0 equal, 1 not. The stack must
be up, and nothing else may use it.
"""

import argparse
import pathlib
import random
import re
import subprocess
import sys
import time

import checks
import connectors
import letters
import load
from faults import Faults
from members import MEMORY_MIB_MAX, Member
from places import ROOT

MEMBERS = 3
# How long all may take to arrive once nothing goes wrong any more.
CATCH_UP = 600


def main():
    options = arguments()
    say(f"seed {options.seed}")
    folder = pathlib.Path(options.logs)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.log"):
        old.unlink()
    connectors.drop()
    load.create()
    checks.create()
    connectors.create()
    members = [Member(number, options.consumer, folder) for number in range(MEMBERS)]
    for member in members:
        member.start()
    begun, writing, watcher = time.time(), load.Load(), checks.Watcher()
    faults = Faults(members, options.seed)
    try:
        faults.run(begun + options.minutes * 60, say)
        writing.stop()
        say("all is well again: waits for the rest")
        load.mark()
        checks.until_passed(time.time() + CATCH_UP)
        watcher.stop()
        statuses = [member.terminate() for member in members]
    finally:
        for member in members:
            if member.ended() is None:
                member.kill()
    found = watcher.violations + checks.differences(watcher.versions)
    found += [f"a member ended with {status}" for status in statuses if status != 0]
    found += [f"{member.label} had {member.memory_mib} MiB resident, and {MEMORY_MIB_MAX} are the bound"
              for member in members if member.memory_mib > MEMORY_MIB_MAX]
    report = describe(options, (faults, writing, watcher), members, found)
    print(report)
    if options.report:
        pathlib.Path(options.report).write_text(report)
    if not found:
        connectors.drop()
        load.drop()
        checks.drop()
    return 1 if found else 0


def arguments():
    parser = argparse.ArgumentParser(description="Load while everything goes wrong, then a comparison.")
    parser.add_argument("--consumer", required=True, metavar="PROGRAM")
    parser.add_argument("--minutes", required=True, type=float)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--logs", required=True, metavar="FOLDER")
    parser.add_argument("--report", metavar="FILE")
    return parser.parse_args()


def describe(options, run, members, found):
    faults, writing, watcher = run
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True).stdout.strip()
    # One that brings nothing, or that waits for its claims, is not one more.
    assigned = re.compile(r": assigned count=[1-9]")
    rebalances = sum(len(assigned.findall(member.log.read_text())) for member in members)
    lines = [
        "# Soak", "",
        f"Written by `make soak MINUTES={options.minutes:g}` at commit {commit}, seed {options.seed}.",
        "", "| what | how often |", "| --- | --- |",
    ]
    kills = sum(faults.kills_by_phase.values())
    lines.append(f"| kill -9 of a member that had applied records | {kills} |")
    for phase, count in faults.kills_by_phase.most_common():
        lines.append(f"| of them {phase} | {count} |")
    for fault, count in faults.counts.most_common():
        if fault != "kill":
            lines.append(f"| {fault} | {count} |")
    for name, count in faults.outages_by_service.most_common():
        lines.append(f"| long outages that were of the {name} | {count} |")
    memory = max(member.memory_mib for member in members)
    lines += [
        f"| assignments of partitions to members | {rebalances} |",
        f"| turns of the load | {writing.turns} |",
        f"| writes of rows at the target | {checks.written()} |",
        f"| records that connectors sent twice | {checks.repeats()} |",
        f"| of them refused, because their row was gone | {letters.judge()[1]} |",
        f"| snapshots of the target in which rows and checkpoint were compared | {watcher.snapshots} |",
        f"| versions of rows that they showed | {sum(map(len, watcher.versions.values()))} |",
        f"| MiB that a member had resident, at the most ({MEMORY_MIB_MAX} are the bound) | {memory} |",
        f"| differences | {len(found)} |",
    ]
    return "\n".join(lines + [""] + [f"- {line}" for line in found[:100]]) + "\n"


STARTED = time.time()


def say(text):
    print(f"{time.time() - STARTED:5.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
