-- Logical decoding, and room for the connectors that tests add. Takes effect at the next start,
-- which follows these scripts on either stack.
ALTER SYSTEM SET wal_level = 'logical';
ALTER SYSTEM SET max_wal_senders = 20;
ALTER SYSTEM SET max_replication_slots = 20;
ALTER SYSTEM SET shared_buffers = '256MB';
