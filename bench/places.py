"""Where everything is: the stack's addresses, the programs, the processes that are measured."""

import os
import pathlib
import subprocess

import psycopg

ROOT = pathlib.Path(__file__).parent.parent
# Of topics, schemas, connectors, groups and databases: all that the harness makes begins with it.
NAME = "bench"
BROKERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
CONNECT = os.environ["CONNECT_URL"]
REGISTRY = os.environ["SCHEMA_REGISTRY_URL"]
SOURCE = os.environ["SOURCE_ADMIN_URL"]
TARGET_SERVER = os.environ["TARGET_ADMIN_URL"]
TARGET = TARGET_SERVER.rpartition("/")[0] + f"/{NAME}"
WRITER = os.environ["TARGET_DATABASE_URL"].rpartition("/")[0] + f"/{NAME}"
STACK = pathlib.Path(os.environ["BENCH_STACK"])
CACHE = pathlib.Path(os.environ["BENCH_CACHE"])
PROGRAMS = pathlib.Path(os.environ["BENCH_PROGRAMS"])
CONSUMER = PROGRAMS / "consumer"
FILL = PROGRAMS / "examples" / "fill"
DRAIN = PROGRAMS / "examples" / "drain"
# Logs of what is measured, and the runs of a short bench.
SCRATCH = STACK / NAME

CORES = os.cpu_count()
TICKS = os.sysconf("SC_CLK_TCK")


def connect(url, **settings):
    """A connection of which each statement is a transaction."""
    return psycopg.connect(url, autocommit=True, **settings)


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def broker_process():
    return int((STACK / "kafka" / "pid").read_text())


def target_process():
    return int((STACK / "target" / "data" / "postmaster.pid").read_text().split()[0])


def cpu_seconds(process):
    """What a process has used, with its children, those that have ended included."""
    total = 0
    waiting = [process]
    while waiting:
        it = waiting.pop()
        try:
            fields = pathlib.Path(f"/proc/{it}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])
            for thread in pathlib.Path(f"/proc/{it}/task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / TICKS


def idle_seconds():
    """What all cores have rested, with what they waited for a disk."""
    idle, waited = pathlib.Path("/proc/stat").read_text().split(None, 6)[4:6]
    return (int(idle) + int(waited)) / TICKS


def peak_memory(process):
    """The most bytes that a process has had in memory, 0 when it is gone."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(sizes[0]) * 1024 if sizes else 0


def forget_peak(process):
    """Begins the peak anew, in a process that lives from run to run."""
    pathlib.Path(f"/proc/{process}/clear_refs").write_text("5")
