"""The members: processes of the consumer that are killed, frozen, stopped and started again."""

import os
import pathlib
import re
import signal
import subprocess
import urllib.error
import urllib.request

from places import BROKERS, NAME, REGISTRY, TARGET, WRITER, Refused, psql

FIRST_PORT = 19291

# A member that comes back under its name gets its partitions at once, and one that is gone for
# longer than this loses them to the others.
SESSION_MS = 8000

LANES = 2

# The most memory that a member may have had resident, in a debug build: 40 MiB without a record, and
# for each lane four batches of 16 MiB, which the README promises; the client's buffers are in what is
# left.
MEMORY_MIB_MAX = 40 + LANES * 4 * 16 + 32


class Member:
    """One place in the group, and the process that holds it now."""

    def __init__(self, number, program, folder):
        self.label, self.program = f"member{number}", program
        self.port, self.log = FIRST_PORT + number, folder / f"member{number}.log"
        self.process, self.is_frozen = None, False
        # The most memory that one of its processes has had.
        self.memory_mib = 0

    def start(self):
        command = [
            self.program, "run", "--brokers", BROKERS, "--group", NAME, "--sink", NAME,
            "--topics", rf"^{NAME}_(json|avro)\..*", "--target", WRITER,
            "--schema-registry-url", REGISTRY, "--http", f"127.0.0.1:{self.port}",
            "--batch-rows", "400", "--lanes", str(LANES), "--startup-timeout", "600s",
            "--kafka-property", f"group.instance.id={self.label}",
            "--kafka-property", f"session.timeout.ms={SESSION_MS}",
            "--kafka-property", "heartbeat.interval.ms=2000",
        ]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.is_frozen = False

    def ended(self):
        """The exit status of a process that nobody has ended; `None` while it runs."""
        return self.process.poll()

    def metrics(self):
        """What it says of itself; nothing while it starts."""
        try:
            url = f"http://127.0.0.1:{self.port}/metrics"
            return urllib.request.urlopen(url, timeout=1).read().decode()
        except (urllib.error.URLError, OSError):
            return ""

    def rows_written(self):
        """How many rows it has written since its start, by its own metrics; 0 while it starts."""
        text = self.metrics()
        found = re.findall(r"^afterimage_rows_written_total\{.*\} (\d+)$", text, re.MULTILINE)
        return sum(int(count) for count in found)

    def look_at_memory(self):
        """Keeps what the process has had resident at most, before it ends."""
        try:
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return
        # One that has ended by itself has none any more.
        for kib in re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            self.memory_mib = max(self.memory_mib, int(kib) // 1024)

    def kill(self):
        self.look_at_memory()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    def last_words(self):
        return self.log.read_text()[-2000:]

    def terminate(self):
        """Asks it to end, and returns its exit status."""
        self.look_at_memory()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def phases():
    """What the members' sessions were doing, as the target saw it: by the owner's process."""
    query = f"""
        SELECT client_port, CASE
            WHEN state = 'active' AND query ~* '^commit' THEN 'committing'
            WHEN state = 'active' AND query ~* '^copy' THEN 'in a COPY'
            WHEN state = 'active' AND xact_start < query_start THEN 'in a statement of a transaction'
            WHEN state = 'active' THEN 'in a statement'
            WHEN state LIKE 'idle in transaction%' THEN 'between statements of a transaction'
            ELSE 'between transactions' END
        FROM pg_stat_activity WHERE datname = '{NAME}' AND application_name LIKE 'ai-%'"""
    try:
        return {int(port): phase for port, phase in psql(TARGET, query)}
    except Refused:
        return {}


def phase_of(member, by_port):
    """The busiest phase of a member's sessions."""
    order = [
        "committing", "in a COPY", "in a statement of a transaction",
        "between statements of a transaction", "in a statement", "between transactions",
    ]
    found = [by_port[port] for port in local_ports(member.process.pid) if port in by_port]
    return min(found, key=order.index, default="without a session")


def local_ports(pid):
    """The ports of a process's own TCP connections."""
    try:
        inodes = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        lines = open(f"/proc/{pid}/net/tcp").readlines()[1:]
    except OSError:
        return []
    fields = [line.split() for line in lines]
    return [int(f[1].split(":")[1], 16) for f in fields if f"socket:[{f[9]}]" in inodes]
