"""What became of each value: right, lost by the source, refused by name, or wrong."""

import collections.abc
import dataclasses
import functools
import json
import re

import cases
import wire

KINDS = ["right", "lost", "refused", "wrong"]


@dataclasses.dataclass
class Outcome:
    """What became of one value in one way; the worst way decides about the value."""

    kind: str
    reason: str = ""
    detail: str = ""
    # The records that show that a value is lost: its own, and its twin's.
    records: list = dataclasses.field(default_factory=list)

    @property
    def rank(self):
        return KINDS.index(self.kind)


@dataclasses.dataclass
class Arrived:
    """All that a run left at the target."""

    tables: dict
    letters: dict
    stopped: dict
    records: dict
    # Whether a type's value, as equal.py names it, is what the source printed.
    equal: collections.abc.Callable


def judge(run, some, source, arrived):
    """The outcome of each value of each case."""
    sides = {case.table: Side(run, case, source, arrived) for case in some}
    for case in some:
        seen = Seen(run, sides, case, arrived)
        yield case, {value: seen.worst(value) for value in case.values}


class Side:
    """A case at its source: its rows there, and by key the last record that holds each."""

    def __init__(self, run, case, source, arrived):
        self.case, self.rows = case, source[case.table]
        self.sent, self.messages = {}, {}
        for message in arrived.records.get(run.topic(case), []):
            row = wire.after(message)
            if row is not None:
                self.sent[row["id"]], self.messages[row["id"]] = row, message


class Seen:
    """One case of a run: what the source has, what the records hold, what the target got."""

    def __init__(self, run, sides, case, arrived):
        self.run, self.sides, self.case = run, sides, case
        self.side = sides[case.table]
        self.source, self.sent = self.side.rows, self.side.sent
        self.target = arrived.tables.get(case.table, {})
        self.letters = arrived.letters.get(run.topic(case), {})
        self.stop = arrived.stopped.get(run.topic(case))
        # What was sent as a value of another type may arrive as that type has it.
        self.equal_as = lambda case: functools.partial(arrived.equal, case.target, case.equal)
        self.equal = self.equal_as(case)
        self.equal_further = functools.partial(arrived.equal, "integer", "same")

    def worst(self, value):
        outcomes = [self.outcome(value, way) for way in cases.ways(self.case)]
        return max(outcomes, key=lambda outcome: outcome.rank)

    def outcome(self, value, way):
        outcome = self.arrival(value, way)
        if outcome.kind != "wrong" or not self.is_as_before(value, way):
            return outcome
        ids = [cases.key(self.case, value, way)]
        if way == cases.MOVED:
            ids.append(cases.key(self.case, value, cases.MOVED_TO))
        letters = [letter for id in ids for letter in self.letters.get(id, [])]
        if letters:
            reason, error = letters[0]
            return Outcome("refused", reason, error)
        if self.stop:
            reason, _, detail = self.stop.partition(": ")
            return Outcome("refused", f"stopped, {reason}", detail)
        return outcome

    def is_as_before(self, value, way):
        """Whether the target has what there was before the record that was refused, or nothing."""
        id = cases.key(self.case, value, cases.MOVED_TO if way == cases.MOVED else way)
        if way == cases.DELETED or id not in self.target:
            return True
        if way not in (cases.UPDATED, cases.UNTOUCHED):
            return False
        former = cases.before_update(self.case, value) if way == cases.UPDATED else value
        text = self.source[cases.key(self.case, former, cases.READ)][self.case.column]
        return self.equal(text, self.target[id].get(self.case.column))

    def arrival(self, value, way):
        """Right, lost or wrong, as if nothing could be refused."""
        old = cases.key(self.case, value, way)
        id = cases.key(self.case, value, cases.MOVED_TO) if way == cases.MOVED else old
        how = cases.WAYS[way]
        if way == cases.DELETED:
            if self.stop or not self.target:
                return Outcome("wrong", detail=f"{how}: nothing was applied")
            return Outcome("wrong", detail=f"{how}: still there") if id in self.target else RIGHT
        if way == cases.MOVED and old in self.target:
            return Outcome("wrong", detail=f"{how}: still there under its old key")
        if id not in self.target:
            return Outcome("wrong", detail=f"{how}: not there")
        ours, theirs = self.source[id], self.target[id]
        column = self.column(theirs)
        for name in self.case.further:
            if not self.equal_further(ours[name], theirs.get(name)):
                return Outcome("wrong", detail=f"{how}: column {name} differs")
        field = self.sent.get(id, {})
        if self.case.omitted and column not in field:
            return self.not_sent(theirs.get(self.case.column), id)
        if column not in theirs:
            return Outcome("wrong", detail=f"{how}: no column {self.case.column}")
        text = ours[self.case.column]
        if self.equal(text, theirs[column]):
            if column != self.case.column:
                records = [self.side.messages[id]]
                return Outcome("lost", "JSON", f"the column's name, sent as {column}", records)
            return RIGHT
        detail = f"{how}: source {text!r}, sent {show(field.get(column))}, target {theirs[column]!r}"
        return self.lost(value, way, field.get(column), theirs[column]) or Outcome(
            "wrong", detail=detail
        )

    def column(self, row):
        """The target's name of the value's column: Avro has no others than letters, digits, _."""
        if self.case.column not in row and self.run.format == "avro":
            return re.sub(r"[^A-Za-z0-9_]", "_", self.case.column)
        return self.case.column

    def not_sent(self, target, id):
        if target is not None:
            return Outcome("wrong", detail=f"not sent, but the target has {target!r}")
        records = [self.side.messages[id]]
        return Outcome("lost", self.case.omitted, "the record has no such field", records)

    def lost(self, value, way, field, target):
        """Only where the record holds another value, and the target that one."""
        way = cases.MOVED_TO if way == cases.MOVED else way
        id = cases.key(self.case, value, way)
        for loss in self.case.losses(value, self.run.modes):
            if loss.through not in (None, f"{self.run.format} {self.run.target}"):
                continue
            records, equals = [self.side.messages[id]], [self.equal]
            if value in loss.sent:
                sent, text = loss.sent[value]
                what = "what no such value is"
            else:
                twin = loss.twins[value]
                side = self.sides.get(loss.table or self.case.table)
                twin_id = side and cases.key(side.case, twin, way)
                if side is None or twin_id not in side.messages:
                    continue
                text = side.rows[twin_id][side.case.column]
                sent = side.sent[twin_id].get(side.case.column)
                records.append(side.messages[twin_id])
                equals.append(self.equal_as(side.case))
                what = f"the same bytes as {twin}" + (f" of {side.case.name}" if loss.table else "")
            if sent == field and any(equal(text, target) for equal in equals):
                return Outcome("lost", loss.keep, f"{what}: {show(field)}", records)
        return None


RIGHT = Outcome("right")


def show(field):
    return json.dumps(field, ensure_ascii=False)
