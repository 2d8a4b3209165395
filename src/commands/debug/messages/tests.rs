use std::ffi::OsString;

use super::*;
use crate::cli::{Command, DebugCommand, Environment, parse};
use crate::kafka::fixture::{Broker, Sent};
use expect_test::{Expect, expect};

/// Partition 0 holds `k0` to `k4`, partition 1 `k5` to `k9`; their times alternate.
fn broker() -> Broker {
    let broker = Broker::start(&[("t", 2)]);
    for number in 0..10 {
        let (key, value) = (format!("k{number}"), format!("v{number}"));
        let value = match number {
            3 => None,
            7 => Some(&b"v\xff"[..]),
            _ => Some(value.as_bytes()),
        };
        broker.send([Sent {
            topic: "t",
            partition: i32::from(number >= 5),
            timestamp: 1_700_000_000_000 + number % 5 * 1000,
            key: Some(key.as_bytes()),
            value,
            headers: &[("h", Some("x")), ("null", None)],
        }]);
    }
    broker
}

async fn shown(broker: &Broker, flags: &str) -> anyhow::Result<String> {
    let address = broker.address();
    let line = format!("consumer debug messages --brokers {address} {flags}");
    let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let Command::Debug(DebugCommand::Messages(args)) =
        parse(&args, &Environment::default()).unwrap().command
    else {
        panic!("not debug messages")
    };
    let mut out = Vec::new();
    run(&args, &Context::default(), &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

async fn check(flags: &str, expected: &Expect) {
    expected.assert_eq(&shown(&broker(), flags).await.unwrap());
}

async fn keys(broker: &Broker, flags: &str) -> String {
    let text = shown(broker, &format!("t --raw --format json {flags}")).await.unwrap();
    let key = |line: &str| {
        let fields: Value = serde_json::from_str(line).unwrap();
        String::from_utf8(BASE64.decode(fields["key"].as_str().unwrap()).unwrap()).unwrap()
    };
    text.lines().map(key).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn raw_records_are_text_where_they_are_text() {
    check(
        "t --raw --limit 6",
        &expect![[r#"
        PARTITION  OFFSET  TIMESTAMP                 HEADERS   KEY  VALUE
                0       2  2023-11-14T22:13:22.000Z  h=x null  k2   v2
                1       2  2023-11-14T22:13:22.000Z  h=x null  k7   0x76ff
                0       3  2023-11-14T22:13:23.000Z  h=x null  k3   -
                1       3  2023-11-14T22:13:23.000Z  h=x null  k8   v8
                0       4  2023-11-14T22:13:24.000Z  h=x null  k4   v4
                1       4  2023-11-14T22:13:24.000Z  h=x null  k9   v9
    "#]],
    )
    .await;
}

#[tokio::test]
async fn raw_json_carries_the_bytes_whole() {
    check("t --raw --limit 2 --from 2 --partition 1 --format json", &expect![[r#"
        {"topic":"t","partition":1,"offset":2,"timestamp":"2023-11-14T22:13:22.000Z","headers":[["h","eA=="],["null",null]],"key":"azc=","value":"dv8="}
        {"topic":"t","partition":1,"offset":3,"timestamp":"2023-11-14T22:13:23.000Z","headers":[["h","eA=="],["null",null]],"key":"azg=","value":"djg="}
    "#]]).await;
}

#[tokio::test]
async fn the_newest_of_all_partitions_come_by_time() {
    let broker = broker();
    assert_eq!(keys(&broker, "--limit 3").await, "k8 k4 k9");
    assert_eq!(keys(&broker, "--limit 100").await, "k0 k5 k1 k6 k2 k7 k3 k8 k4 k9");
    assert_eq!(keys(&broker, "--limit 0").await, "");
}

#[tokio::test]
async fn a_position_is_a_beginning_an_offset_or_the_end() {
    let broker = broker();
    assert_eq!(keys(&broker, "--limit 3 --from beginning").await, "k0 k5 k1");
    assert_eq!(keys(&broker, "--limit 3 --from 3").await, "k3 k8 k4");
    assert_eq!(keys(&broker, "--limit 3 --from 3 --partition 1").await, "k8 k9");
    assert_eq!(keys(&broker, "--from end").await, "");
    assert_eq!(keys(&broker, "--from 77").await, "");
}

#[tokio::test]
async fn a_rare_key_is_found_far_behind_the_newest() {
    let broker = broker();
    assert_eq!(keys(&broker, "--limit 1 --key k0").await, "k0");
    assert_eq!(keys(&broker, "--limit 1 --key k").await, "k9");
    assert_eq!(keys(&broker, "--key nobody").await, "");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let broker = broker();
    let told = |error: anyhow::Result<String>| error.unwrap_err().to_string();

    assert_eq!(
        told(shown(&broker, "nowhere --raw").await),
        "topic \"nowhere\" does not exist, or may not be seen"
    );
    assert_eq!(
        told(shown(&broker, "t --raw --partition 2").await),
        "topic \"t\" has no partition 2 of 2"
    );
    assert_eq!(
        told(shown(&broker, "t --raw --from soon").await),
        "--from \"soon\" must be beginning, end, an offset or @TIME"
    );
}

#[tokio::test]
async fn looking_joins_no_group() {
    let broker = broker();
    shown(&broker, "t --raw").await.unwrap();
    assert!(!broker.has_committed("afterimage", "t", 2));
}
