//! The ports to listen on, and the dialect of each.

use lottery::protocol::Dialect;

/// A port and the dialect of its connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ListenAddress {
    /// Port; 0 means any free one.
    pub port: u16,
    /// Dialect of its connections.
    pub dialect: &'static Dialect,
}

/// Parses a list of dialects, each with its port. One of them may omit the port and then gets
/// `default_port`.
pub(super) fn listen_addresses(text: &str, default_port: u16) -> Option<Vec<ListenAddress>> {
    let mut addresses: Vec<ListenAddress> = Vec::new();
    let mut default_taken = false;
    for entry in text.split(',') {
        let (name, port) = match entry.split_once(':') {
            Some((name, port)) => (name, Some(port.trim().parse().ok()?)),
            None => (entry, None),
        };
        if port.is_none() && std::mem::replace(&mut default_taken, true) {
            return None;
        }
        let dialect = Dialect::named(name.trim())?;
        let address = ListenAddress { port: port.unwrap_or(default_port), dialect };
        // Each port 0 becomes a different free port.
        if address.port != 0 && addresses.iter().any(|other| other.port == address.port) {
            return None;
        }
        addresses.push(address);
    }
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Option<Vec<(&'static str, u16)>> {
        let addresses = listen_addresses(text, 7)?;
        Some(addresses.into_iter().map(|address| (address.dialect.name, address.port)).collect())
    }

    #[test]
    fn one_dialect_gets_the_default_port_and_several_have_their_own() {
        assert_eq!(ports("typed"), Some(vec![("typed", 7)]));
        assert_eq!(ports("typed:9"), Some(vec![("typed", 9)]));
        assert_eq!(ports("typed, typed:9"), Some(vec![("typed", 7), ("typed", 9)]));
        assert_eq!(ports("typed:0,typed:0"), Some(vec![("typed", 0), ("typed", 0)]));
    }

    #[test]
    fn a_port_that_is_taken_twice_missing_or_not_a_port_is_refused() {
        for text in [
            "",
            "typed,typed",
            "typed:9,typed:9",
            "typed,typed:7",
            "typed:65536",
            "typed:",
            "typed:x",
            "klingon",
            "typed,",
        ] {
            assert_eq!(ports(text), None, "{text}");
        }
    }
}
