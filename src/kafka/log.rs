//! The log: metadata, watermarks and records, seen without joining the group.
