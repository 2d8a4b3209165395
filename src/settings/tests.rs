use std::ffi::OsString;

use expect_test::{Expect, expect};

use super::*;
use crate::cli::{Command, Environment, Invocation, parse};

type Variables<'a> = &'a [(&'static str, &'static str)];

fn made(line: &str, variables: Variables<'_>) -> Result<Settings, Problems> {
    let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    let Invocation { command, secrets, file, .. } =
        parse(&args, &Environment::of(variables.iter().copied())).unwrap();
    match command {
        Command::Run(args) => Settings::new(&args, &secrets, &file),
        other => panic!("not run, but {other:?}"),
    }
}

fn problems(line: &str, variables: Variables<'_>, expected: &Expect) {
    let problems = made(line, variables).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = made("consumer --target sqlite://x.sqlite", &[]).unwrap();

    assert_eq!(settings.kafka.protocol, GroupProtocol::Classic);
    assert!(settings.kafka.topics[0].matches("dbserver1.public.users"));
    assert!(!settings.kafka.topics[0].matches("dbserver1x.public.users"));
    assert!(settings.registry.is_none());
    assert_eq!(settings.batch.rows_max.get(), 50_000);
    assert_eq!(settings.batch.bytes_max.get(), 16 * 1024 * 1024);
    assert_eq!(settings.batch.age_max, Duration::from_millis(50));
    assert_eq!(settings.lanes.get(), 1);
    assert_eq!(settings.http, Listen::Usual);
    assert_eq!(settings.startup_timeout, Duration::from_secs(60));
    assert_eq!(settings.log_format, LogFormat::Text);
    assert_eq!(settings.on_refused, OnRefused::DeadLetter);
    assert_eq!(settings.tables.schema_changes, SchemaChanges::Apply);
    assert_eq!(settings.tables.synced_at_column.as_deref(), Some("synced_at"));
    assert!(!settings.tables.skips_unchanged);
    assert_eq!(settings.tables.rules.deletes, DeletePolicy::Hard);
}

#[test]
fn all_problems_are_told_at_once() {
    problems(
        "consumer --brokers host:port --topics users* --topics ^( --batch-rows 0 --batch-bytes 1 \
         --batch-age 2h --lanes many --http here --log-format xml --deletes harder \
         --table orders --on-refused shrug --schema-registry-url ftp://r --schema-registry-use-id id \
         --startup-timeout soon",
        &[],
        &expect![[r#"
            --brokers (KAFKA_BOOTSTRAP_SERVERS) "host:port" must be HOST:PORT, or several with commas between
            --topics (KAFKA_TOPICS) "users*" is no topic's name; a regular expression begins with ^
            --topics (KAFKA_TOPICS) "^(" is no regular expression
            --schema-registry-url (SCHEMA_REGISTRY_URL) "ftp://r/" must begin with http:// or https://
            --schema-registry-use-id (SCHEMA_REGISTRY_USE_ID) "id" must be one of globalId, contentId
            --target (TARGET_DATABASE_URL) must say where the rows go, as postgres://USER@HOST:PORT/DATABASE or sqlite://FILE
            --table (TABLES) "orders" must be PATTERN=TEMPLATE
            --deletes (DELETES) "harder" must be one of hard, soft, ignore
            --on-refused (ON_REFUSED) "shrug" must be one of dead-letter, stop
            --batch-rows (BATCH_ROWS) "0" must be a whole number from 1 to 10000000
            --batch-bytes (BATCH_BYTES) "1" must be from 1024 to 268435456 bytes
            --batch-age (BATCH_AGE) "2h" must be at most 1m
            --lanes (LANES) "many" must be a whole number from 1 to 64
            --http (HTTP_LISTEN) "here" must be HOST:PORT or off
            --startup-timeout (STARTUP_TIMEOUT) "soon" must be a duration such as 50ms or 2s
            --log-format (LOG_FORMAT) "xml" must be one of text, json"#]],
    );
}

#[test]
fn a_property_that_the_guarantee_rests_on_is_refused_with_the_reason() {
    problems(
        "consumer --target sqlite://x --kafka-property isolation.level=read_uncommitted \
         --kafka-property group.id=x --kafka-property nonsense --kafka-property clint.id=x \
         --kafka-property group.protocol=new --kafka-property fetch.min.bytes=secret",
        &[],
        &expect![[r#"
            --kafka-property (KAFKA_PROPERTIES) "isolation.level" must stay read_committed: an aborted record is no change
            --kafka-property (KAFKA_PROPERTIES) "group.id" has a flag of its own: --group
            --kafka-property (KAFKA_PROPERTIES) must be KEY=VALUE, and one has no =
            --kafka-property (KAFKA_PROPERTIES) "clint.id" is no property of librdkafka
            --kafka-property (KAFKA_PROPERTIES) "group.protocol" cannot have this value
            --kafka-property (KAFKA_PROPERTIES) "fetch.min.bytes" cannot have this value"#]],
    );
}

#[test]
fn every_refused_property_is_one_of_librdkafkas() {
    for (key, _) in REFUSED {
        let checked = crate::kafka::config::check_property(key, "?");
        assert!(!checked.is_err_and(|rule| rule.contains("no property")), "{key}");
    }
}

#[test]
fn properties_of_a_flag_win_over_those_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p");
    std::fs::write(&path, "# comment\nclient.rack = a\n\nclient.id=b=c\n").unwrap();
    let line = format!(
        "consumer --target sqlite://x --kafka-properties-file {} --kafka-property client.rack=z",
        path.display()
    );
    let kafka = made(&line, &[("KAFKA_SASL_PASSWORD", "s3cret")]).unwrap().kafka;

    let value = |key: &str| kafka.properties.get(key).map(Secret::expose);
    assert_eq!(value("client.rack"), Some("z"));
    assert_eq!(value("client.id"), Some("b=c"));
    assert_eq!(value("sasl.password"), Some("s3cret"));
    assert!(!format!("{kafka:?}").contains("s3cret"));
}

#[test]
fn the_brokers_protocol_leaves_out_what_the_broker_decides() {
    let line = "consumer --target sqlite://x --kafka-property group.protocol=consumer \
                --kafka-property session.timeout.ms=6000";
    let kafka = made(&line.replace("  ", ""), &[]).unwrap().kafka;
    assert_eq!(kafka.protocol, GroupProtocol::Consumer);
    assert!(kafka.properties.is_empty());
}

#[test]
fn the_topic_of_copies_is_one_and_none_of_those_that_are_read() {
    let made = |topic: &str| {
        let line = format!("consumer --target sqlite://x --dead-letter-topic {topic}");
        made(&line, &[]).map(|settings| settings.dead_letter_topic)
    };
    assert_eq!(made("letters").unwrap().as_deref(), Some("letters"));
    for (topic, told) in [
        ("^l.*", "\"^l.*\" must be the name of one topic"),
        ("a/b", "\"a/b\" is no topic's name; a regular expression begins with ^"),
        (
            "dbserver1.dead",
            "\"dbserver1.dead\" is one of the topics that are read, by \"^dbserver1\\..*\"",
        ),
    ] {
        let error = made(topic).unwrap_err().to_string();
        assert_eq!(error, format!("--dead-letter-topic (DEAD_LETTER_TOPIC) {told}"));
    }
}

#[test]
fn a_target_says_what_it_must_be() {
    problems(
        "consumer",
        &[],
        &expect![
            "--target (TARGET_DATABASE_URL) must say where the rows go, as postgres://USER@HOST:PORT/DATABASE or sqlite://FILE"
        ],
    );
    for (url, told) in [
        ("mysql://h/db", "begins with \"mysql://\", which is not supported yet"),
        ("mssql://h/db", "begins with \"mssql://\", which is not supported yet"),
        ("oracle://h/db", "begins with \"oracle:\", but must begin with postgres:// or sqlite://"),
        ("host", "is no URL: it has no scheme"),
        ("sqlite://", "must name a file, as sqlite://FILE, without parameters"),
        ("postgres://u:secret@h", "\"postgres://u@h\" must name a database"),
    ] {
        let error = made(&format!("consumer --target {url}"), &[]).unwrap_err().to_string();
        assert_eq!(error, format!("--target (TARGET_DATABASE_URL) {told}"));
    }
}

#[test]
fn no_password_is_ever_shown() {
    let line = "consumer --target postgres://u:p4ss@h:5432/db?password=p4ss \
                --schema-registry-url http://me:p4ss@r:8081/";
    let settings = made(&line.replace("  ", ""), &[]).unwrap();

    assert_eq!(settings.target.to_string(), "postgres://u@h:5432/db");
    assert!(!format!("{settings:?}").contains("p4ss"));
    let registry = settings.registry.unwrap();
    assert_eq!(registry.url, "http://r:8081");
    assert_eq!(registry.user.unwrap().expose(), "me");
    assert_eq!(registry.password.unwrap().expose(), "p4ss");
}

#[test]
fn a_token_is_given_exactly_where_the_mechanism_wants_one() {
    let bearer = "consumer --target sqlite://x --kafka-property sasl.mechanism=OAUTHBEARER";
    let token = ("KAFKA_SASL_TOKEN", "t");

    assert!(made(bearer, &[token]).unwrap().kafka.token.is_some());
    problems(
        bearer,
        &[],
        &expect!["KAFKA_SASL_TOKEN_FILE must say where the token of sasl.mechanism=OAUTHBEARER is"],
    );
    problems(
        "consumer --target sqlite://x --kafka-property sasl.mechanism=PLAIN",
        &[token],
        &expect!["KAFKA_SASL_TOKEN_FILE needs --kafka-property sasl.mechanism=OAUTHBEARER"],
    );
}

#[test]
fn what_is_asked_of_tls_is_there_and_one_credential_is_enough() {
    problems(
        "consumer --target postgres://u@h/db?sslmode=strict",
        &[],
        &expect![[
            r#"--target (TARGET_DATABASE_URL) has sslmode "strict", which must be one of disable, allow, prefer, require, verify-ca, verify-full"#
        ]],
    );
    problems(
        "consumer --target postgres://u@h/db?sslrootcert=/no/ca.pem",
        &[],
        &expect![[
            r#"--target (TARGET_DATABASE_URL) has an sslrootcert, and cannot read "/no/ca.pem": No such file or directory (os error 2)"#
        ]],
    );
    problems(
        "consumer --target postgres://u@h/db?sslpassword=p4ss",
        &[],
        &expect![
            "--target (TARGET_DATABASE_URL) has an sslpassword, but sslkey must not be encrypted"
        ],
    );
    problems(
        "consumer --target sqlite://x --schema-registry-url http://u:p@r --schema-registry-ca-file Cargo.toml",
        &[("SCHEMA_REGISTRY_TOKEN", "t")],
        &expect![[r#"
            SCHEMA_REGISTRY_TOKEN is given, and a user as well: one must go
            --schema-registry-ca-file (SCHEMA_REGISTRY_CA_FILE) needs a --schema-registry-url that begins with https://"#]],
    );
}

#[test]
fn a_password_from_a_variable_takes_its_place_in_the_url() {
    let line = "consumer --target postgres://u@h/db --schema-registry-url http://a%40b:x@r";
    let variables = [("TARGET_DATABASE_PASSWORD", "p@ss/1"), ("SCHEMA_REGISTRY_PASSWORD", "y")];
    let settings = made(line, &variables).unwrap();

    match settings.target {
        TargetAddress::Postgres { url, .. } => {
            assert_eq!(url.expose(), "postgres://u:p%40ss%2F1@h/db");
        }
        TargetAddress::Sqlite(_) => panic!("not PostgreSQL"),
    }
    let registry = settings.registry.unwrap();
    assert_eq!(registry.user.unwrap().expose(), "a@b");
    assert_eq!(registry.password.unwrap().expose(), "y");
}

#[test]
fn an_expression_never_means_the_brokers_own_topics() {
    let all = TopicPattern::new("^.*").unwrap();
    assert!(all.matches("users"));
    assert!(!all.matches("__consumer_offsets"));
}

#[test]
fn the_two_time_columns_must_differ_and_the_first_may_be_none() {
    let line = "consumer --target sqlite://x --deleted-at-column t --synced-at-column t";
    assert!(made(line, &[]).is_err());
    let settings = made("consumer --target sqlite://x", &[("SYNCED_AT_COLUMN", "")]).unwrap();
    assert_eq!(settings.tables.synced_at_column, None);
}

#[test]
fn the_same_rows_are_left_alone_where_a_flag_or_a_variable_says_so() {
    let plain = "consumer --target sqlite://x";
    let is_on = |line: &str, value: &'static str| {
        made(line, &[("SKIP_UNCHANGED", value)]).unwrap().tables.skips_unchanged
    };
    assert!(is_on(&format!("{plain} --skip-unchanged"), ""));
    assert!(is_on(plain, "true") && is_on(plain, "1"));
    assert!(!is_on(plain, "") && !is_on(plain, "false"));
}
