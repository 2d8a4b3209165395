//! PostgreSQL's wire protocol, as far as a proxy must read it to know what goes by.

use std::collections::HashMap;
use std::io::{self, Read};

/// The request for TLS, which comes where a message's length would.
const TLS_REQUEST: u32 = 80_877_103;

/// A message: its kind, and all of its bytes, the kind and the length among them.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Message {
    /// Reads the next message; `None` when the other side is gone.
    pub(crate) fn read(stream: &mut impl Read) -> Option<Self> {
        let mut head = [0; 5];
        stream.read_exact(&mut head).ok()?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
        let mut bytes = head.to_vec();
        bytes.resize(length + 1, 0);
        stream.read_exact(bytes.get_mut(5..)?).ok()?;
        Some(Self { kind, bytes })
    }

    /// Makes a simple query.
    pub(crate) fn query(sql: &str) -> Self {
        let length = u32::try_from(sql.len() + 5).unwrap();
        let bytes = [b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat();
        Self { kind: b'Q', bytes }
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(5..).unwrap_or_default()
    }

    /// Returns the transaction state of a ReadyForQuery.
    pub(crate) fn ready_state(&self) -> Option<u8> {
        (self.kind == b'Z').then(|| self.body().first().copied())?
    }

    /// Returns whether this is the answer to a COMMIT that committed.
    pub(crate) fn is_committed(&self) -> bool {
        self.kind == b'C' && self.body() == b"COMMIT\0"
    }

    /// Replaces text in place, padded with blanks: no length changes.
    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        assert!(to.len() <= from.len(), "the new text must fit into the old one");
        let padded = format!("{to:width$}", width = from.len());
        let mut at = 0;
        while let Some(found) = self.bytes.get(at..).and_then(|rest| find(rest, from.as_bytes())) {
            let place = self.bytes.get_mut(at + found..at + found + from.len()).unwrap();
            place.copy_from_slice(padded.as_bytes());
            at += found + from.len();
        }
    }
}

/// Reads what stands before the first message: answers a request for TLS with a no, and returns the
/// start-up packet.
pub(crate) fn read_startup(stream: &mut (impl Read + io::Write)) -> Option<Vec<u8>> {
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head).ok()?;
        let (length, code) = head.split_at(4);
        if u32::from_be_bytes(code.try_into().ok()?) == TLS_REQUEST {
            stream.write_all(b"N").ok()?;
            continue;
        }
        let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
        let mut packet = head.to_vec();
        packet.resize(length, 0);
        stream.read_exact(packet.get_mut(8..)?).ok()?;
        return Some(packet);
    }
}

/// Leaves the settings out of a start-up packet.
pub(crate) fn without_options(packet: &mut Vec<u8>) {
    let name = b"options\0";
    let begin = find(packet, name).expect("a session has settings");
    let value = packet.iter().skip(begin + name.len());
    let end = begin + name.len() + value.take_while(|byte| **byte != 0).count() + 1;
    packet.drain(begin..end);
    let length = u32::try_from(packet.len()).unwrap();
    packet.splice(..4, length.to_be_bytes());
}

/// The prepared statements of a connection, so that a Bind can be told from another.
#[derive(Debug, Default)]
pub(crate) struct Statements(HashMap<Vec<u8>, String>);

impl Statements {
    /// Returns the SQL that a message runs: a simple query, or the Bind of a prepared statement.
    ///
    /// A Parse is noted, and runs nothing.
    pub(crate) fn sql(&mut self, message: &Message) -> Option<String> {
        let mut parts = message.body().split(|byte| *byte == 0);
        match message.kind {
            b'P' => {
                let (name, sql) = (parts.next()?, parts.next()?);
                self.0.insert(name.to_vec(), String::from_utf8_lossy(sql).into_owned());
                None
            }
            b'Q' => Some(String::from_utf8_lossy(parts.next()?).into_owned()),
            b'B' => {
                let (_portal, statement) = (parts.next()?, parts.next()?);
                self.0.get(statement).cloned()
            }
            _ => None,
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
