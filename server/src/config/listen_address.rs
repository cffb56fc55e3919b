//! The ports to listen on, and the dialect of each.

use conventions::settings::nearest;
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
/// `default_port`. The error says what is wrong.
pub(super) fn listen_addresses(
    text: &str,
    default_port: u16,
) -> Result<Vec<ListenAddress>, Option<String>> {
    let mut addresses: Vec<ListenAddress> = Vec::new();
    // The dialect that gets the default port.
    let mut portless: Option<&str> = None;
    for entry in text.split(',') {
        let (name, port) = match entry.split_once(':') {
            Some((name, port)) => (name.trim(), Some(port.trim())),
            None => (entry.trim(), None),
        };
        let dialect = Dialect::named(name).ok_or_else(|| Some(unknown(name)))?;
        let port = match port {
            Some(port) => {
                port.parse().map_err(|_| Some(format!("{port:?} is not a port, 0 to 65535")))?
            }
            None => {
                if let Some(other) = portless.replace(dialect.name) {
                    return Err(Some(format!(
                        "{other} and {} have no port, and only one can use SERVER_PORT: write \
                         {0}:PORT for the other",
                        dialect.name
                    )));
                }
                default_port
            }
        };
        // Each port 0 becomes a different free port.
        if let Some(other) = addresses.iter().find(|other| other.port == port && port != 0) {
            return Err(Some(format!(
                "{} and {} both use port {port}{}: give each a port of its own",
                other.dialect.name,
                dialect.name,
                portless
                    .map(|name| format!(" ({name} has no port and uses SERVER_PORT)"))
                    .filter(|_| port == default_port)
                    .unwrap_or_default(),
            )));
        }
        addresses.push(ListenAddress { port, dialect });
    }
    Ok(addresses)
}

fn unknown(name: &str) -> String {
    if name.is_empty() {
        return "a dialect is missing".to_owned();
    }
    let meant = nearest(name, &Dialect::NAMES);
    let advice = meant.map(|name| format!(", did you mean {name}?")).unwrap_or_default();
    format!("{name:?} is not a dialect{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Result<Vec<(&'static str, u16)>, String> {
        let addresses = listen_addresses(text, 7).map_err(Option::unwrap_or_default)?;
        Ok(addresses.into_iter().map(|address| (address.dialect.name, address.port)).collect())
    }

    #[test]
    fn one_dialect_gets_the_default_port_and_several_have_their_own() {
        assert_eq!(ports("typed"), Ok(vec![("typed", 7)]));
        assert_eq!(ports("typed:9"), Ok(vec![("typed", 9)]));
        assert_eq!(ports("typed, typed:9"), Ok(vec![("typed", 7), ("typed", 9)]));
        assert_eq!(ports("typed:0,typed:0"), Ok(vec![("typed", 0), ("typed", 0)]));
    }

    #[test]
    fn a_refused_list_says_what_is_wrong_and_what_to_write() {
        for (text, reason) in [
            ("", "a dialect is missing"),
            ("typed,", "a dialect is missing"),
            (
                "typed,framed",
                "typed and framed have no port, and only one can use SERVER_PORT: write \
                 framed:PORT for the other",
            ),
            ("typed:9,framed:9", "typed and framed both use port 9: give each a port of its own"),
            (
                "typed,framed:7",
                "typed and framed both use port 7 (typed has no port and uses SERVER_PORT): give \
                 each a port of its own",
            ),
            ("typed:65536", "\"65536\" is not a port, 0 to 65535"),
            ("typed:", "\"\" is not a port, 0 to 65535"),
            ("typd", "\"typd\" is not a dialect, did you mean typed?"),
            ("Typed", "\"Typed\" is not a dialect, did you mean typed?"),
            ("klingon", "\"klingon\" is not a dialect"),
        ] {
            assert_eq!(ports(text), Err(reason.to_owned()), "{text}");
        }
    }
}
