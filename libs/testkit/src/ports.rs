//! Ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

/// A TCP port on loopback that nobody listens on now. Prefer port 0 where the program under test can report its port:
/// between this call and its use somebody else may take it.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback must have a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    address.port()
}
