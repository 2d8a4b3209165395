"""What a member's memory is: the heap at its peak by who asked for it, by valgrind's massif."""

import collections
import re

from contenders import Consumer
from places import SCRATCH

# So many places are named; what has less says little.
NAMED = 10


class Weighed(Consumer):
    """The consumer in valgrind, which is so slow that its batches must be allowed to fill."""

    patience = 120
    file = SCRATCH / "massif"
    # Its threads take turns, or batches would never be full.
    prefix = ("valgrind", "--fair-sched=yes", "--tool=massif", "--detailed-freq=1",
              f"--massif-out-file={file}")

    def __init__(self, name):
        super().__init__(name, "--batch-age", "1m")
        self.found = {}

    def extra(self):
        # The file is written when it ends, and what was measured is a dictionary of this one.
        return super().extra() | {"heap": self.found}

    def stop(self):
        super().stop()
        if self.file.exists():
            self.found |= peak(self.file.read_text().splitlines())
            self.file.unlink()


def peak(lines):
    """Bytes of the heap at its peak, and of whom: the first of our own functions above each, or of
    librdkafka's."""
    lines = iter(lines)
    heap = 0
    for line in lines:
        if line.startswith("mem_heap_B="):
            heap = int(line.partition("=")[2])
        if line == "heap_tree=peak":
            break
    owners = collections.Counter()
    for size, names in _leaves(lines):
        owners[next(filter(None, map(_owner, names)), "others")] += size
    return {"heap": heap, "owners": dict(owners.most_common(NAMED))}


def _leaves(lines):
    """Yields each way to an allocation: its bytes, and functions from the allocation upwards."""
    path = []
    for line in lines:
        node = re.match(r"( *)n(\d+): (\d+) (?:0x\w+: )?(.*)", line)
        if node is None:
            return
        depth, callers = len(node[1]), int(node[2])
        del path[depth:]
        path.append(node[4])
        if callers == 0:
            yield int(node[3]), path


def _owner(name):
    if "sqlx_postgres::message" in name:
        return "sqlx: messages to the server"
    found = re.match(r"<?(afterimage::[\w:]+|rd_kafka_\w+)", name)
    # How a statement is sent says nothing of what it carries.
    return found[1].removesuffix("::") if found and "::session::" not in name else None
