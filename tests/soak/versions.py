"""The versions of accounts: what the topic has of each key, and what the target has shown of it.

A connector that was restarted sends changes again, and the target follows it: a version may come
again and go back, but only where the records of its own key do, and no oftener.
"""

import topics
from places import NAME, TARGET, psql

TOPIC = f"{NAME}_avro.{NAME}.accounts"


def sent():
    """The versions of each key in the order of its records, which are in one partition; `None` for
    a delete."""
    found = {}
    for topic, partition in topics.ends():
        if topic != TOPIC:
            continue
        for _, _, change in topics.records(topic, partition):
            if change is not None:
                row = change["after"]
                key = (row or change["before"])["id"]
                found.setdefault(key, []).append(row and row["version"])
    return found


def written():
    """The versions of each key in the order in which the target's trigger saw them."""
    rows = psql(TARGET, """SELECT id, string_agg(version::text, ' ' ORDER BY seq)
        FROM public.written WHERE of_table = 'accounts' GROUP BY id""")
    return {int(key): [int(version) for version in versions.split()] for key, versions in rows}


def judge(sent, shown):
    """Everything that was shown of a key and that its records do not explain, a line a key.

    Both have the versions of each key in order, and `None` where its row is gone. Some of what was
    sent may be missing, because a batch folds away what it replaces itself; what was shown must be
    in the records in that order, each in a record of its own, up to the last record's version.
    """
    found = []
    for key in sorted(sent.keys() | shown.keys()):
        records = sent.get(key, [])
        rest, last = iter(records), None
        for version in shown.get(key, []):
            # Takes from the rest up to the first record that has the version.
            if version not in rest:
                found.append(f"account {key}: {reason(version, last, shown[key], records)}")
                break
            last = version
        else:
            if records and records[-1] not in (None, last):
                found.append(f"account {key}: {named(last)} came last, and {named(records[-1])} "
                             "was sent last")
    return found


def reason(version, last, shown, records):
    """Says why no record explains a version behind the last one that has its record."""
    came, was_sent = shown.count(version), records.count(version)
    if came > was_sent:
        return f"{named(version)} came {came} times, and was sent {was_sent} times"
    return f"{named(version)} came behind {named(last)}, where it was not sent"


def named(version):
    return "no row" if version is None else f"version {version}"
