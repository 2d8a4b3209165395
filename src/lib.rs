//! Applies Debezium change events from Kafka to relational databases, exactly once.

pub mod amend;
pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod decode;
pub mod demo;
pub mod fold;
pub mod guard;
pub mod http;
pub mod identity;
pub mod kafka;
pub mod lane;
pub mod mapping;
pub mod moves;
pub mod record;
pub mod refused;
pub mod rows;
pub mod rules;
pub mod settings;
pub mod status;
pub mod stopped;
pub mod table;
pub mod target;
pub mod tasks;
pub mod telemetry;
