use std::ffi::OsString;
use std::path::Path;

use expect_test::expect;

use super::*;

/// Parses a command line as if these variables were set.
fn given(line: &str, variables: &[(&'static str, &'static str)]) -> Result<Invocation, Refused> {
    let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    parse(&args, &Environment::of(variables.iter().copied()))
}

fn run(line: &str, variables: &[(&'static str, &'static str)]) -> RunArgs {
    match given(line, variables).unwrap().command {
        Command::Run(args) => *args,
        other => panic!("not run, but {other:?}"),
    }
}

fn config(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consumer.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn help(line: &str) -> String {
    given(line, &[]).unwrap_err().to_string()
}

#[test]
fn no_command_is_run_with_its_flags() {
    assert_eq!(run("consumer", &[]).kafka.brokers, "localhost:9092");
    assert_eq!(run("consumer --brokers b:1 --take-over", &[]).kafka.brokers, "b:1");
    assert_eq!(run("consumer run --brokers b:1", &[]).kafka.brokers, "b:1");
    assert!(given("consumer --brokers b:1 status", &[]).is_err());
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let (_folder, path) = config("[run]\nsink = 'file'\ngroup = 'file'\nbrokers = 'file:1'");
    let line = format!("consumer --config {path} --brokers flag:1");
    let args = run(&line, &[("KAFKA_BOOTSTRAP_SERVERS", "env:1"), ("KAFKA_GROUP_ID", "env")]);

    assert_eq!(args.kafka.brokers, "flag:1");
    assert_eq!(args.kafka.group, "env");
    assert_eq!(args.target.sink, "file");
    assert_eq!(args.work.lanes, "1");
}

#[test]
fn the_file_holds_for_every_command_and_may_be_named_by_a_variable() {
    let (_folder, path) =
        config("[run]\nsink = 'file'\ntopics = ['a', '^b']\nlanes = 2\ntake_over = true");
    let variables = [("CONSUMER_CONFIG", &*path.leak())];

    match given("consumer checkpoint list", &variables).unwrap().command {
        Command::Checkpoint(CheckpointCommand::List(args)) => {
            assert_eq!(args.target.sink, "file");
            assert_eq!(args.kafka.topics, ["a", "^b"]);
        }
        other => panic!("{other:?}"),
    }
    let args = run("consumer", &variables);
    assert_eq!(args.work.lanes, "2");
    assert!(args.work.take_over);
}

#[test]
fn a_list_in_a_variable_is_split_and_one_in_a_flag_is_not() {
    let args = run(
        "consumer --kafka-property a=1;2",
        &[("KAFKA_TOPICS", "a, b,,^c"), ("TABLES", "a.*=x.{table};b=c")],
    );
    assert_eq!(args.kafka.topics, ["a", "b", "^c"]);
    assert_eq!(args.tables.table, ["a.*=x.{table}", "b=c"]);
    assert_eq!(args.kafka.kafka_property, ["a=1;2"]);
    let args = run("consumer --topics ^a{1,2}", &[("KAFKA_PROPERTIES", "a=1;b=2\nc=3\n")]);
    assert_eq!(args.kafka.topics, ["^a{1,2}"]);
    assert_eq!(args.kafka.kafka_property, ["a=1", "b=2", "c=3"]);
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_not_set_except_where_it_means_none() {
    let args = run("consumer", &[("KAFKA_GROUP_ID", ""), ("SYNCED_AT_COLUMN", "")]);
    assert_eq!(args.kafka.group, "afterimage");
    assert_eq!(args.tables.synced_at_column, "");
}

#[test]
fn a_token_is_taken_from_one_place_and_its_text_is_checked_and_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> &'static str {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned().leak()
    };
    let path = file("token", "first\n");
    let variables = [("KAFKA_SASL_TOKEN_FILE", path), ("SCHEMA_REGISTRY_TOKEN", "given")];

    let secrets = given("consumer", &variables).unwrap().secrets;
    let token = secrets.sasl_token.as_ref().unwrap();
    assert_eq!(token.read().unwrap().expose(), "first");
    std::fs::write(path, "second").unwrap();
    assert_eq!(token.read().unwrap().expose(), "second");
    assert_eq!(secrets.registry_token.as_ref().unwrap().read().unwrap().expose(), "given");
    assert!(!format!("{secrets:?}").contains("given"));

    for (name, value) in [
        ("KAFKA_SASL_TOKEN_FILE", file("empty", "\n")),
        ("KAFKA_SASL_TOKEN_FILE", file("two", "a-secret b")),
        ("SCHEMA_REGISTRY_TOKEN", "a-secret\nX-Header: b"),
    ] {
        let error = given("consumer", &[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
        assert!(error.ends_with("must hold one token: visible ASCII, without blanks"), "{error}");
        assert!(!error.contains("a-secret"), "{error}");
    }
}

#[test]
fn secrets_come_from_variables_or_files_and_never_from_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "from file\n").unwrap();
    let path: &'static str = path.to_str().unwrap().to_owned().leak();
    let variables = [("TARGET_DATABASE_PASSWORD_FILE", path), ("KAFKA_SASL_PASSWORD", "direct")];

    let secrets = given("consumer", &variables).unwrap().secrets;
    assert_eq!(secrets.target_password.as_ref().unwrap().expose(), "from file");
    assert_eq!(secrets.sasl_password.as_ref().unwrap().expose(), "direct");
    assert!(!format!("{secrets:?}").contains("direct"));

    let both = [("SCHEMA_REGISTRY_USER", "u"), ("SCHEMA_REGISTRY_USER_FILE", path)];
    expect![
        "SCHEMA_REGISTRY_USER is set, and SCHEMA_REGISTRY_USER_FILE as well: one of them must go"
    ]
    .assert_eq(&given("consumer", &both).unwrap_err().to_string());
    let missing = [("SCHEMA_REGISTRY_USER_FILE", "/does/not/exist")];
    let error = given("consumer", &missing).unwrap_err().to_string();
    assert!(error.starts_with("SCHEMA_REGISTRY_USER_FILE cannot read"), "{error}");
}

#[test]
fn the_targets_url_may_stand_in_a_file_and_a_flag_wins_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    std::fs::write(&path, "sqlite://from-file\n").unwrap();
    let variables = [("TARGET_DATABASE_URL_FILE", &*path.to_str().unwrap().to_owned().leak())];
    assert_eq!(run("consumer", &variables).target.target.unwrap(), "sqlite://from-file");
    let args = run("consumer --target sqlite://flag", &variables);
    assert_eq!(args.target.target.unwrap(), "sqlite://flag");
}

#[test]
fn a_file_that_cannot_be_read_or_says_too_much_is_told() {
    let error = given("consumer --config /does/not/exist", &[]).unwrap_err().to_string();
    assert!(error.starts_with("--config (CONSUMER_CONFIG) cannot read"), "{error}");

    let (_folder, path) = config("[run]\nbroker = 'x'\n[tabel]");
    let error = given(&format!("consumer --config {path}"), &[]).unwrap_err().to_string();
    expect![[r#"tabel is no known key; the nearest is "table"; run.broker is no known key; the nearest is "brokers""#]]
        .assert_eq(&error);
}

#[test]
fn the_general_help_fits_a_screen() {
    let text = help("consumer --help");
    expect![[r#"
        Applies Debezium change events from Kafka to relational databases, exactly once

        Usage: consumer [COMMAND] [OPTIONS]

        Commands:
          run           Run the service: keep the target's tables equal to the source's
          demo          Show it in one process, nothing installed, and prove it right
          debug         Look at topics, records and the target's tables
          status        Show how far each partition is, and what is stopped or late
          plan          Print the DDL that would run; run nothing
          dead-letters  See refused records, apply them, or give them up
          checkpoint    See and set where a partition stands

        Without a command, the service runs, with the options of `consumer run --help`.
        Flags win over variables, variables over the file of --config (CONSUMER_CONFIG),
        the file over defaults. Data goes to standard output, talk to standard error.
        Exit codes: 0 done, 1 found differences or problems, 2 could not do it.
    "#]]
    .assert_eq(&text);
    assert!(text.lines().count() <= 24, "{} lines", text.lines().count());
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn each_flag_of_run_names_its_variable_and_its_default() {
    let text = help("consumer run --help");
    for (flag, variable, default) in [
        ("--brokers", "KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        ("--group", "KAFKA_GROUP_ID", "afterimage"),
        ("--topics", "KAFKA_TOPICS", r"^dbserver1\..*"),
        ("--kafka-property", "KAFKA_PROPERTIES", ""),
        ("--kafka-properties-file", "KAFKA_PROPERTIES_FILE", ""),
        ("--schema-registry-url", "SCHEMA_REGISTRY_URL", ""),
        ("--schema-registry-use-id", "SCHEMA_REGISTRY_USE_ID", "Confluent's id in four bytes"),
        ("--schema-registry-ca-file", "SCHEMA_REGISTRY_CA_FILE", ""),
        ("--target", "TARGET_DATABASE_URL", ""),
        ("--sink", "SINK_NAME", "afterimage"),
        ("--table", "TABLES", "names as they are"),
        ("--schema-changes", "SCHEMA_CHANGES", "apply"),
        ("--deletes", "DELETES", "hard"),
        ("--synced-at-column", "SYNCED_AT_COLUMN", "synced_at"),
        ("--deleted-at-column", "DELETED_AT_COLUMN", "deleted_at"),
        ("--on-refused", "ON_REFUSED", "dead-letter"),
        ("--dead-letter-topic", "DEAD_LETTER_TOPIC", "none"),
        ("--batch-rows", "BATCH_ROWS", "50000"),
        ("--batch-bytes", "BATCH_BYTES", "16MiB"),
        ("--batch-age", "BATCH_AGE", "50ms"),
        ("--lanes", "LANES", "1"),
        ("--http", "HTTP_LISTEN", "127.0.0.1:9187"),
        ("--startup-timeout", "STARTUP_TIMEOUT", "60s"),
        ("--log-format", "LOG_FORMAT", "text"),
    ] {
        let entry = text.split(&format!("  {flag} ")).nth(1).unwrap_or_else(|| panic!("{flag}"));
        let entry = entry.split("\n      --").next().unwrap();
        let entry = entry.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(entry.contains(&format!("[env: {variable}")), "{flag}: {entry}");
        if !default.is_empty() {
            assert!(entry.contains(&format!("[default: {default}")), "{flag}: {entry}");
        }
    }
    assert!(text.contains("--take-over") && text.contains("--until-caught-up"));
    assert!(text.contains("--skip-unchanged") && text.contains("[env: SKIP_UNCHANGED"));
}

#[test]
fn every_command_has_a_help_of_its_own() {
    let letters = ["list", "show", "replay", "discard"];
    let letters = letters.map(|command| format!("dead-letters {command}"));
    let others = ["demo", "debug topics", "debug messages", "debug target", "status", "plan"];
    for line in others.map(str::to_owned).into_iter().chain(letters) {
        let text = help(&format!("consumer {line} --help"));
        assert!(text.contains(&format!("Usage: consumer {line}")), "{text}");
    }
    let text = help("consumer checkpoint adopt --help");
    assert!(text.contains("earliest") && text.contains("--reason"), "{text}");
    for line in ["rewind", "skip", "release"] {
        let text = help(&format!("consumer checkpoint {line} --help"));
        assert!(text.contains("--topic <NAME>") && text.contains("--reason"), "{text}");
    }
}

#[test]
fn a_path_is_kept_as_it_is() {
    let args = run("consumer --kafka-properties-file /a/b.properties", &[]);
    assert_eq!(args.kafka.kafka_properties_file.as_deref(), Some(Path::new("/a/b.properties")));
}
