"""Dead letters at the end: which of them only a connector's repetition has made.

A connector that was restarted sends changes again. A repeated update that lacks a long value, of a row
whose delete was applied before, finds no row to keep it from: the record is refused, as it must be,
and nothing is lost, for its delete follows again.
"""

import topics
from places import TARGET, psql

REPEATED = "unavailable_without_row"


def judge():
    """The letters that nothing explains, a line each, and how many were of repetitions."""
    unexplained, may_be_repeated = [], {}
    rows = psql(TARGET, """SELECT topic, "partition", record_offset, reason, coalesce(error, '')
        FROM afterimage.dead_letter""")
    for topic, partition, offset, reason, error in rows:
        if reason == REPEATED:
            may_be_repeated.setdefault((topic, int(partition)), set()).add(int(offset))
        else:
            unexplained.append(f"dead letter: {topic}[{partition}] at {offset}: {reason} {error}")
    count = 0
    for (topic, partition), offsets in may_be_repeated.items():
        first = first_times(topic, partition, offsets)
        count += len(offsets) - len(first)
        unexplained += [f"dead letter: {topic}[{partition}] at {offset}: {REPEATED}, and it came once"
                        for offset in sorted(first)]
    return unexplained, count


def first_times(topic, partition, offsets):
    """Those of the offsets whose change, by its key and place, was not sent before."""
    seen, first, last = set(), set(), max(offsets)
    for offset, key, envelope in topics.records(topic, partition):
        if envelope is not None:
            change = key, envelope["source"]["lsn"]
            if offset in offsets and change not in seen:
                first.add(offset)
            seen.add(change)
        if offset >= last:
            break
    return first
