//! A PostgreSQL server of a test's own, which can crash, be put back to a copy of itself, and run out
//! of disk.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Database, free_port, lib, until};

/// A server; it ends with the test.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    folder: TempDir,
}

// The server refuses to run as root, so its folder is its user's.
const MAKE: &str = r#"
own postgres "$1"
as postgres "$bin/initdb" --pgdata="$1/data" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth=trust --no-sync
as postgres tee -a "$1/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$1'
shared_buffers = 16MB
fsync = off
$3
CONF
"#;

const START: &str = r#"
as postgres "$bin/pg_ctl" -D "$1/data" -l "$1/log" -o "-p $2" -w -t 60 start
"#;

const STOP: &str = r#"
as postgres "$bin/pg_ctl" -D "$1/data" -m "$3" -w stop
"#;

const COPY: &str = r#"
as postgres "$bin/pg_basebackup" -D "$1/copy" -h 127.0.0.1 -p "$2" -U postgres -c fast -N -R
"#;

const PUT_BACK: &str = r#"
rm -r "$1/data"
mv "$1/copy" "$1/data"
"#;

const PROMOTE: &str = r#"
as postgres "$bin/pg_ctl" -D "$1/data" -w -t 60 promote
"#;

impl Server {
    /// Starts a server with lines of its configuration, and with the database that members write to.
    pub(crate) fn start(settings: &str) -> Self {
        // The server's user must be able to enter it, so it is not below a home directory.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let server = Self { port: free_port(), folder };
        server.script(MAKE, settings);
        server.script(START, "");
        let admin = Database::open(&server.url("postgres", "postgres"));
        admin.run("CREATE ROLE writer LOGIN");
        admin.run("CREATE DATABASE mirror OWNER writer");
        server
    }

    /// Opens the members' database as its superuser.
    pub(crate) fn open(&self) -> Database {
        Database::open(&self.url("postgres", "mirror"))
    }

    /// Returns where members write to.
    pub(crate) fn target(&self) -> String {
        self.url("writer", "mirror")
    }

    /// Ends the server as a crash does.
    pub(crate) fn crash(&self) {
        self.script(STOP, "immediate");
    }

    /// Starts it again.
    pub(crate) fn restart(&self) {
        self.script(START, "");
    }

    /// Starts it where no member looks for it, runs `look`, and ends it.
    pub(crate) fn aside<T>(&self, look: impl FnOnce(&Database) -> T) -> T {
        let port = free_port();
        let path = self.path();
        lib(&script(START), &[path, &port.to_string()]);
        let found = look(&Database::open(&format!("postgres://postgres@127.0.0.1:{port}/mirror")));
        self.script(STOP, "fast");
        found
    }

    /// Copies the running server.
    pub(crate) fn copy(&self) {
        self.script(COPY, "");
    }

    /// Ends the server and puts the copy in its place, as one restores a backup.
    pub(crate) fn restore(&self) {
        self.crash();
        self.script(PUT_BACK, "");
        self.script("rm \"$1/data/standby.signal\"", "");
        self.restart();
    }

    /// Ends the server and promotes the copy, a replica that has received nothing since.
    pub(crate) fn fail_over(&self) {
        self.crash();
        self.script(PUT_BACK, "");
        self.restart();
        self.script(PROMOTE, "");
    }

    /// Changes a setting of the running server, and returns when it has taken it; nothing takes it
    /// back.
    pub(crate) fn set(&self, name: &str, value: &str) {
        // A session has the settings that the server had when it began, and when those were read.
        let loaded = || self.open().value("SELECT pg_conf_load_time()");
        let (admin, before) = (self.open(), loaded());
        let set = match value {
            "" => format!("ALTER SYSTEM RESET {name}"),
            value => format!("ALTER SYSTEM SET {name} = '{value}'"),
        };
        admin.run(&set);
        admin.run("SELECT pg_reload_conf()");
        until(Duration::from_secs(10), "the server's settings", || loaded() != before);
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn script(&self, text: &str, argument: &str) {
        lib(&script(text), &[self.path(), &self.port.to_string(), argument]);
    }
}

fn script(text: &str) -> String {
    format!("bin=$(find_postgres)\n{text}")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script(&format!("{{ {STOP} }} || true"), "immediate");
    }
}

/// A disk of two megabytes for a server's tables; it goes with the test, after the server.
#[derive(Debug)]
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts it; a test that may not mount fails here, and says so.
    pub(crate) fn mount() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let disk = Self(folder);
        lib("root mount -t tmpfs -o size=2m tmpfs \"$1\"; own postgres \"$1\"", &[disk.path()]);
        disk
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        lib("root umount -l \"$1\" || true", &[self.path()]);
    }
}
