//! Small messages that go at once.
//!
//! sqlx 0.9.0 leaves Nagle's algorithm on, which holds a short message back until the server has
//! acknowledged the one before it: 40 ms at the end of a COPY, and a round trip to one far away
//! (<https://github.com/transact-rs/sqlx/issues/4335>, mended behind 0.9.0). It keeps its socket to
//! itself, so the socket is found among those of the process.

use std::fs::read_dir;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

use socket2::SockRef;

/// Has whatever the process sends to a server's port go at once.
pub(super) fn set(port: u16) {
    let open = read_dir("/dev/fd").into_iter().flatten().flatten();
    let descriptors = open.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    descriptors.for_each(|descriptor| set_one(descriptor, port));
}

#[expect(unsafe_code, reason = "sqlx keeps its socket to itself")]
fn set_one(descriptor: RawFd, port: u16) {
    // SAFETY: it was open a moment ago, and is not -1. It may be closed by now, or be another file's:
    // only a TCP connection to the port takes the option, and none minds it.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let socket = SockRef::from(&descriptor);
    let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
    if peer.as_ref().map(SocketAddr::port) == Some(port) {
        // Without it everything goes its way, only later.
        _ = socket.set_tcp_nodelay(true);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_the_port_send_at_once_and_others_are_left_alone() {
        let [server, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ours = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let theirs = TcpStream::connect(other.local_addr().unwrap()).unwrap();

        set(server.local_addr().unwrap().port());

        assert!(ours.nodelay().unwrap());
        assert!(!theirs.nodelay().unwrap());
    }
}
