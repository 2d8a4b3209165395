"""The parts in memory: criterion's times, and callgrind's counts, which no noise moves."""

import collections
import json
import re
import subprocess

from places import PROGRAMS, ROOT, SCRATCH
from records import FORMATS

# Two counts, so that what comes before the first record goes out of the difference.
COUNTS = (1_000, 11_000)
# So many functions are named.
NAMED = 10


def decode(bench):
    """Decode, encode and fold, a record or a value each."""
    options = ["--quick"] if bench.is_short else []
    command = ["cargo", "bench", "--bench", "micro", "--", "--noplot", *options]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for file in sorted((PROGRAMS.parent / "criterion").glob("*/*/new/benchmark.json")):
        what = json.loads(file.read_text())
        estimates = json.loads((file.parent / "estimates.json").read_text())
        elements = (what["throughput"] or {}).get("Elements", 1)
        median = estimates["median"]
        spread = median["confidence_interval"]
        yield {
            "group": what["group_id"], "name": what["function_id"],
            "nanos": round(median["point_estimate"] / elements, 1),
            "from": round(spread["lower_bound"] / elements, 1),
            "to": round(spread["upper_bound"] / elements, 1),
        }


def instructions(bench):
    """Instructions of decoding a record of `orders`, and the functions that most of them are in."""
    for format in FORMATS:
        few, many = (_counted(format, count) for count in COUNTS)
        each = {name: (cost - few.get(name, 0)) / (COUNTS[1] - COUNTS[0]) for name, cost in many.items()}
        counted = round(sum(each.values()))
        bench.say(f"  {format}: {counted:,} instructions a record")
        most = sorted(each, key=each.get, reverse=True)[:NAMED]
        yield {"format": format, "instructions": counted,
               "functions": {name: round(each[name]) for name in most}}


def _counted(format, count):
    kept = SCRATCH / "callgrind.out"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={kept}",
               PROGRAMS / "examples" / "instructions", format, str(count)]
    subprocess.run(command, check=True, capture_output=True)
    with kept.open(errors="replace") as lines:
        return own_costs(lines)


def own_costs(lines):
    """What each function has cost itself, by a file of callgrind's
    (https://valgrind.org/docs/manual/cl-format.html): the line behind `calls=` is another's."""
    names, costs, current, is_calls = {}, collections.Counter(), None, False
    for line in lines:
        if found := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line):
            is_callee, id, name = found.groups()
            names.setdefault(id, name)
            current = current if is_callee else id
        elif line.startswith("calls="):
            is_calls = True
        elif found := re.match(r"[+\-*\d]\S* (\d+)$", line):
            costs[names.get(current)] += 0 if is_calls else int(found[1])
            is_calls = False
    return costs
