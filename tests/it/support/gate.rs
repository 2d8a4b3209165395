//! A gate before the registry: TLS with a certificate of the test, and nobody passes without the right
//! `Authorization`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

use crate::support::Stack;
use crate::support::certificates::Pair;

/// A gate; it closes with the test.
#[derive(Debug)]
pub(crate) struct Gate {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    registry: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What must be shown.
    wanted: String,
    /// What every request is answered instead; an empty line is no answer.
    outage: Option<String>,
    /// The paths that were let through.
    passed: Vec<String>,
    is_closed: bool,
}

impl Gate {
    /// Opens a gate with that certificate.
    pub(crate) fn open(pair: &Pair) -> Self {
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Url::parse(&Stack::get().registry).unwrap();
        let registry = format!("{}:{}", registry.host().unwrap(), registry.port().unwrap_or(80));
        let shared = Arc::new(Shared { registry, state: Mutex::default() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.with(|state| state.is_closed) {
                    break;
                }
                let (shared, config) = (Arc::clone(&accepting), Arc::clone(&config));
                // A client that does not like the certificate breaks off.
                std::thread::spawn(move || {
                    let tls = ServerConnection::new(config).unwrap();
                    _ = shared.serve(StreamOwned::new(tls, client));
                });
            }
        });
        Self { shared, address }
    }

    /// Lets through only who shows this.
    pub(crate) fn want(&self, authorization: &str) {
        self.shared.with(|state| authorization.clone_into(&mut state.wanted));
    }

    /// Answers every request with this status line, breaks off where it is empty, or ends the outage.
    pub(crate) fn fail(&self, status: Option<&str>) {
        self.shared.with(|state| state.outage = status.map(str::to_owned));
    }

    /// Returns the registry's URL behind the gate, with the gate under that host's name.
    pub(crate) fn url(&self, host: &str) -> String {
        let path = Url::parse(&Stack::get().registry).unwrap().path().to_owned();
        format!("https://{host}:{}{path}", self.address.port())
    }

    /// Returns whether somebody was let through to a path that contains the text.
    pub(crate) fn has_passed(&self, text: &str) -> bool {
        self.shared.with(|state| state.passed.iter().any(|path| path.contains(text)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.with(|state| state.is_closed = true);
        // Wakes the thread that accepts.
        _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers one request; each has a connection of its own.
    fn serve(&self, mut client: StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            client.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let shown =
            head.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
                name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
            });
        let is_right = self.with(|state| {
            let is_right = shown.as_ref() == Some(&state.wanted);
            state.passed.extend(is_right.then(|| path.clone()));
            is_right
        });
        let mut answer = Vec::new();
        if let Some(status) = self.with(|state| state.outage.clone()) {
            if status.is_empty() {
                return Ok(());
            }
            write!(answer, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        } else if is_right {
            let mut registry = TcpStream::connect(&self.registry)?;
            let host = &self.registry;
            write!(registry, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
            registry.read_to_end(&mut answer)?;
        } else {
            answer.extend(
                b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        client.write_all(&answer)?;
        client.conn.send_close_notify();
        client.flush()
    }
}
