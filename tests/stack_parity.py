#!/usr/bin/env python3
"""Holds docker-compose.yaml against the scripts of `make stack`: both describe one stack.

No container engine is needed. Compared are versions, ports, settings, connector files and mounts.
"""

import json
import pathlib
import re
import subprocess
import unittest

import yaml

ROOT = pathlib.Path(__file__).parent.parent
LOCAL_PORT_OFFSET = 10000

# The services of the compose file that `make stack` runs as processes.
PORTS = {
    "kafka": "KAFKA_PORT",
    "registry": "REGISTRY_PORT",
    "connect": "CONNECT_PORT",
    "source": "SOURCE_PORT",
    "target": "TARGET_PORT",
    "vectors": "VECTORS_PORT",
    "mariadb": "MARIADB_PORT",
}


def read(path):
    return (ROOT / path).read_text()


def shell_variables():
    """The variables of scripts/lib.sh, the versions included."""
    script = "set -a; . scripts/lib.sh >/dev/null; env"
    command = ["env", "-i", "HOME=/nowhere", "PATH=/usr/bin:/bin", "bash", "-c", script]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in listing.splitlines() if "=" in line)


def properties(path):
    lines = [line for line in read(path).splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


COMPOSE = yaml.safe_load(read("docker-compose.yaml"))
SERVICES = COMPOSE["services"]
LOCAL = shell_variables()


def mounts(service):
    """Where each file or folder of the tree is mounted."""
    pairs = (volume.split(":") for volume in SERVICES[service].get("volumes", []))
    return {source: place for source, place, *_ in pairs if source.startswith("./")}


def tag(service):
    return SERVICES[service]["image"].rpartition(":")[2]


def base_images(dockerfile):
    return re.findall(r"^FROM (\S+)", read(dockerfile), re.MULTILINE)


class StackParity(unittest.TestCase):
    def test_compose_file_parses(self):
        parsed = subprocess.run(
            ["docker-compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True
        )
        self.assertEqual(parsed.returncode, 0, parsed.stderr)

    def test_same_services(self):
        local = re.search(r"^SERVICES=\((.*)\)$", read("scripts/stack.sh"), re.MULTILINE)
        self.assertEqual(set(local[1].split()), set(PORTS))
        self.assertEqual(set(SERVICES), set(PORTS) | {"connector", "consumer"})

    def test_same_versions(self):
        self.assertEqual(tag("kafka"), LOCAL["KAFKA_VERSION"])
        self.assertEqual(tag("registry"), LOCAL["APICURIO_VERSION"])
        pgvector = f"{LOCAL['PGVECTOR_VERSION']}-pg{LOCAL['PGVECTOR_POSTGRES_VERSION']}"
        self.assertEqual(tag("vectors"), pgvector)
        for service, version in [
            ("source", "POSTGRES_VERSION"),
            ("target", "POSTGRES_VERSION"),
            ("mariadb", "MARIADB_VERSION"),
        ]:
            self.assertTrue(tag(service).startswith(LOCAL[version] + "."), tag(service))

    def test_connect_runs_what_the_scripts_download(self):
        dockerfile = SERVICES["connect"]["build"]["dockerfile"]
        self.assertIn(f"apache/kafka:{LOCAL['KAFKA_VERSION']}", base_images(dockerfile))
        self.assertIn("scripts/download.sh", read(dockerfile))
        for path in re.findall(r"scripts/\S+\.(?:sh|env)", read(dockerfile)):
            self.assertTrue((ROOT / path).exists(), path)

    def test_connect_has_the_same_plugins(self):
        script = read("scripts/stack/connect.sh")
        self.assertIn("\nplugin.path=$plugins\n", script)
        line = re.search(r"^plugins=\$\{CONNECT_PLUGINS:-(.*)\}$", script, re.MULTILINE)[1]
        dockerfile = read(SERVICES["connect"]["build"]["dockerfile"])
        for path in line.split(","):
            folder = re.match(r"\$CACHE/([a-z/]+(?:-[a-z]+)*)", path)[1]
            self.assertIn(f"/downloads/{folder}", dockerfile)

    def test_the_consumer_is_compiled_by_the_pinned_compiler(self):
        channel = re.search(r'channel = "(.*)"', read("rust-toolchain.toml"))[1]
        self.assertEqual(base_images("Dockerfile")[0], f"rust:{channel}-bookworm")

    def test_every_image_is_pinned(self):
        images = [service["image"] for service in SERVICES.values() if "image" in service]
        for dockerfile in ["Dockerfile", SERVICES["connect"]["build"]["dockerfile"]]:
            images += base_images(dockerfile)
        for image in images:
            self.assertRegex(image, r":\d")

    def test_same_ports(self):
        for service, variable in PORTS.items():
            with self.subTest(service):
                (published,) = SERVICES[service]["ports"]
                address, port, _ = published.split(":")
                self.assertEqual(address, LOCAL["HOST"])
                self.assertEqual(int(port) + LOCAL_PORT_OFFSET, int(LOCAL[variable]))

    def test_same_broker_settings(self):
        environment = SERVICES["kafka"]["environment"]
        for name, value in properties("scripts/stack/kafka.properties").items():
            variable = "KAFKA_" + name.upper().replace(".", "_")
            self.assertEqual(environment.get(variable), value, variable)

    def test_same_registry_settings(self):
        script = read("scripts/stack/registry.sh")
        local = dict(re.findall(r'(APICURIO_\w+)="?([^\s"]+)', script))
        environment = dict(SERVICES["registry"]["environment"])
        url = "APICURIO_DATASOURCE_URL"
        self.assertEqual(local.pop(url).rpartition("/")[2], environment.pop(url).rpartition("/")[2])
        self.assertEqual(local, environment)

    def test_same_worker_settings(self):
        self.assertIn("scripts/stack/connect.properties", read("scripts/stack/connect.sh"))
        self.assertIn("./scripts/stack/connect.properties", mounts("connect"))

    def test_same_init_scripts(self):
        self.assertIn("init-scripts/$name", read("scripts/stack/postgres.sh"))
        for service in ["source", "target", "vectors"]:
            self.assertEqual(
                mounts(service), {f"./init-scripts/{service}": "/docker-entrypoint-initdb.d"}
            )
        script = read("scripts/stack/mariadb.sh")
        for path in mounts("mariadb"):
            self.assertIn(path.removeprefix("./"), script)

    def test_same_connector_registered_the_same_way(self):
        command, file = SERVICES["connector"]["command"]
        self.assertEqual(command, "register")
        path = file.removeprefix("/afterimage/")
        self.assertIn(f'connector.sh" register "$ROOT/{path}"', read("scripts/stack.sh"))
        self.assertEqual(json.loads(read(path))["name"], "dbserver1")
        self.assertEqual(
            set(mounts("connector")), {"./scripts/connector.sh", "./debezium-config"}
        )

    def test_every_place_that_connectors_name_is_known_to_both(self):
        local = set(re.findall(r"^([A-Z_]+)=", read("scripts/stack.sh"), re.MULTILINE))
        filled = re.search(r"for variable in (.*?); do", read("scripts/connector.sh"), re.DOTALL)[1]
        for path in (ROOT / "debezium-config").glob("*.json"):
            names = set(re.findall(r"\$\{(\w+)\}", path.read_text()))
            self.assertLessEqual(names, local, path)
            self.assertLessEqual(names, set(SERVICES["connector"]["environment"]), path)
            self.assertLessEqual(names, set(filled.replace("\\", " ").split()), path)

    def test_every_mount_exists(self):
        for service in SERVICES:
            for path in mounts(service):
                self.assertTrue((ROOT / path).exists(), f"{service}: {path}")

    def test_every_service_that_stays_has_a_health_check(self):
        for name, service in SERVICES.items():
            if name != "connector":
                self.assertIn("test", service.get("healthcheck", {}), name)

    def test_the_consumer_can_be_scaled(self):
        self.assertNotIn("container_name", SERVICES["consumer"])
        self.assertEqual(SERVICES["consumer"]["ports"], ["9187"])


class ConnectorFiles(unittest.TestCase):
    def test_names_prefixes_and_slots_go_together(self):
        expected = {
            "postgres-connector": "dbserver1",
            "postgres-avro": "dbserver1_avro",
            "postgres-schemaless": "dbserver1_plain",
            "mariadb-connector": "mariadb1",
        }
        for file, name in expected.items():
            config = json.loads(read(f"debezium-config/{file}.json"))
            self.assertEqual([config["name"], config["topic.prefix"]], [name, name])
            if file.startswith("postgres"):
                self.assertEqual(config["slot.name"], name)
                self.assertEqual(config["publication.autocreate.mode"], "disabled")


if __name__ == "__main__":
    unittest.main()
