//! The integration tests: the real program on the real stack, judged from outside.
//!
//! Each test has a [`World`](support::World) of its own: topics, a source schema, a target database.
//! Only the tests of `postgres*` call the library, because they hold the target's promises one by one,
//! and `engines`, for the demo.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stderr, reason = "a test's report goes where cargo test keeps it")]

mod bad_input;
mod converters;
mod copies;
mod damaged;
mod dead_letters;
mod delivery;
mod engines;
mod events;
mod formats;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod framing;
mod guard;
mod identity;
mod kill;
mod labels;
mod leads;
mod letters;
mod log_faults;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod looking;
mod mariadb;
mod members;
mod moves;
mod postgres;
mod postgres_copy;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod postgres_fence;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod postgres_keyless;
mod postgres_laws;
mod postgres_leads;
mod postgres_letters;
mod postgres_neighbours;
mod postgres_parts;
mod postgres_refused;
mod postgres_schema;
mod postgres_session;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod postgres_support;
mod postgres_types;
mod postgres_unchanged;
mod proof_can_fail;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod record_laws;
mod refused;
mod rules;
mod scale;
mod schema_change;
mod secure_kafka;
mod secure_registry;
mod secure_target;
mod shapes;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod structured;
mod support;
mod target_changed;
mod target_full;
#[expect(clippy::indexing_slicing, reason = "a test stops at the first surprise")]
mod target_history;
mod target_locks;
mod topics;
mod unavailable;
mod vectors;
mod zombie;
