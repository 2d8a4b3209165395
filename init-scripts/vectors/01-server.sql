-- Takes effect at the next start, which follows these scripts on either stack.
ALTER SYSTEM SET wal_level = 'logical';
