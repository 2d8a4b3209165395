"""The parts in memory: criterion's times, and callgrind's counts, which no noise moves."""

import json
import os
import re
import subprocess

from places import PROGRAMS, ROOT
from records import FORMATS

# Two counts, so that what comes before the first record goes out of the difference.
COUNTS = (1_000, 11_000)


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
    """Instructions of decoding a record of `orders`."""
    for format in FORMATS:
        few, many = (_counted(format, count) for count in COUNTS)
        counted = round((many - few) / (COUNTS[1] - COUNTS[0]))
        bench.say(f"  {format}: {counted:,} instructions a record")
        yield {"format": format, "instructions": counted}


def _counted(format, count):
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={os.devnull}",
               PROGRAMS / "examples" / "instructions", format, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(re.search(r"Collected : (\d+)", done.stderr)[1])
