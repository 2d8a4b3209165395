//! A PostgreSQL server of a test's own that lets nobody in without TLS.

use tempfile::TempDir;

use crate::support::certificates::{Authority, write};
use crate::support::{Database, free_port, lib};

/// A server; it ends with the test.
#[derive(Debug)]
pub(crate) struct Cluster {
    port: u16,
    folder: TempDir,
}

/// Who comes in with a password, and owns the database.
pub(crate) const WRITER: &str = "writer";
/// The writer's password, which no output may show.
pub(crate) const PASSWORD: &str = "pw-that-no-log-may-show";
/// Who comes in with a certificate alone, and has the writer's rights.
pub(crate) const CERTIFIED: &str = "certified";

// The server refuses to run as root and to share its key, so its folder is its user's.
const START: &str = r#"
bin=$(find_postgres)
own postgres "$1"
as postgres "$bin/initdb" --pgdata="$1/data" --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth=trust --no-sync
for file in host.key host.pem authority.pem; do
    install -m 600 "$1/$file" "$1/data/$file"
    if [ "$(id -u)" = 0 ]; then chown postgres: "$1/data/$file"; fi
done
as postgres tee -a "$1/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $2
unix_socket_directories = '$1'
fsync = off
ssl = on
ssl_cert_file = 'host.pem'
ssl_key_file = 'host.key'
ssl_ca_file = 'authority.pem'
CONF
as postgres tee "$1/data/pg_hba.conf" <<CONF
local all all trust
hostssl all certified 127.0.0.1/32 cert
hostssl all all 127.0.0.1/32 scram-sha-256
CONF
as postgres "$bin/pg_ctl" -D "$1/data" -l "$1/log" -w -t 60 start
"#;

const STOP: &str = r#"
as postgres "$(find_postgres)/pg_ctl" -D "$1/data" -m immediate -w stop || true
"#;

impl Cluster {
    /// Starts a server that the authority vouches for, under its address alone.
    pub(crate) fn start(authority: &Authority) -> Self {
        // The server's user must be able to enter it, so it is not below a home directory.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let pair = authority.host("127.0.0.1");
        write(folder.path(), "host.pem", &pair.certificate);
        write(folder.path(), "host.key", &pair.key);
        write(folder.path(), "authority.pem", &authority.pem());
        let cluster = Self { port: free_port(), folder };
        lib(START, &[cluster.path(), &cluster.port.to_string()]);
        cluster.open("postgres").run(&format!(
            "CREATE ROLE {WRITER} LOGIN PASSWORD '{PASSWORD}';
             CREATE ROLE {CERTIFIED} LOGIN IN ROLE {WRITER};"
        ));
        cluster
    }

    /// Makes a database, and opens it as its superuser, without TLS.
    pub(crate) fn database(&self, name: &str) -> Database {
        self.open("postgres").run(&format!("CREATE DATABASE {name} OWNER {WRITER}"));
        self.open(name)
    }

    /// Returns the URL of a database for a user who comes by TLS to that host.
    pub(crate) fn url(&self, user: &str, host: &str, database: &str) -> String {
        format!("postgres://{user}@{host}:{}/{database}", self.port)
    }

    fn open(&self, database: &str) -> Database {
        let (folder, port) = (self.path(), self.port);
        let place = format!("host={folder}&port={port}&sslmode=disable");
        Database::open(&format!("postgres://postgres@localhost/{database}?{place}"))
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        lib(STOP, &[self.path()]);
    }
}
