//! The lane's flows, on the bench: each test plays the target, the log, the registry and the group.

mod ahead;
mod batches;
mod claims;
mod heads;
mod identity;
mod leads;
mod positions;
mod rebalances;
mod refused;
mod tombstones;
