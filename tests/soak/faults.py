"""What goes wrong, at random: members die, freeze and leave; services stop and come back."""

import collections
import itertools
import random
import time

import connectors
import members
from places import service

# Seconds between two faults. A member must have applied records before it may be killed.
PAUSE = (0.3, 1.5)

# How often each is chosen.
WEIGHTS = {
    "kill": 80,
    "freeze": 6,
    "terminate": 5,
    "connector restart": 3,
    "target restart": 3,
    "broker restart": 2,
    "registry stop": 1,
    "long outage": 2,
}

# For how many seconds a service is away in a long outage, which outlasts sessions and claims, and how
# many are between two of them: little else goes wrong meanwhile.
OUTAGE = (45, 75)
OUTAGE_PAUSE = 600
# Until when, behind the end of a broker, a member may wait for it in vain, in seconds.
BROKER_BACK = 120
SERVICES = {"broker": "kafka", "target": "target", "registry": "registry"}


class Faults:
    """Does harm until the time is over, and counts it."""

    def __init__(self, some, seed):
        self.members, self.random = some, random.Random(seed)
        self.counts = collections.Counter()
        self.kills_by_phase = collections.Counter()
        # Members that are frozen, and when they wake.
        self.frozen = {}
        self.registry_back = None
        # What is away for long is another one each time.
        self.next_away = itertools.cycle(self.random.sample(list(SERVICES), len(SERVICES)))
        # A soak of a few minutes has none: it would be little else.
        self.next_outage = time.time() + OUTAGE_PAUSE / 2
        self.outages_by_service = collections.Counter()
        self.broker_gone = 0
        self.until = 0

    def run(self, until, say):
        self.until = until
        while time.time() < until:
            fault = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            if self.do(fault):
                self.counts[fault] += 1
                if fault != "kill" or self.counts[fault] % 20 == 0:
                    say(f"{fault} ({self.counts[fault]})")
            self.wake()
            self.look_after()
            time.sleep(self.random.uniform(*PAUSE))
        self.end()

    def do(self, fault):
        match fault:
            case "kill":
                return self.kill()
            case "freeze":
                return self.freeze()
            case "terminate":
                return self.terminate()
            case "connector restart":
                connectors.restart(self.random.choice(list(connectors.TABLES)))
            case "target restart":
                service("target", "stop")
                service("target", "launch")
            case "broker restart":
                self.broker_gone = time.time()
                service("kafka", "stop")
                service("kafka", "launch")
            case "registry stop":
                return self.stop_registry(self.random.uniform(5, 20))
            case "long outage":
                return self.outage()
        return True

    def stop_registry(self, seconds):
        """Returns at once: a member needs the registry where it begins, and they are killed meanwhile."""
        if self.registry_back:
            return False
        service("registry", "stop")
        self.registry_back = time.time() + seconds
        return True

    def outage(self):
        """Waits where it is the broker or the target: the members that were at work when it went must
        live, and stay small."""
        now, seconds = time.time(), self.random.uniform(*OUTAGE)
        if self.registry_back or now < self.next_outage or now + seconds > self.until:
            return False
        name = next(self.next_away)
        self.next_outage = now + OUTAGE_PAUSE
        self.outages_by_service[name] += 1
        if name == "registry":
            return self.stop_registry(seconds)
        service(SERVICES[name], "stop")
        back = time.time() + seconds
        while time.time() < back:
            self.wake()
            self.look_after()
            time.sleep(0.5)
        if name == "broker":
            self.broker_gone = time.time()
        service(SERVICES[name], "launch")
        return True

    def kill(self):
        """Counts only where the member has applied records since its start."""
        able = [it for it in self.members if not it.is_frozen and it.rows_written() > 0]
        if not able:
            return False
        member = self.random.choice(able)
        phase = members.phase_of(member, members.phases())
        member.kill()
        member.start()
        self.kills_by_phase[phase] += 1
        return True

    def freeze(self):
        """One at a time: the others must be able to go on."""
        if self.frozen:
            return False
        member = self.random.choice(self.members)
        member.freeze()
        # Short of the session's end, and far beyond it.
        self.frozen[member] = time.time() + self.random.choice([3, 6, 15, 25])
        return True

    def terminate(self):
        # One that has only just been started cannot heed a signal yet.
        able = [it for it in self.members if not it.is_frozen and it.metrics()]
        if not able:
            return False
        member = self.random.choice(able)
        status = member.terminate()
        # While the brokers come back it cannot leave its group, and says so.
        is_away = time.time() < self.broker_gone + BROKER_BACK
        is_late = is_away and status == 2 and "tasks did not stop within" in member.last_words()
        self.counts["terminate that the brokers did not answer"] += is_late
        if status != 0 and not is_late:
            raise SystemExit(f"{member.label} ended with {status} on SIGTERM, see {member.log}")
        member.start()
        return True

    def wake(self):
        for member, moment in list(self.frozen.items()):
            if time.time() >= moment:
                member.thaw()
                del self.frozen[member]
        if self.registry_back and time.time() >= self.registry_back:
            service("registry", "launch")
            self.registry_back = None

    def look_after(self):
        """No member ends by itself, whatever goes wrong around it."""
        for member in self.members:
            status = member.ended()
            if status is not None:
                raise SystemExit(f"{member.label} ended by itself with {status}, see {member.log}")

    def end(self):
        """Everything comes back."""
        for member in self.frozen:
            member.thaw()
        self.frozen.clear()
        if self.registry_back:
            service("registry", "launch")
        connectors.revive()
