//! Tests against the stack of `make stack`: real Kafka, Debezium, registry and databases.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod looking;
mod postgres;
mod postgres_fence;
mod postgres_types;
mod support;
