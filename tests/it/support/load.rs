//! Load at the source: a session that keeps changing two tables until it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{Source, let_pass};

/// What the load writes to.
///
/// `ledger` has no key and is only appended to: a record that takes effect twice shows as a doubled
/// row, one that is lost as a missing row. `accounts` is upserted: each write of a row raises its
/// version, from one counter for the whole table. `marks` tells when everything before has passed.
pub(crate) const TABLES: &str = "
CREATE SEQUENCE entries;
CREATE SEQUENCE versions;
CREATE TABLE ledger (
    entry bigint NOT NULL,
    account bigint NOT NULL,
    amount numeric(12, 2) NOT NULL,
    said text
);
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    version bigint NOT NULL,
    amount numeric(12, 2) NOT NULL,
    note text,
    changed_at timestamptz NOT NULL
);
CREATE TABLE marks (id bigint PRIMARY KEY);
INSERT INTO accounts
SELECT id, nextval('versions'), id * 1.25, NULL, now() FROM generate_series(1, 200) AS id";

/// The tables of the load, for the judge.
pub(crate) const COMPARED: [&str; 2] = ["ledger", "accounts"];

/// One turn: appends, updates, deletes with a later return, a changed key; each its own
/// transaction, so that batches end anywhere.
const TURN: [&str; 4] = [
    "INSERT INTO ledger
     SELECT nextval('entries'), 1 + i % 200, i * 0.01, CASE WHEN i % 3 = 0 THEN 'entry ' || i END
     FROM generate_series(1, 30) AS i",
    "UPDATE accounts
     SET version = nextval('versions'), amount = amount + 0.01, changed_at = now()
     WHERE id % 8 = (random() * 8)::int",
    "WITH gone AS (DELETE FROM accounts WHERE id % 50 = (random() * 50)::int RETURNING id)
     SELECT count(*) FROM gone;
     INSERT INTO accounts
     SELECT id, nextval('versions'), 0, 'back', now() FROM generate_series(1, 200) AS id
     WHERE (random() * 10)::int = 1
     ON CONFLICT DO NOTHING",
    "UPDATE accounts SET id = id + 1000, version = nextval('versions')
     WHERE id % 40 = (random() * 40)::int AND id < 1000
       AND NOT EXISTS (SELECT FROM accounts AS other WHERE other.id = accounts.id + 1000)",
];

/// How long the load waits between turns: some thousand records a second, which a debug build
/// carries beside the stack on two cores.
const BREATH: Duration = Duration::from_millis(30);

/// A session that writes until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts writing to [`TABLES`].
    pub(crate) fn start(source: &Source) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let session = source.session();
        let asked = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                for sql in TURN {
                    session.run(sql);
                }
                let_pass(BREATH);
            }
        });
        Self { stop, writer: Some(writer) }
    }

    /// Stops writing.
    pub(crate) fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.take().unwrap().join().unwrap();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            _ = writer.join();
        }
    }
}
