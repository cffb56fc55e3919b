//! The addresses of a host name that belong to this machine.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};

use conventions::log_line::{Outcome, warn};

use crate::config::ListenIp;

/// Returns the addresses to bind. A host name means the first of its addresses that belongs to this
/// machine.
///
/// A host name without such an address means all addresses, with a warning. The course sets
/// `SERVER_IP = server`, which resolves only in the container's network.
pub fn addresses_of(ip: &ListenIp) -> Vec<IpAddr> {
    let name = match ip {
        ListenIp::Addresses(addresses) => return addresses.clone(),
        ListenIp::HostName(name) => name,
    };
    match local_address(name) {
        Ok(address) => vec![address],
        Err(reason) => {
            let all = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            warn("config", Outcome::InProgress)
                .with("error", format!("SERVER_IP = {name}: {reason}"))
                .with("next", format!("listen on all addresses ({all})"))
                .write();
            vec![all]
        }
    }
}

fn local_address(name: &str) -> Result<IpAddr, String> {
    let resolved: Vec<_> = (name, 0)
        .to_socket_addrs()
        .map_err(|error| format!("the name does not resolve ({error})"))?
        .collect();
    // Only an address of this machine can be bound.
    let local = resolved.iter().find(|address| UdpSocket::bind(address).is_ok());
    local.map(|address| address.ip()).ok_or_else(|| {
        let found: Vec<_> = resolved.iter().map(|address| address.ip().to_string()).collect();
        format!("the name is of another machine ({})", found.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_without_a_local_address_means_all_addresses() {
        let name = |name: &str| addresses_of(&ListenIp::HostName(name.to_owned()));
        assert_eq!(name("no-such-host.invalid"), [IpAddr::V4(Ipv4Addr::UNSPECIFIED)]);
        let local = name("localhost");
        assert!(local.iter().all(IpAddr::is_loopback), "{local:?}");
    }
}
