//! The little HTTP that the tests speak: to Kafka Connect, to the registry, to a member.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long one answer may take; Connect is slow while its worker rebalances.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// GETs a URL.
pub(crate) fn get(url: &str) -> io::Result<Answer> {
    send("GET", url, None)
}

/// Sends a request; the body, if any, is JSON. All that the tests ask for may be asked for twice.
pub(crate) fn send(method: &str, url: &str, body: Option<&str>) -> io::Result<Answer> {
    // The registry now and then ends a connection without a word.
    let answers = (0..3).map(|_| ask(method, url, body));
    let mut told = answers.skip_while(|answer| {
        answer.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    });
    told.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
}

fn ask(method: &str, url: &str, body: Option<&str>) -> io::Result<Answer> {
    let place = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let body = body.unwrap_or_default();
    // Version 1.0, so that the answer comes in one piece and ends with the connection.
    write!(
        stream,
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {head}")))?;
    Ok(Answer { status, body: body.to_owned() })
}
