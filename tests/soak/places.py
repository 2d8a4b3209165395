"""Where everything is, and the databases through their own client."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parent.parent.parent
NAME = "soak"
BROKERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
CONNECT = os.environ["CONNECT_URL"]
REGISTRY = os.environ["SCHEMA_REGISTRY_URL"]
SOURCE = os.environ["SOURCE_ADMIN_URL"]
TARGET_SERVER = os.environ["TARGET_ADMIN_URL"]
# A database of its own, so that what was there before judges nothing.
TARGET = TARGET_SERVER.rpartition("/")[0] + f"/{NAME}"
WRITER = os.environ["TARGET_DATABASE_URL"].rpartition("/")[0] + f"/{NAME}"


class Refused(Exception):
    """The database did not take a script."""


def psql(url, script):
    """Runs a script and returns its rows, each a list of texts."""
    command = ["psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", url]
    environment = os.environ | {"PGOPTIONS": "-c client_min_messages=error", "PGCONNECT_TIMEOUT": "5"}
    done = subprocess.run(command, input=script, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(done.stderr.strip())
    return [line.split("\t") for line in done.stdout.splitlines()]


def number(url, query):
    return int(psql(url, query)[0][0])


def service(name, *command):
    """Runs a script of the stack for one of its services."""
    script = ["postgres.sh", name] if name in ("source", "target") else [f"{name}.sh"]
    done = subprocess.run([ROOT / "scripts" / "stack" / script[0], *script[1:], *command])
    return done.returncode == 0
