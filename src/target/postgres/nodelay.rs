//! Small messages that go at once.
//!
//! sqlx 0.9.0 leaves Nagle's algorithm on, which holds a short message back until the server has
//! acknowledged the one before it: 40 ms at the end of a COPY, and a round trip to one far away
//! (<https://github.com/transact-rs/sqlx/issues/4335>, mended behind 0.9.0). It keeps its socket to
//! itself, so the socket is found among the descriptors of the process.

use std::ffi::{c_int, c_void};
use std::fs::read_dir;
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;

/// Has whatever the process sends to a server's port go at once; returns how many connections there are.
pub(super) fn set(port: u16) -> usize {
    let open = read_dir("/dev/fd").into_iter().flatten().flatten();
    let descriptors = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    descriptors
        .filter(|&descriptor| peer_port(descriptor) == Some(port) && set_one(descriptor))
        .count()
}

/// Returns the port at the other end of a TCP connection; `None` of all else.
#[expect(unsafe_code, reason = "sqlx keeps its socket to itself")]
fn peer_port(descriptor: RawFd) -> Option<u16> {
    // SAFETY: an address is numbers, which may all be zero.
    let mut peer: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).ok()?;
    // SAFETY: the server of the call writes no more than the length into what outlives it; a number that
    // is no socket's, or nobody's any more, is an error.
    let outcome = unsafe { libc::getpeername(descriptor, (&raw mut peer).cast(), &raw mut length) };
    if outcome != 0 {
        return None;
    }
    let port = match c_int::from(peer.ss_family) {
        // SAFETY: the family says what the address is, and all fit into the storage.
        libc::AF_INET => unsafe { (*(&raw const peer).cast::<libc::sockaddr_in>()).sin_port },
        // SAFETY: the same.
        libc::AF_INET6 => unsafe { (*(&raw const peer).cast::<libc::sockaddr_in6>()).sin6_port },
        _ => return None,
    };
    Some(u16::from_be(port))
}

/// Returns whether a connection takes the option; none minds it, should the number be another's by now.
#[expect(unsafe_code, reason = "sqlx keeps its socket to itself")]
fn set_one(descriptor: RawFd) -> bool {
    let on: c_int = 1;
    let value = (&raw const on).cast::<c_void>();
    let Ok(length) = libc::socklen_t::try_from(size_of::<c_int>()) else { return false };
    // SAFETY: the value outlives the call, which reads as many bytes as it has.
    unsafe {
        libc::setsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_NODELAY, value, length) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_to_the_port_send_at_once_and_others_are_left_alone() {
        // The second is an address of IPv6 that needs no network of it.
        for host in ["127.0.0.1", "::ffff:127.0.0.1"].map(|host| host.parse::<IpAddr>().unwrap()) {
            let [server, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
            let ours = TcpStream::connect((host, port(&server))).unwrap();
            let theirs = TcpStream::connect((host, port(&other))).unwrap();

            assert_eq!(set(port(&server)), 1);

            assert!(ours.nodelay().unwrap());
            assert!(!theirs.nodelay().unwrap());
        }
    }
}
