//! Where the records come from: brokers, group, topics, and librdkafka's properties.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;

use crate::cli::{KafkaArgs, Secrets};
use crate::kafka::config;
use crate::settings::{BearerToken, Problems, Secret};

/// Where the records come from.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Brokers to ask first, separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group: String,
    /// Which topics.
    pub topics: Vec<TopicPattern>,
    /// The user's own properties of librdkafka; none that the guarantee rests on.
    pub properties: BTreeMap<String, Secret>,
    /// The token of SASL/OAUTHBEARER, exactly where the properties choose that.
    pub token: Option<BearerToken>,
    /// How the group's members agree.
    pub protocol: GroupProtocol,
}

/// How the members of a group agree on who owns what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupProtocol {
    /// By the members, cooperative-sticky.
    Classic,
    /// By the broker (KIP-848).
    Consumer,
}

/// A topic, or a pattern of topics.
#[derive(Clone, Debug)]
pub enum TopicPattern {
    /// One topic.
    Literal(String),
    /// All topics that fit an expression that begins with `^`.
    Regex(Regex),
}

/// Properties that a user may not set, with the reason.
pub const REFUSED: [(&str, &str); 12] = [
    ("bootstrap.servers", "has a flag of its own: --brokers"),
    ("metadata.broker.list", "has a flag of its own: --brokers"),
    ("group.id", "has a flag of its own: --group"),
    ("enable.auto.commit", "must stay false: offsets move in the target's transaction"),
    ("auto.commit.enable", "must stay false: offsets move in the target's transaction"),
    ("enable.auto.offset.store", "must stay false: offsets move in the target's transaction"),
    ("auto.offset.reset", "must stay error: a jump of the log is never skipped in silence"),
    ("isolation.level", "must stay read_committed: an aborted record is no change"),
    ("check.crcs", "must stay true: a damaged record is no change"),
    ("enable.partition.eof", "must stay true: it tells that all there is has been read"),
    (
        "partition.assignment.strategy",
        "must stay cooperative-sticky: kept partitions go on while others move; \
         group.protocol=consumer is the other choice",
    ),
    ("allow.auto.create.topics", "must stay false: reading makes no topics"),
];

/// Properties that librdkafka refuses beside `group.protocol=consumer`: the broker decides them.
const BROKER_DECIDES: [&str; 3] =
    ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"];

impl Kafka {
    /// Makes settings of what was written.
    pub fn new(args: &KafkaArgs, secrets: &Secrets) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let brokers = problems.take("brokers", brokers(&args.brokers));
        if args.group.is_empty() {
            problems.take::<()>("group", Err("must not be empty".to_owned()));
        }
        let mut topics = Vec::new();
        for text in &args.topics {
            topics.extend(problems.take("topics", TopicPattern::new(text)));
        }
        let mut properties = BTreeMap::new();
        let file = args.kafka_properties_file.as_deref().map(read_properties);
        for line in
            problems.take("kafka_properties_file", file.transpose()).flatten().into_iter().flatten()
        {
            let pair = problems.take("kafka_properties_file", property(&line));
            properties.extend(pair);
        }
        for text in &args.kafka_property {
            properties.extend(problems.take("kafka_property", property(text)));
        }
        for (key, secret) in
            [("sasl.username", &secrets.sasl_username), ("sasl.password", &secrets.sasl_password)]
        {
            properties.extend(secret.clone().map(|secret| (key.to_owned(), secret)));
        }
        let token = problems.collect(token(&properties, secrets)).flatten();
        let protocol = match properties.remove("group.protocol") {
            Some(name) if name.expose().eq_ignore_ascii_case("consumer") => GroupProtocol::Consumer,
            Some(_) | None => GroupProtocol::Classic,
        };
        if protocol == GroupProtocol::Consumer {
            properties.retain(|key, _| !BROKER_DECIDES.contains(&key.as_str()));
        }
        match brokers {
            Some(brokers) if problems.is_empty() => {
                let group = args.group.clone();
                Ok(Self { brokers, group, topics, properties, token, protocol })
            }
            Some(_) | None => Err(problems),
        }
    }
}

impl TopicPattern {
    /// Reads a topic's name, or an expression that begins with `^`.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.starts_with('^') {
            let regex = Regex::new(text);
            return regex
                .map(Self::Regex)
                .map_err(|_| format!("\"{text}\" is no regular expression"));
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if text.is_empty() || text.len() > 249 || !text.chars().all(is_allowed) {
            return Err(format!(
                "\"{text}\" is no topic's name; a regular expression begins with ^"
            ));
        }
        Ok(Self::Literal(text.to_owned()))
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Literal(name) => name,
            Self::Regex(regex) => regex.as_str(),
        }
    }

    /// Returns whether the topic fits; an expression never means the broker's own topics.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Literal(name) => name == topic,
            Self::Regex(regex) => !topic.starts_with("__") && regex.is_match(topic),
        }
    }
}

/// Returns the token, which must be given exactly where the properties choose OAUTHBEARER: librdkafka
/// waits for one without a word, and needs none elsewhere.
fn token(
    properties: &BTreeMap<String, Secret>,
    secrets: &Secrets,
) -> Result<Option<BearerToken>, Problems> {
    let mechanism = ["sasl.mechanism", "sasl.mechanisms"].into_iter();
    let mechanism = mechanism.filter_map(|key| properties.get(key)).next_back();
    let is_bearer = mechanism.is_some_and(|name| name.expose().eq_ignore_ascii_case("OAUTHBEARER"));
    let rule = match (is_bearer, &secrets.sasl_token) {
        (true, None) => "must say where the token of sasl.mechanism=OAUTHBEARER is",
        (false, Some(_)) => "needs --kafka-property sasl.mechanism=OAUTHBEARER",
        (_, token) => return Ok(token.clone()),
    };
    Err(Problems::of("KAFKA_SASL_TOKEN_FILE", rule))
}

fn brokers(text: &str) -> Result<String, String> {
    let names_a_port = |broker: &str| match broker.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok(),
        None => !broker.is_empty(),
    };
    if text.split(',').map(str::trim).all(names_a_port) {
        return Ok(text.to_owned());
    }
    Err(format!("\"{text}\" must be HOST:PORT, or several with commas between"))
}

fn read_properties(path: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read \"{}\": {error}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

/// Reads `KEY=VALUE`; the value never appears in a message.
fn property(text: &str) -> Result<(String, Secret), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE, and one has no =")?;
    let (key, value) = (key.trim(), value.trim());
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
        return Err(format!("\"{key}\" {reason}"));
    }
    config::check_property(key, value)?;
    Ok((key.to_owned(), Secret::new(value)))
}
