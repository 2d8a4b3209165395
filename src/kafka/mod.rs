//! Kafka: the only module that names rdkafka.

pub mod config;
pub mod log;
pub mod reader;
