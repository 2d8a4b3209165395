"""Who reads the backlog: the consumer, the Debezium JDBC sink, and how each is started and ended."""

import datetime
import itertools
import os
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request

import records
from places import (BROKERS, CACHE, CONSUMER, NAME, REGISTRY, SCRATCH, TARGET, WRITER, connect,
                    cpu_seconds, forget_peak, peak_memory)

_serial = itertools.count(int(time.time()))


class Failed(Exception):
    """The contender has ended, or says that it cannot go on."""


class Consumer:
    """The consumer with its shipped defaults, but for what the run is about."""

    process = "consumer"
    # What it runs in, and how many seconds it may take to end.
    prefix, patience = (), 30
    # How many records are committed: the checkpoint knows.
    committed = "SELECT coalesce(sum(next_offset), 0)::bigint FROM afterimage.checkpoint"

    def __init__(self, name, *options, members=1, target=WRITER, rules=""):
        self.name, self.options, self.members, self.target = name, options, members, target
        self.rules = rules
        self.running = []

    def start(self, filled):
        self.group = f"{NAME}_{next(_serial)}"
        rules = self.rules
        if filled.format == "plain_json":
            # What its records do not say.
            rules += f'[source."{records.server(filled.format)}"]\n'
            rules += 'time_precision_mode = "adaptive"\ndecimal_handling_mode = "precise"\n'
        (SCRATCH / "rules.toml").write_text(rules)
        for _ in range(self.members):
            self.join(filled)

    def join(self, filled):
        """Starts one more member."""
        topics = filled.names if len(filled.names) == 1 else [f"^{_shared(filled.names)}.*"]
        port = 19_300 + len(self.running)
        command = [*self.prefix, CONSUMER, "run", "--brokers", BROKERS, "--group", self.group,
                   "--sink", self.group, "--topics", topics[0], "--http", f"127.0.0.1:{port}",
                   "--config", SCRATCH / "rules.toml", *self.options]
        environment = {"PATH": os.environ["PATH"], "TARGET_DATABASE_URL": self.target,
                       "SCHEMA_REGISTRY_URL": REGISTRY}
        log = open(SCRATCH / f"consumer.{len(self.running)}.log", "w")
        self.running.append(subprocess.Popen(command, env=environment, stderr=log))

    def check(self):
        for place, member in enumerate(self.running):
            if member.poll() is not None:
                raise Failed((SCRATCH / f"consumer.{place}.log").read_text()[-2000:])

    def begun(self):
        """Is told of the first commit."""

    def cpu(self):
        return sum(cpu_seconds(member.pid) for member in self.running)

    def memory(self):
        """Of one member, the largest."""
        return max(peak_memory(member.pid) for member in self.running)

    def extra(self):
        """How many batches there were, and their seconds of applying alone, from order to answer."""
        seconds, batches = 0.0, 0
        for place in range(len(self.running)):
            with urllib.request.urlopen(f"http://127.0.0.1:{19_300 + place}/metrics") as answer:
                found = dict(re.findall(r"^afterimage_batch_apply_seconds_(sum|count) (\S+)",
                                        answer.read().decode(), re.M))
            seconds += float(found.get("sum", 0))
            batches += int(found.get("count", 0))
        return {"apply_seconds": seconds, "batches": batches, "join_seconds": self._join_seconds()}

    def _join_seconds(self):
        """How long the group let the first member wait, by its log."""
        log = (SCRATCH / "consumer.0.log").read_text()
        times = [datetime.datetime.fromisoformat(line.split()[0]) for what in (": subscribes ", ": assigned ")
                 for line in log.splitlines() if what in line][:2]
        return round((times[1] - times[0]).total_seconds(), 3) if len(times) == 2 else None

    def stop(self):
        for member in self.running:
            member.send_signal(signal.SIGTERM)
        for member in self.running:
            try:
                member.wait(self.patience)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()
        self.running = []
        _forget_group(self.group)


class Sink:
    """The Debezium JDBC sink in a worker of its own, which stays from run to run and so stays warm."""

    process = "connect"
    committed = None

    def __init__(self, worker, name, **config):
        self.worker, self.name, self.config = worker, name, config

    def start(self, filled):
        self.connector = f"{NAME}_sink_{next(_serial)}"
        settings = self._settings(filled) | self.config
        settings["connection.url"] += "?" + settings.pop("parameters", "")
        self.worker.launch()
        forget_peak(self.worker.process.pid)
        self.worker.put(self.connector, settings)

    def _settings(self, filled):
        url = urllib.parse.urlsplit(WRITER)
        converter = "org.apache.kafka.connect.json.JsonConverter"
        if filled.format == "avro":
            converter = "io.confluent.connect.avro.AvroConverter"
        converters = {}
        for side in ("key", "value"):
            converters |= {f"{side}.converter": converter, f"{side}.converter.schemas.enable": "true",
                           f"{side}.converter.schema.registry.url": REGISTRY}
        return converters | {
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": "1",
            "topics": ",".join(filled.names),
            "connection.url": f"jdbc:postgresql://{url.hostname}:{url.port}{url.path}",
            "connection.username": url.username,
            "connection.password": url.password,
            "collection.name.format": "${source.schema}.${source.table}",
            "insert.mode": "upsert",
            "primary.key.mode": "record_key",
            "delete.enabled": "true",
            "schema.evolution": "none",
        }

    def check(self):
        status = self.worker.ask("GET", f"connectors/{self.connector}/status") or {}
        traces = [task["trace"] for task in status.get("tasks", []) if "trace" in task]
        if traces:
            causes = [line for line in traces[0].splitlines() if line.startswith("Caused by")]
            raise Failed((causes or traces[0].splitlines())[-1])
        self.worker.check()

    def begun(self):
        """Is told of the first commit."""

    def cpu(self):
        return cpu_seconds(self.worker.process.pid)

    def memory(self):
        return peak_memory(self.worker.process.pid)

    def extra(self):
        return {}

    def stop(self):
        self.worker.ask("DELETE", f"connectors/{self.connector}")
        with connect(TARGET) as target:
            deadline = time.time() + 60
            while target.execute("""SELECT 1 FROM pg_stat_activity
                    WHERE datname = current_database() AND usename = 'writer'""").fetchone():
                if time.time() > deadline:
                    raise Failed("the sink keeps its connections")
                time.sleep(0.1)
        _forget_group(f"connect-{self.connector}")


class Worker:
    """A standalone worker of Kafka Connect with the sink as its only plugin."""

    def __init__(self, java, plugins, port):
        self.java, self.plugins, self.url = java, plugins, f"http://127.0.0.1:{port}"
        self.port, self.process = port, None

    def launch(self):
        if self.process is not None:
            return
        properties = SCRATCH / "worker.properties"
        offsets = SCRATCH / "worker.offsets"
        offsets.unlink(missing_ok=True)
        properties.write_text("\n".join((
            f"bootstrap.servers={BROKERS}", f"listeners={self.url}",
            f"plugin.path={','.join(self.plugins)}", "plugin.discovery=hybrid_warn",
            "key.converter=org.apache.kafka.connect.json.JsonConverter",
            "value.converter=org.apache.kafka.connect.json.JsonConverter",
            f"offset.storage.file.filename={offsets}",
            "connector.client.config.override.policy=All",
        )) + "\n")
        logging = SCRATCH.parent / "kafka" / "log4j2.properties"
        self.process = subprocess.Popen(
            [self.java, "-Xmx1g", "-cp", f"{CACHE}/jars/libs/*",
             f"-Dlog4j2.configurationFile={logging}",
             "org.apache.kafka.connect.cli.ConnectStandalone", properties],
            stdout=open(SCRATCH / "worker.log", "w"), stderr=subprocess.STDOUT)
        deadline = time.time() + 180
        while self.ask("GET", "connectors") is None:
            self.check()
            if time.time() > deadline:
                raise Failed("the worker does not answer")
            time.sleep(0.2)

    def put(self, connector, config):
        records.ask("PUT", f"{self.url}/connectors/{connector}/config", config)

    def ask(self, method, path):
        try:
            return records.ask(method, f"{self.url}/{path}")
        except OSError:
            return None

    def check(self):
        if self.process.poll() is not None:
            raise Failed((SCRATCH / "worker.log").read_text()[-2000:])

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


# What a user may set for more speed. Rewritten inserts fail where a key comes twice in a batch, so
# with updates they need the reduction buffer; unnest fails on MicroTimestamp.
_REWRITTEN = {"parameters": "reWriteBatchedInserts=true"}
_REDUCED = _REWRITTEN | {"use.reduction.buffer": "true"}
_LARGE = {"batch.size": "3000", "consumer.override.max.poll.records": "3000"}
DEFAULTS = "sink, defaults"
# The fastest of one task.
LARGEST = "sink, 3000 a batch, reduction buffer"
# The fastest of all, in Avro.
FASTEST = "sink, 3 tasks, 3000 a batch, reduction buffer"
SINKS = {
    DEFAULTS: {},
    "sink, reduction buffer": _REDUCED,
    "sink, 3000 a batch": _LARGE | _REWRITTEN,
    LARGEST: _LARGE | _REDUCED,
    "sink, 2 tasks, 3000 a batch, reduction buffer": _LARGE | _REDUCED | {"tasks.max": "2"},
    FASTEST: _LARGE | _REDUCED | {"tasks.max": "3"},
}
UNNEST = {"sink, 3000 a batch, unnest": _LARGE | {"dialect.postgres.unnest.insert.enabled": "true"}}


def _shared(names):
    """What the names of a work's topics have before the table's."""
    return re.escape(names[0].rpartition(".")[0] + ".")


def _forget_group(group):
    admin = records.admin_client()
    for deletion in admin.delete_consumer_groups([group]).values():
        deletion.exception()
