//! The table of keys, from which flags, help, lookup and messages are made.

use conventions::settings::Key;
use lottery::protocol::Dialect;

/// The value of `connection` that leaves the choice to the dialect.
pub(crate) const AUTO: &str = "auto";

/// Every key, in the order in which they are shown.
pub(crate) const KEYS: [Key; 11] = [
    Key {
        name: "id",
        default: "",
        accepted: "a number from 1 to 65535",
        help: "Number of the agency",
    },
    Key {
        name: "server.address",
        default: "127.0.0.1:12345",
        accepted: "host:port, such as server:12345 or [::1]:12345",
        help: "Where the central listens",
    },
    Key { name: "protocol", default: "typed", accepted: "one of", help: "Dialect to speak" },
    Key {
        name: "connection",
        default: AUTO,
        accepted: "auto, kept or per-request",
        help: "One connection for everything (kept), a new one for each request (per-request), or as the dialect prefers",
    },
    Key {
        name: "data",
        default: ".data/agency-{id}.csv",
        accepted: "the path of a CSV file, where {id} stands for the agency's number",
        help: "File of the agency's bets",
    },
    Key {
        name: "batch.maxAmount",
        default: "100",
        accepted: "a number from 1 to 65535",
        help: "Most bets in one packet; a packet never exceeds 8192 bytes",
    },
    Key {
        name: "loop.amount",
        default: "5",
        accepted: "a number from 1 to 4294967295",
        help: "Messages of the echo exercise; the other dialects have no use for it",
    },
    Key {
        name: "loop.period",
        default: "1s",
        accepted: "a duration above zero, such as 5s, 150ms or 1m5s",
        help: "Time between two questions for the winners, or two messages of the echo exercise",
    },
    Key {
        name: "log.level",
        default: "INFO",
        accepted: "DEBUG, INFO, WARNING or ERROR",
        help: "Least grave level that is logged",
    },
    Key {
        name: "connect.timeout",
        default: "60s",
        accepted: "a duration, such as 60s; 0s for a single attempt",
        help: "How long a central that cannot be reached is tried again",
    },
    Key {
        name: "reply.timeout",
        default: "60s",
        accepted: "a duration above zero, such as 60s",
        help: "How long a reply may take; the draw may take any time",
    },
];

/// The flag of each key, in the order of [`KEYS`], without its hyphens.
pub(crate) const FLAGS: [&str; KEYS.len()] = [
    "id",
    "server",
    "protocol",
    "connection",
    "data",
    "batch-max-amount",
    "loop-amount",
    "loop-period",
    "log-level",
    "connect-timeout",
    "reply-timeout",
];

/// The variable that sets a key: `CLI_`, then the key in capitals with `_` for the dot.
pub(crate) fn environment_name(key: &str) -> String {
    format!("CLI_{}", key.replace('.', "_").to_uppercase())
}

/// What a key is for, as the help shows it.
pub(crate) fn help(key: &Key) -> String {
    match key.name {
        "protocol" => format!("{}: {}", key.help, Dialect::names()),
        _ => key.help.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_spelled_as_the_course_spells_them() {
        assert_eq!(environment_name("batch.maxAmount"), "CLI_BATCH_MAXAMOUNT");
        assert_eq!(environment_name("id"), "CLI_ID");
    }
}
