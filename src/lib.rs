//! Applies Debezium change events from Kafka to relational databases, exactly once.

pub mod batch;
pub mod checkpoint;
pub mod commands;
pub mod decode;
pub mod demo;
pub mod fold;
pub mod kafka;
pub mod record;
pub mod refused;
pub mod rows;
pub mod stopped;
pub mod table;
pub mod target;
pub mod telemetry;
