//! What JSON without schemas does not say: the connector's settings.

use serde::Deserialize;

use crate::settings::Problems;

/// One `[source."prefix"]`: settings of the connector whose `topic.prefix` this is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// `time.precision.mode`.
    pub time_precision_mode: Option<String>,
    /// `decimal.handling.mode`.
    pub decimal_handling_mode: Option<String>,
    /// `binary.handling.mode`.
    pub binary_handling_mode: Option<String>,
    /// `interval.handling.mode`.
    pub interval_handling_mode: Option<String>,
    /// `hstore.handling.mode`.
    pub hstore_handling_mode: Option<String>,
    /// `bigint.unsigned.handling.mode`.
    pub bigint_unsigned_handling_mode: Option<String>,
    /// `money.fraction.digits`.
    pub money_fraction_digits: Option<u8>,
    /// `unavailable.value.placeholder`.
    pub unavailable_value_placeholder: Option<String>,
}

/// The values that Debezium documents for `time.precision.mode`.
const TIME: [&str; 7] = [
    "adaptive",
    "adaptive_time_microseconds",
    "connect",
    "isostring",
    "microseconds",
    "nanoseconds",
    "structured",
];

impl SourceSettings {
    /// The keys, as the file spells them.
    pub const KEYS: [&str; 8] = [
        "time_precision_mode",
        "decimal_handling_mode",
        "binary_handling_mode",
        "interval_handling_mode",
        "hstore_handling_mode",
        "bigint_unsigned_handling_mode",
        "money_fraction_digits",
        "unavailable_value_placeholder",
    ];

    /// Adds a problem for each value that Debezium does not know.
    pub fn check(&self, path: &str, problems: &mut Problems) {
        let [time, decimal, binary, interval, hstore, bigint, ..] = Self::KEYS;
        let rules: [(&str, &Option<String>, &[&str]); 6] = [
            (time, &self.time_precision_mode, &TIME),
            (decimal, &self.decimal_handling_mode, &["precise", "double", "string"]),
            (binary, &self.binary_handling_mode, &["bytes", "base64", "base64-url-safe", "hex"]),
            (interval, &self.interval_handling_mode, &["numeric", "string"]),
            (hstore, &self.hstore_handling_mode, &["json", "map"]),
            (bigint, &self.bigint_unsigned_handling_mode, &["long", "precise"]),
        ];
        for (key, value, known) in rules {
            let wrong = value.as_deref().filter(|value| !known.contains(value));
            if let Some(value) = wrong {
                let rule = format!("\"{value}\" must be one of {}", known.join(", "));
                problems.add(&format!("{path}.{key}"), rule);
            }
        }
    }
}
