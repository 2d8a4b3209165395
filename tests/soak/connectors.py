"""The connectors of the soak: the keyless table as JSON, the others as Avro."""

import json
import os
import re
import time
import urllib.error
import urllib.request

from confluent_kafka.admin import AdminClient

from places import BROKERS, CONNECT, NAME, ROOT, SOURCE, Refused, psql

TABLES = {
    "json": ("postgres-connector.json", ["ledger", "marks_json"]),
    "avro": ("postgres-avro.json", ["accounts", "marks_avro"]),
}


def create():
    for suffix, (file, tables) in TABLES.items():
        name = f"{NAME}_{suffix}"
        text = (ROOT / "debezium-config" / file).read_text()
        text = re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], text)
        config = json.loads(text) | {
            "name": name, "topic.prefix": name, "slot.name": name, "publication.name": NAME,
            "table.include.list": ",".join(f"{NAME}.{table}" for table in tables),
            # Registry and broker go away for a while.
            "errors.retry.timeout": "300000",
        }
        call("PUT", f"connectors/{name}/config", config)
    deadline = time.time() + 120
    while any(state != ["RUNNING"] for state in states().values()):
        if time.time() > deadline:
            raise SystemExit("the connectors do not run")
        time.sleep(0.5)


def restart(suffix):
    call("POST", f"connectors/{NAME}_{suffix}/restart?includeTasks=true&onlyFailed=false")


def revive():
    """Restarts what has failed meanwhile; a connector that cannot reach its broker may."""
    for suffix, state in states().items():
        if "FAILED" in state:
            restart(suffix)


def states():
    """The states of each connector's tasks; none where Connect does not tell."""
    status = {it: call("GET", f"connectors/{NAME}_{it}/status") or {} for it in TABLES}
    return {it: sorted({task["state"] for task in status[it].get("tasks", [])}) for it in TABLES}


def drop():
    for suffix in TABLES:
        call("PUT", f"connectors/{NAME}_{suffix}/stop")
        # Where another connector of the name has stood is nowhere to begin.
        call("DELETE", f"connectors/{NAME}_{suffix}/offsets")
        call("DELETE", f"connectors/{NAME}_{suffix}")
        drop_slot(f"{NAME}_{suffix}")
    admin = AdminClient({"bootstrap.servers": BROKERS})
    topics = [t for t in admin.list_topics(timeout=10).topics if t.startswith(f"{NAME}_")]
    for deletion in (admin.delete_topics(topics) if topics else {}).values():
        deletion.exception()
    for deletion in admin.delete_consumer_groups([NAME]).values():
        deletion.exception()


def drop_slot(name):
    for _ in range(40):
        try:
            psql(SOURCE, f"""SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                WHERE slot_name = '{name}'""")
            return
        except Refused:
            time.sleep(0.5)


def call(method, path, body=None):
    """Asks Connect; `None` where it has nothing, or does not answer."""
    request = urllib.request.Request(f"{CONNECT}/{path}", method=method)
    request.add_header("Content-Type", "application/json")
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data, timeout=30) as answer:
            text = answer.read()
    except (urllib.error.URLError, OSError):
        return None
    return json.loads(text) if text else None
