//! The addresses that connections come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Addresses in the rotation. Each has about 28,000 ports, and a closed connection occupies its
/// port for a minute. More addresses would not help, and a server that keeps a record per address
/// would spend its time on them.
const ROTATION: u32 = 240;

/// The first address of the rotation, 127.64.0.1. It is far from those that tests use.
const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 1]);

/// Chooses the address that a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// The system chooses.
    System,
    /// Always this address.
    Fixed(IpAddr),
    /// Addresses of 127.0.0.0/8 in turn, so that the ports of one address do not run out.
    Loopback,
}

impl Sources {
    /// Returns the addresses for connections to `server`: a rotation if it is on the loopback
    /// interface and has an IPv4 address, because in IPv6 that interface has one address.
    pub fn automatic(server: SocketAddr) -> Self {
        let is_loopback = matches!(server.ip(), IpAddr::V4(ip) if ip.is_loopback());
        if is_loopback { Self::Loopback } else { Self::System }
    }

    /// Returns the address of connection number `index`, or `None` if the system chooses it.
    pub(crate) fn address(self, index: u32) -> Option<SocketAddr> {
        let ip = match self {
            Self::System => return None,
            Self::Fixed(ip) => ip,
            Self::Loopback => Ipv4Addr::from(FIRST + index % ROTATION).into(),
        };
        Some(SocketAddr::new(ip, 0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_a_server_with_an_ipv4_loopback_address_gets_a_rotation() {
        let automatic = |text: &str| Sources::automatic(text.parse().unwrap());
        assert_eq!(automatic("127.0.0.1:1"), Sources::Loopback);
        assert_eq!(automatic("127.9.8.7:1"), Sources::Loopback);
        assert_eq!(automatic("[::1]:1"), Sources::System);
        assert_eq!(automatic("192.0.2.1:1"), Sources::System);
    }

    #[test]
    fn the_rotation_has_many_addresses_and_all_are_of_the_loopback_network() {
        let addresses: HashSet<_> =
            (0..10_000).map(|index| Sources::Loopback.address(index).unwrap()).collect();
        assert_eq!(addresses.len(), ROTATION as usize);
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 0));
    }

    #[test]
    fn a_fixed_source_never_changes() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        let addresses: HashSet<_> = (0..9).map(|index| Sources::Fixed(ip).address(index)).collect();
        assert_eq!(addresses, HashSet::from([Some(SocketAddr::new(ip, 0))]));
    }
}
