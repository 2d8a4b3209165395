//! A member: the real program in a process of its own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use regex::Regex;

use crate::support::{SOON, Stack, World, http, until_some, within};

/// How many lines of its log a member shows when its test fails.
const SHOWN: usize = 25;

/// How a member is to be started.
#[derive(Clone, Debug)]
pub(crate) struct MemberSetup {
    args: Vec<String>,
    variables: Vec<(String, String)>,
    properties: Vec<String>,
    log: PathBuf,
}

impl MemberSetup {
    /// Begins with the places of the stack and the world's names; topics that appear are seen soon.
    pub(crate) fn new(world: &World, label: &str) -> Self {
        let stack = Stack::get();
        let setup = Self {
            args: Vec::new(),
            variables: Vec::new(),
            properties: Vec::new(),
            log: world.folder().join(format!("{label}.log")),
        };
        setup
            .variable("KAFKA_BOOTSTRAP_SERVERS", &stack.brokers)
            .variable("SCHEMA_REGISTRY_URL", &stack.registry)
            .variable("KAFKA_GROUP_ID", &world.name)
            .variable("SINK_NAME", &world.name)
            .variable("TARGET_DATABASE_URL", &world.target_url())
            .variable("KAFKA_TOPICS", &format!(r"^{}\..*", world.name))
            .variable("RUST_LOG", "info,afterimage=debug")
            .property("topic.metadata.refresh.interval.ms=1000")
    }

    /// Leaves librdkafka as the program sets it: new topics are then seen when it says so.
    pub(crate) fn without_properties(mut self) -> Self {
        self.properties.clear();
        self
    }

    /// A member that is gone is given up after 6 s.
    pub(crate) fn short_session(self) -> Self {
        self.property("session.timeout.ms=6000").property("heartbeat.interval.ms=1000")
    }

    /// Adds arguments.
    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Sets a variable, over what it was before.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a property of librdkafka.
    pub(crate) fn property(mut self, property: &str) -> Self {
        self.properties.push(property.to_owned());
        self
    }

    /// Subscribes to other topics than all of the world's.
    pub(crate) fn topics(self, topics: &str) -> Self {
        self.variable("KAFKA_TOPICS", topics)
    }

    /// Writes to another target.
    pub(crate) fn target(self, url: &str) -> Self {
        self.variable("TARGET_DATABASE_URL", url)
    }

    /// Writes a config file for it.
    pub(crate) fn config(self, toml: &str) -> Self {
        let file = self.log.with_extension("toml");
        fs::write(&file, toml).unwrap();
        self.variable("CONSUMER_CONFIG", file.to_str().unwrap())
    }

    /// Starts the service.
    pub(crate) fn start(self) -> Member {
        let mut command = self.command(&[]);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        Member { child, log: self.log }
    }

    /// Runs a command to its end; panics when it takes longer than `deadline`.
    pub(crate) fn run(self, command: &[&str], deadline: Duration) -> Ended {
        let out_path = self.log.with_extension("out");
        let error_path = self.log.with_extension("err");
        let mut process = self.command(command);
        process.stdout(File::create(&out_path).unwrap());
        process.stderr(File::create(&error_path).unwrap());
        let mut child = process.spawn().unwrap();
        let mut status = None;
        let ended = within(deadline, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        if !ended {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let out = fs::read_to_string(out_path).unwrap();
        let error = fs::read_to_string(error_path).unwrap();
        assert!(ended, "{command:?} does not end within {deadline:?}:\n{}", last_lines(&error));
        Ended { code: status.and_then(|status| status.code()).unwrap_or(-1), out, error }
    }

    fn command(&self, subcommand: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer"));
        command.args(subcommand).args(&self.args);
        // Only what the test says: nothing of .stack.env leaks in.
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("KAFKA_PROPERTIES", self.properties.join(";"));
        command.stdin(Stdio::null()).current_dir(self.log.parent().unwrap());
        command
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) error: String,
}

impl Ended {
    /// Returns the last line that it said: on standard output, or where that is empty, the other.
    pub(crate) fn last_line(&self) -> &str {
        let said = if self.out.trim().is_empty() { &self.error } else { &self.out };
        said.trim_end().lines().last().unwrap_or_default()
    }

    /// Returns the lines of standard error that contain all of `words`.
    pub(crate) fn lines_with(&self, words: &[&str]) -> Vec<&str> {
        lines_with(&self.error, words)
    }
}

/// A running member; killed on drop.
#[derive(Debug)]
pub(crate) struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it where it is, as a paused machine would.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Asks it to end, and returns its exit code.
    pub(crate) fn terminate(mut self) -> i32 {
        self.signal("TERM");
        self.wait(SOON).code().unwrap_or(-1)
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        until_some(deadline, "the member ends", || self.child.try_wait().unwrap())
    }

    /// Returns the most memory that it has had, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Returns what it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it has logged a line that contains all of `words`, and returns it.
    pub(crate) fn until_logged(&self, words: &[&str]) -> String {
        until_some(SOON, &format!("the log says {words:?}"), || {
            lines_with(&self.log(), words).first().map(|line| (*line).to_owned())
        })
    }

    /// GETs a path of the member's own HTTP.
    pub(crate) fn get(&self, path: &str) -> http::Answer {
        let address = Regex::new(r"127\.0\.0\.1:\d+").unwrap();
        let line = self.until_logged(&["serving health"]);
        let address = address.find(&line).unwrap().as_str();
        http::get(&format!("http://{address}{path}")).unwrap()
    }

    /// Waits until it says that it is ready.
    pub(crate) fn until_ready(&self) {
        let mut body = String::new();
        let ready = within(SOON, || {
            let answer = self.get("/readyz");
            body = answer.body;
            answer.status == 200
        });
        assert!(ready, "{} is not ready: {body}", self.log.display());
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success(), "no SIG{name} for process {id}");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("{}, its last lines:\n{}", self.log.display(), last_lines(&log));
        }
    }
}

fn lines_with<'a>(text: &'a str, words: &[&str]) -> Vec<&'a str> {
    text.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
}
