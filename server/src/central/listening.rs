//! The addresses that a central listens on, in the shared state.

use std::net::{IpAddr, SocketAddr};

use super::Shared;

impl Shared {
    /// Records the addresses of the listening sockets.
    pub fn set_listening(&self, addresses: &[SocketAddr]) {
        for (index, address) in addresses.iter().enumerate() {
            let bits = match address.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
                IpAddr::V6(ip) => ip.to_bits(),
            };
            self.listen_ips.store(2 * index, (bits >> 64) as u64);
            self.listen_ips.store(2 * index + 1, bits as u64);
            self.listen_ports.store(index, address.port());
        }
    }
}
