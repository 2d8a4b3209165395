//! The integration tests: the real program on the real stack, judged from outside.
//!
//! Each test has a [`World`](support::World) of its own: topics, a source schema, a target database.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stderr, reason = "a test's report goes where cargo test keeps it")]

mod bad_input;
mod delivery;
mod formats;
mod kill;
mod proof_can_fail;
mod scale;
mod support;
mod zombie;
