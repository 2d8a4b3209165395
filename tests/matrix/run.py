#!/usr/bin/env python3
"""The matrix: every type, mode and format through the real stack, judged by what both sides print.

    run.py --consumer PROGRAM [--write] [--keep]
    run.py --consumer PROGRAM [--source postgres|mariadb] [--only RUN]... [--case TABLE]... [--keep]

Sends the cases of postgres.toml and mariadb.toml from their databases through connectors of its
own, lets the consumer apply them, and compares. Exit status: 0 as good as MATRIX.md or better,
1 worse or wrong. With --write the outcome becomes MATRIX.md. The stack must be up.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import cases
import connectors
import databases
import judge
import report
import runs
import wire

CONSUMERS_AT_ONCE = 2


def main():
    options = arguments()
    targets = {
        "postgres": databases.Postgres(os.environ["TARGET_DATABASE_URL"], os.environ["TARGET_ADMIN_URL"]),
        "sqlite": databases.Sqlite(pathlib.Path(os.environ["MATRIX_LOGS"])),
    }
    results, remarks = [], []
    for name in options.source:
        some, setup = cases.load(name)
        remarks += setup["remarks"]
        some = [case for case in some if not options.case or case.table in options.case]
        source = source_of(name)
        source.create(setup)
        for target in targets.values():
            target.create(cases.load("postgres")[1])
        for wave in runs.waves(name, options.only):
            say(f"{name}: {', '.join(run.name for run in wave)}")
            results += run_wave(wave, some, source, targets)
        if not options.keep:
            for database in [source, *targets.values()]:
                database.drop()
    return conclude(options, results, report.render(results, remarks))


def arguments():
    parser = argparse.ArgumentParser(description="Every type, mode and format through the stack.")
    parser.add_argument("--write", action="store_true", help="make the outcome MATRIX.md")
    parser.add_argument("--keep", action="store_true", help="leave the databases for a look")
    parser.add_argument("--source", action="append", choices=list(runs.DEFAULTS))
    parser.add_argument("--only", action="append", metavar="RUN")
    parser.add_argument("--case", action="append", metavar="TABLE")
    parser.add_argument("--consumer", required=True, metavar="PROGRAM")
    options = parser.parse_args()
    options.part = bool(options.source or options.only or options.case)
    if options.write and options.part:
        parser.error("--write is for a whole run")
    options.source = options.source or list(runs.DEFAULTS)
    os.environ["CONSUMER"] = options.consumer
    return options


def source_of(name):
    if name == "postgres":
        return databases.Postgres(os.environ["SOURCE_DATABASE_URL"], os.environ["SOURCE_ADMIN_URL"])
    return databases.MariaDb(os.environ["MARIADB_SOCKET"])


def run_wave(wave, some, source, targets):
    """The outcomes of some runs, whose connectors all read the same rows."""
    wave = [run for run in wave if any(run.takes(case) for case in some)]
    concerned = [case for case in some if any(run.takes(case) for run in wave)]
    if not concerned:
        return []
    by_connector = {run.connector: run for run in wave}
    configs = [
        connectors.config(run, [case for case in some if run.takes(case)], number)
        for number, run in enumerate(by_connector.values())
    ]
    names = list(by_connector)
    connectors.drop(configs)
    try:
        source.fill(concerned)
        say(f"  {len(concerned)} tables filled")
        reads = connectors.expected(wave, some, lambda case, modes: cases.reads(case))
        connectors.create_topics(reads)
        connectors.start(configs)
        connectors.await_records(reads, names)
        say("  snapshots sent")
        source.change(concerned)
        connectors.await_records(connectors.expected(wave, some, cases.records), names)
        say("  changes sent")
        ours = source.read("matrix", concerned)
        apply(wave, some, targets)
        say("  applied")
        records = {it.connector: wire.rows(topics(it, some)) for it in by_connector.values()}
        return [
            result
            for run in wave
            for result in outcomes(run, some, ours, arrived(run, some, targets, records))
        ]
    finally:
        connectors.drop(configs)
        connectors.forget_groups(run.name for run in wave)


def apply(wave, some, targets):
    """A consumer for each run, to the end of what there is."""
    waiting, running = list(wave), []
    while waiting or running:
        while waiting and len(running) < CONSUMERS_AT_ONCE:
            run = waiting.pop(0)
            target = targets[run.engine]
            if run.prepared:
                target.prepare(run.name, [case for case in some if run.takes(case)], run.modes)
            running.append((run, consume(run, target)))
        for run, process in list(running):
            if process.poll() is None:
                continue
            running.remove((run, process))
            if process.returncode not in (0, 1):
                raise SystemExit(f"the consumer of {run.name} ended with {process.returncode},"
                                 f" see {log_of(run)}")
        time.sleep(0.1)


def consume(run, target):
    folder = log_of(run).parent
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / f"{run.name}.toml"
    modes = {name: mode for name, mode in run.modes.items() if name.endswith((".mode", ".digits"))}
    keys = "".join(f"{name.replace('.', '_')} = {json.dumps(mode)}\n" for name, mode in modes.items())
    config.write_text(f'[source."{run.connector}"]\n{keys}')
    command = [
        os.environ["CONSUMER"], "run", "--config", config, "--until-caught-up",
        "--group", run.name, "--sink", run.name, "--topics", f"^{run.connector}\\.matrix\\..*",
        "--table", f"matrix.*={run.name}.{{table}}", "--target", target.url_of(run.name), "--http", "off",
    ]
    with open(log_of(run), "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def log_of(run):
    return pathlib.Path(os.environ["MATRIX_LOGS"]) / f"{run.name}.log"


def topics(run, some):
    return [run.topic(case) for case in some if run.takes(case)]


def arrived(run, some, targets, records):
    target, letters = targets[run.engine], {}
    for topic, key, reason, error in target.dead_letters(run.name):
        by_key = letters.setdefault(topic, {})
        by_key.setdefault(wire.key_id(key), []).append((reason, error))
    return judge.Arrived(
        tables=target.read(run.name, [case for case in some if run.takes(case)]),
        letters=letters,
        stopped=target.stopped(run.name),
        records=records[run.connector],
        equal=target.judge(run.modes),
    )


def outcomes(run, some, ours, theirs):
    taken = [case for case in some if run.takes(case)]
    for case, found in judge.judge(run, taken, ours, theirs):
        yield run, case, found
    for case in some:
        if run.concerns(case) and not run.takes(case):
            yield run, case, "the connector ends"


def conclude(options, results, text):
    wrong = [
        f"{run.name} {case.name} {value}: {outcome.detail}"
        for run, case, found in results
        if not isinstance(found, str)
        for value, outcome in found.items()
        if outcome.kind == "wrong"
    ]
    for line in wrong:
        print(f"WRONG {line}")
    problems, records = [], report.records_of(results)
    if options.write:
        report.FILE.write_text(text)
        report.RECORDS.write_text(records)
        say(f"written: {report.FILE}")
    else:
        (pathlib.Path(os.environ["MATRIX_LOGS"]) / "MATRIX.md").write_text(text)
        records = report.RECORDS.read_text() if report.RECORDS.exists() else ""
        committed = report.FILE.read_text() if report.FILE.exists() else ""
        problems = report.worse(committed, text, whole=not options.part)
        for line in problems:
            print(f"WORSE {line}")
    unshown = report.unshown(results, records)
    for line in unshown:
        print(f"UNSHOWN {line}")
    cells = sum(1 for _, _, found in results if not isinstance(found, str))
    values = sum(len(found) for _, _, found in results if not isinstance(found, str))
    print(f"matrix: {cells} cells, {values} values, {len(wrong)} wrong, {len(problems)} worse,"
          f" {len(unshown)} lost but not shown")
    return 1 if wrong or problems or unshown else 0


STARTED = time.time()


def say(text):
    print(f"{time.time() - STARTED:5.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
