#!/usr/bin/env python3
"""Mutates the fence's SQL, one condition at a time, and says which tests fall.

mutants_sql.py BINARY SQL_FILE TEST_FILTER…: a built test binary, the source of its statements, and
the tests to run. The text is changed in a copy of the binary, at its length: a build for each
condition would take hours. Prints a line of MUTANTS.md for each; exit status 1 where no test falls.
"""

import os
import re
import subprocess
import sys
import tempfile

CONSTANT = re.compile(r'const ([A-Z_]+): &str\s*=\s*(?:r#)?"(.*?)"#?;', re.S)
TERM = r"""[\w."$?]+(?:\([^()]*\))?"""
COMPARISON = re.compile(
    rf"""(?P<left>{TERM})\s(?P<op>=|<>|<=|>=|<|>)\s"""
    rf"""(?P<right>ANY \([^()]*\)|{TERM}(?: - interval '[^']*')?)"""
)
# What stands before a condition, and never before what SET assigns.
BEFORE = re.compile(r"(WHERE|AND|OR|ON|WHEN|\()\s*$")
ALTERNATIVE = re.compile(r"(?P<test>[\w.]+ IS NULL) OR|OR (?P<last>[\w.]+ IS NULL)")
REVERSED = {"=": "<>", "<>": "=", "<=": ">", ">=": "<", "<": ">=", ">": "<="}
SECONDS_MAX = 300


def main():
    binary, source, *filters = sys.argv[1:]
    with open(binary, "rb") as file:
        image = file.read()
    survivors = 0
    # What is dropped first: it says more.
    every = sorted(mutants(open(source).read()), key=lambda mutant: mutant[2])
    for name, condition, what, before, after in every:
        if before not in image:
            print(f"| `{name}` | `{condition}` | {what} | not run by these tests |", flush=True)
            continue
        fallen = fallen_tests(image.replace(before, after), filters)
        survivors += not fallen
        shown = ", ".join(f"`{test}`" for test in fallen[:2]) or "**none**"
        more = f" and {len(fallen) - 2} more" if len(fallen) > 2 else ""
        print(f"| `{name}` | `{condition}` | {what} | {shown}{more} |", flush=True)
    sys.exit(1 if survivors else 0)


def mutants(source):
    """Yields constant, condition, what is done to it, and the statement's bytes before and after."""
    for name, literal in CONSTANT.findall(source):
        # The literal as the compiler keeps it.
        text = re.sub(r"\\\n\s*", "", literal).replace('\\"', '"')
        for found in COMPARISON.finditer(text):
            if not BEFORE.search(text[: found.start()]):
                continue
            left, op, right = found["left"], found["op"], found["right"]
            whole = found[0]
            yield mutant(name, text, found, "reversed", f"{left}{REVERSED[op]}{right}")
            is_alternative = re.search(r"\bOR\s*$", text[: found.start()])
            nothing = "FALSE" if is_alternative else dropped(right, len(whole))
            yield mutant(name, text, found, "dropped", nothing)
        for found in ALTERNATIVE.finditer(text):
            group = "test" if found["test"] else "last"
            yield mutant(name, text, found, "dropped", "FALSE", group)


def dropped(right, length):
    """Returns a condition that always holds, and uses the same parameter where it was one."""
    if right.startswith("?"):
        return f"{right}+1"
    itself = f"{right}={right}"
    return itself if len(itself) <= length and not right.startswith("ANY") else "TRUE"


def mutant(name, text, found, what, after, group=0):
    start, end = found.span(group)
    before, after = found[group], after.ljust(end - start)
    # What a statement says twice, for the lock and for the write, goes in both places; a parameter
    # without a number is another one each time.
    once = text[:start] + after + text[end:]
    changed = text.replace(before, after) if "$" in before or "." in before else once
    assert len(changed) == len(text), (name, found[group], after)
    condition = re.sub(r"\s+", " ", found[group])
    return name, condition, what, text.encode(), changed.encode()


def fallen_tests(image, filters):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tests")
        with open(path, "wb") as file:
            file.write(image)
        os.chmod(path, 0o755)
        try:
            ran = subprocess.run([path, *filters], capture_output=True, text=True, timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return ["a test that does not end"]
    fallen = re.findall(r"^test (\S+) \.\.\. FAILED$", ran.stdout, re.M)
    if not fallen and ran.returncode != 0:
        sys.exit(f"the tests did not run: {ran.stderr[-2000:]}")
    return sorted(test.rsplit("::", 1)[-1] for test in fallen)


if __name__ == "__main__":
    main()
