//! Kafka: the only module that names rdkafka.

pub mod config;
#[cfg(test)]
pub(crate) mod fixture;
pub mod log;
pub mod reader;
