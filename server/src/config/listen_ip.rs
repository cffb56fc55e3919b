//! The addresses to listen on, as the user wrote them: literal addresses, or one host name.

use std::net::{IpAddr, Ipv6Addr};

/// Longest host name and longest part of one between two dots (RFC 1035).
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenIp {
    /// These addresses, at least one.
    Addresses(Vec<IpAddr>),
    /// A host name, which is resolved at the start.
    HostName(String),
}

impl ListenIp {
    /// Parses addresses, IPv6 ones with or without brackets, or one host name.
    ///
    /// A text that only resembles an address is refused. As a host name it would not resolve, and
    /// such a name means all addresses: a typing error would open the port to every network.
    pub(super) fn parse(text: &str) -> Result<Self, Option<String>> {
        let entries: Vec<_> = text.split(',').map(str::trim).collect();
        if let [name] = entries[..]
            && is_host_name(name)
        {
            return Ok(Self::HostName(name.to_owned()));
        }
        let mut addresses = Vec::new();
        for entry in entries {
            let address = address(entry).ok_or_else(|| Some(refusal(entry)))?;
            if addresses.contains(&address) {
                return Err(Some(format!("{address} appears twice")));
            }
            addresses.push(address);
        }
        Ok(Self::Addresses(addresses))
    }
}

fn address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => text.parse().ok(),
    }
}

/// Returns true if the text can be the name of a host (RFC 1123; underscores occur in the names of
/// containers). A name whose last part is a number is an address (RFC 3696).
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| {
        let digits = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
        digits.map_or(label.bytes().all(|byte| byte.is_ascii_digit()), |digits| {
            digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label) && !is_number(last)
}

/// Returns why `entry` is not an address, and what to write instead where that is evident.
fn refusal(entry: &str) -> String {
    if entry.is_empty() {
        return "an address is missing".to_owned();
    }
    if is_host_name(entry) {
        return format!("the host name {entry} must be alone: a list has addresses only");
    }
    let advice = match entry.split_once('/') {
        Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
            format!(", but a network: write {address}")
        }
        _ => String::new(),
    };
    format!("{entry} is not an address{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<String> {
        match ListenIp::parse(text) {
            Ok(ListenIp::Addresses(addresses)) => addresses.iter().map(IpAddr::to_string).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn addresses_come_alone_or_in_a_list_with_or_without_brackets() {
        assert_eq!(addresses("0.0.0.0"), ["0.0.0.0"]);
        assert_eq!(addresses(" :: "), ["::"]);
        assert_eq!(addresses("[::]"), ["::"]);
        assert_eq!(addresses("127.0.0.1,[::1]"), ["127.0.0.1", "::1"]);
        assert_eq!(addresses("::1, 10.0.0.7"), ["::1", "10.0.0.7"]);
    }

    #[test]
    fn a_host_name_comes_alone() {
        for name in ["server", "localhost", "a.example.", "tp0_server_1", "1and1.com", "x-1"] {
            assert_eq!(ListenIp::parse(name), Ok(ListenIp::HostName(name.to_owned())));
        }
    }

    #[test]
    fn what_only_resembles_an_address_is_neither_address_nor_name() {
        for (text, reason) in [
            ("127.0.0.256", "127.0.0.256 is not an address"),
            ("127.0.0.1/8", "127.0.0.1/8 is not an address, but a network: write 127.0.0.1"),
            ("127.1", "127.1 is not an address"),
            ("l27.0.0.1", "l27.0.0.1 is not an address"),
            ("0x7f000001", "0x7f000001 is not an address"),
            ("2130706433", "2130706433 is not an address"),
            ("127.0.0.1:80", "127.0.0.1:80 is not an address"),
            (":::1", ":::1 is not an address"),
            ("[::1", "[::1 is not an address"),
            ("[127.0.0.1]", "[127.0.0.1] is not an address"),
            ("fe80::1%eth0", "fe80::1%eth0 is not an address"),
            ("server.", "ok"),
            ("ser ver", "ser ver is not an address"),
            ("-server", "-server is not an address"),
            ("127.0.0.1,", "an address is missing"),
            ("", "an address is missing"),
            ("::1,[::1]", "::1 appears twice"),
            ("127.0.0.1,server", "the host name server must be alone: a list has addresses only"),
        ] {
            match ListenIp::parse(text) {
                Err(found) => assert_eq!(found.as_deref(), Some(reason), "{text}"),
                Ok(_) => assert_eq!(reason, "ok", "{text}"),
            }
        }
    }
}
