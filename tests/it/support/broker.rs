//! A broker of a test's own, with every way in that is not plain text: the stack's has none.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::certificates::{Authority, write};
use crate::support::{LATER, free_ports, kafka, lib, until};

/// A broker; it ends with the test.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Child,
    java: Java,
    plain: u16,
    secured: u16,
    mutual: u16,
    elsewhere: u16,
    folder: TempDir,
}

/// The one user, as PLAIN and SCRAM know it.
pub(crate) const USER: &str = "carol";
/// Its password, which no output may show.
pub(crate) const PASSWORD: &str = "pw-that-no-log-may-show";

impl Broker {
    /// Starts a broker that the authority vouches for.
    pub(crate) fn start(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write(path, "host.pem", &authority.host("127.0.0.1").both());
        write(path, "elsewhere.pem", &authority.host("elsewhere.example").both());
        write(path, "authority.pem", &authority.pem());
        let ports @ [plain, _, secured, mutual, elsewhere] = free_ports();
        let config = write(path, "server.properties", &properties(path, ports));
        let java = Java::find();
        let run = |arguments: &[&str], log: &str| java.run(path, arguments, log);
        let mut format = vec!["kafka.tools.StorageTool", "format", "--config", &config];
        format.extend(["--cluster-id", "c2VjdXJlZC1icm9rZXItMA"]);
        let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"]
            .map(|mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]"));
        format.extend(scram.iter().flat_map(|user| ["--add-scram", user]));
        let formatted = run(&format, "format.log").wait().unwrap();
        let told = || std::fs::read_to_string(path.join("format.log")).unwrap();
        assert!(formatted.success(), "{}", told());
        let process = run(&["kafka.Kafka", &config], "log");
        let broker = Self { process, java, plain, secured, mutual, elsewhere, folder };
        broker.until_up();
        broker
    }

    /// Has it end in order.
    pub(crate) fn stop(&mut self) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        self.process.wait().unwrap();
    }

    /// Starts it with the data it has.
    pub(crate) fn resume(&mut self) {
        let path = self.folder.path();
        let config = path.join("server.properties");
        self.process = self.java.run(path, &["kafka.Kafka", config.to_str().unwrap()], "log");
        self.until_up();
    }

    /// Keeps a copy of its data; it must not run.
    pub(crate) fn keep_data(&self) {
        self.copy("data", "kept");
    }

    /// Gives it the data that it had then; it must not run.
    pub(crate) fn restore_data(&self) {
        self.copy("kept", "data");
    }

    fn copy(&self, from: &str, to: &str) {
        let path = self.folder.path();
        _ = std::fs::remove_dir_all(path.join(to));
        let mut copy = Command::new("cp");
        copy.arg("-r").args([path.join(from), path.join(to)]);
        assert!(copy.status().unwrap().success());
    }

    fn until_up(&self) {
        until(LATER, "the broker answers", || kafka::try_cluster_id(&self.plain()).is_ok());
    }

    /// Returns where it can be reached in plain text, for the test itself.
    pub(crate) fn plain(&self) -> String {
        format!("127.0.0.1:{}", self.plain)
    }

    /// Returns where it wants TLS and a SASL mechanism.
    pub(crate) fn secured(&self) -> String {
        format!("127.0.0.1:{}", self.secured)
    }

    /// Returns where it wants TLS and a certificate.
    pub(crate) fn mutual(&self) -> String {
        format!("127.0.0.1:{}", self.mutual)
    }

    /// Returns where it shows the certificate of another host.
    pub(crate) fn elsewhere(&self) -> String {
        format!("127.0.0.1:{}", self.elsewhere)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("the broker's log:\n{log}");
        }
    }
}

/// What runs the broker and its tools.
#[derive(Debug)]
struct Java {
    program: String,
    classes: String,
}

impl Java {
    fn find() -> Self {
        let found = lib("find_java 17; echo \"$CACHE\"", &[]);
        let (program, cache) = found.split_once('\n').unwrap();
        let classes = format!("{}/jars/libs/*", cache.trim());
        Self { program: program.to_owned(), classes }
    }

    fn run(&self, folder: &Path, arguments: &[&str], log: &str) -> Child {
        let log = File::create(folder.join(log)).unwrap();
        Command::new(&self.program)
            .args(["-Xms128m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", &self.classes])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .current_dir(folder)
            .spawn()
            .unwrap()
    }
}

fn properties(folder: &Path, ports: [u16; 5]) -> String {
    let folder = folder.to_str().unwrap();
    let [plain, controller, secured, mutual, elsewhere] = ports;
    let login = "org.apache.kafka.common.security";
    let sasl = ["secured", "elsewhere"].map(|listener| {
        format!(
            r#"
listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.{listener}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.{listener}.oauthbearer.sasl.jaas.config={login}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
listener.name.{listener}.oauthbearer.sasl.server.callback.handler.class={login}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
listener.name.{listener}.oauthbearer.connections.max.reauth.ms=3600000
"#
        )
    });
    format!(
        "process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SECURED://127.0.0.1:{secured},MUTUAL://127.0.0.1:{mutual},ELSEWHERE://127.0.0.1:{elsewhere}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURED://127.0.0.1:{secured},MUTUAL://127.0.0.1:{mutual},ELSEWHERE://127.0.0.1:{elsewhere}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL,MUTUAL:SSL,ELSEWHERE:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=200
ssl.keystore.type=PEM
ssl.keystore.location={folder}/host.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/authority.pem
listener.name.mutual.ssl.client.auth=required
listener.name.elsewhere.ssl.keystore.type=PEM
listener.name.elsewhere.ssl.keystore.location={folder}/elsewhere.pem
{}",
        sasl.concat()
    )
}
