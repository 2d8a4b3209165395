//! What librdkafka is told: the user's properties, under those that the guarantee rests on.

use rdkafka::config::ClientConfig;

use crate::settings::{GroupProtocol, Kafka};

/// The member that polls. What a user may override stands before the user's own properties, what
/// the guarantee rests on behind them.
pub fn consumer(kafka: &Kafka) -> ClientConfig {
    let mut config = common("afterimage");
    config
        // High watermarks and the state of fetching come with the statistics.
        .set("statistics.interval.ms", "5000")
        // A consumer that was faster than its queue would stand still for this long; the default is
        // a second.
        .set("fetch.queue.backoff.ms", "2")
        // A topic that matches, and a partition that is added, are read within seconds.
        .set("topic.metadata.refresh.interval.ms", "5000")
        // Over many partitions the default of 50 MiB would have all of them wait for one answer.
        .set("fetch.max.bytes", "4194304")
        // Enough ahead to never wait, little enough to stay small, and little to be thrown away when
        // a full lane pauses: all three count for each partition, what is fetched of JSON is many times
        // larger when it is decompressed, and librdkafka keeps half a kilobyte beside each record. A
        // record that is larger than a fetch comes all the same.
        .set("max.partition.fetch.bytes", "131072")
        .set("queued.min.messages", "2000")
        .set("queued.max.messages.kbytes", "1024");
    if kafka.protocol == GroupProtocol::Classic {
        config.set("session.timeout.ms", "45000");
    }
    apply(kafka, &mut config);
    config
        .set("group.id", &kafka.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("allow.auto.create.topics", "false");
    match kafka.protocol {
        GroupProtocol::Classic => config.set("partition.assignment.strategy", "cooperative-sticky"),
        GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
    };
    config
}

/// A client that looks: it names the group to ask for its offsets, and never joins it.
pub fn looking(kafka: &Kafka) -> ClientConfig {
    let mut config = common("afterimage-look");
    config.set("fetch.queue.backoff.ms", "10");
    apply(kafka, &mut config);
    // A static member's id would fence the member.
    config.remove("group.instance.id");
    config
        .set("group.id", &kafka.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false");
    config
}

/// Longer than a broker's hiccup, shorter than the minute for which a copy is ours to make.
const COPY_MILLIS_MAX: &str = "30000";

/// The largest that librdkafka allows: what a broker has taken once it takes again, or says that it
/// does not.
const COPY_BYTES_MAX: &str = "1000000000";

/// A producer of copies.
pub fn producer(kafka: &Kafka) -> ClientConfig {
    let mut config = common("afterimage-copies");
    config.set("message.max.bytes", COPY_BYTES_MAX);
    apply(kafka, &mut config);
    config
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", COPY_MILLIS_MAX)
        .set("allow.auto.create.topics", "false");
    config
}

/// Returns why librdkafka refuses a property, by itself.
pub fn check_property(key: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(key, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        // librdkafka's own text repeats the value, which may be a password.
        Err(rdkafka::error::KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
            ..,
        )) => Err(format!("\"{key}\" is no property of librdkafka")),
        Err(_) => Err(format!("\"{key}\" cannot have this value")),
    }
}

/// What every client is told before the user's own properties.
fn common(client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", client_id)
        // The OpenSSL inside looks for authorities where it would have been installed, and finds
        // none: this finds the system's.
        .set("ssl.ca.location", "probe");
    config
}

fn apply(kafka: &Kafka, config: &mut ClientConfig) {
    for (key, value) in &kafka.properties {
        config.set(key, value.expose());
    }
    config.set("bootstrap.servers", &kafka.brokers);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::Secret;

    fn kafka(protocol: GroupProtocol, properties: &[(&str, &str)]) -> Kafka {
        let properties: BTreeMap<_, _> = properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)))
            .collect();
        let (brokers, group) = ("localhost:9092".to_owned(), "g".to_owned());
        Kafka { brokers, group, topics: Vec::new(), properties, token: None, protocol }
    }

    #[test]
    fn what_the_guarantee_rests_on_wins_over_the_user_and_the_rest_does_not() {
        let user = [("isolation.level", "read_uncommitted"), ("queued.min.messages", "1")];
        let config = consumer(&kafka(GroupProtocol::Classic, &user));

        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.get("queued.min.messages"), Some("1"));
        assert_eq!(config.get("session.timeout.ms"), Some("45000"));
        config.create_native_config().unwrap();
    }

    #[test]
    fn the_brokers_protocol_leaves_out_what_it_forbids() {
        let config = consumer(&kafka(GroupProtocol::Consumer, &[]));

        assert_eq!(config.get("group.protocol"), Some("consumer"));
        assert_eq!(config.get("partition.assignment.strategy"), None);
        assert_eq!(config.get("session.timeout.ms"), None);
        config.create::<rdkafka::consumer::BaseConsumer>().unwrap();
    }

    #[test]
    fn a_looking_client_takes_no_members_identity() {
        let config = looking(&kafka(GroupProtocol::Classic, &[("group.instance.id", "a")]));
        assert_eq!(config.get("group.instance.id"), None);
        config.create_native_config().unwrap();
    }

    #[test]
    fn librdkafka_says_what_it_does_not_know() {
        assert_eq!(check_property("client.rack", "a"), Ok(()));
        assert_eq!(check_property("ssl.key.password", "x"), Ok(()));
        assert_eq!(
            check_property("clint.rack", "a").unwrap_err(),
            "\"clint.rack\" is no property of librdkafka"
        );
        assert_eq!(
            check_property("fetch.min.bytes", "many").unwrap_err(),
            "\"fetch.min.bytes\" cannot have this value"
        );
    }
}
