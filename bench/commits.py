"""Commits one row at a time, and prints how many seconds each commit took, as a JSON list.

    commits.py URL SECONDS PAUSE

A program of its own, so that no other work of the harness stands between it and its answers.
"""

import json
import sys
import time

import psycopg


def main(url, seconds, pause):
    times, end = [], time.monotonic() + float(seconds)
    with psycopg.connect(url, autocommit=True) as target:
        target.execute("CREATE TABLE IF NOT EXISTS model.bare (id bigserial PRIMARY KEY, body text)")
        while time.monotonic() < end:
            begin = time.perf_counter()
            target.execute("INSERT INTO model.bare (body) VALUES ('a row')")
            times.append(time.perf_counter() - begin)
            time.sleep(float(pause))
    print(json.dumps(times))


if __name__ == "__main__":
    main(*sys.argv[1:])
