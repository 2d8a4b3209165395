//! Connectors in Kafka Connect.

use serde_json::Value;

use crate::support::{LATER, SOON, Stack, http, until, within};

/// Reads one of the project's own configurations, with the stack's places in it.
pub(crate) fn template(name: &str) -> Value {
    let path = format!("{}/debezium-config/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(path).unwrap();
    for (name, value) in std::env::vars() {
        text = text.replace(&format!("${{{name}}}"), &value);
    }
    serde_json::from_str(&text).unwrap()
}

/// Starts a connector.
pub(crate) fn start(name: &str, config: &Value) {
    let config = config.to_string();
    let url = format!("{}/connectors/{name}/config", Stack::get().connect);
    until(LATER, &format!("Connect takes the connector {name}"), || {
        // 409 while the worker rebalances.
        http::send("PUT", &url, Some(&config)).is_ok_and(|answer| {
            assert_ne!(answer.status, 400, "{}", answer.body);
            answer.status < 300
        })
    });
}

/// Returns what Connect says of a connector and its task; empty when it does not answer.
pub(crate) fn status(name: &str) -> String {
    let url = format!("{}/connectors/{name}/status", Stack::get().connect);
    http::get(&url).map(|answer| answer.body).unwrap_or_default()
}

/// Panics with what a connector said when it ended.
pub(crate) fn must_not_have_failed(name: &str) {
    let status = status(name);
    assert!(!status.contains("\"FAILED\""), "the connector {name} failed: {status}");
}

/// Returns a connector's configuration.
pub(crate) fn config(name: &str) -> Value {
    let url = format!("{}/connectors/{name}/config", Stack::get().connect);
    serde_json::from_str(&http::get(&url).unwrap().body).unwrap()
}

/// Takes a connector away.
pub(crate) fn remove(name: &str) {
    let url = format!("{}/connectors/{name}", Stack::get().connect);
    within(SOON, || http::send("DELETE", &url, None).is_ok_and(|answer| answer.status != 409));
}
