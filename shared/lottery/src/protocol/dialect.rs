//! The row of the dialect table: everything that the programs know of a dialect.

use super::{AgencyCodec, CentralCodec, DIALECTS, Rule, Unencodable};

/// One wire dialect.
#[derive(Debug)]
pub struct Dialect {
    /// Name in settings and log lines.
    pub name: &'static str,
    /// How agencies may use connections; the first entry is the default of this project's agency.
    pub connections: &'static [ConnectionUse],
    /// True if the reply to the question for the winners waits for the draw, without a time limit.
    pub waits_for_draw: bool,
    /// True if a bet may have no number.
    pub number_is_optional: bool,
    /// True if every batch has a key, so that it is stored once however often it is sent.
    pub has_keys: bool,
    /// True if the original servers assemble a message from several reads. Some take the bytes
    /// of one read for a message, so the rules with messages byte by byte go beyond them.
    pub originals_join_reads: bool,
    /// Largest agency number that the dialect can encode.
    pub max_agency: u16,
    /// Checks that the answer to an agency can contain this document of a winner. Every dialect
    /// accepts a plain decimal up to 4294967295, so the central need not ask for those.
    pub check_document: fn(&str) -> Result<(), Unencodable>,
    /// Creates the central's codec for a connection.
    pub central: fn() -> Box<dyn CentralCodec>,
    /// Creates the agency's codec for a run; `None` if the dialect has no bets (`echo`).
    pub agency: Option<NewAgency>,
    /// Returns the rules that every server of the dialect must keep, including its replies to
    /// invalid messages. Where batches have keys, each call returns rules with new sessions,
    /// because a server keeps those that it has seen.
    pub rules: fn() -> Vec<Rule>,
}

/// A function that creates the agency's codec for a run.
pub type NewAgency = fn(&AgencyOptions) -> Box<dyn AgencyCodec>;

/// How an agency uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionUse {
    /// One connection for all requests.
    Kept,
    /// A new connection per request.
    PerRequest,
}

impl ConnectionUse {
    /// Returns the name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::PerRequest => "per-request",
        }
    }
}

/// Options of an agency's codec.
#[derive(Clone, Copy, Debug)]
pub struct AgencyOptions {
    /// Number of the agency.
    pub agency: u16,
    /// Maximum number of bets per packet, at least 1.
    pub max_bets: u16,
    /// The session of the run, where batches have keys.
    pub session: [u8; 16],
    /// How the agency uses its connections. Where the requests say so, one of its own asks the
    /// central to close.
    pub connection: ConnectionUse,
    /// True if a `framed` batch starts with the line that counts its bets, which the original
    /// programs require.
    pub with_count: bool,
}

impl AgencyOptions {
    /// Returns the options of an agency, with the defaults for all others: a count before each
    /// batch, the session 0, and kept connections.
    pub fn new(agency: u16, max_bets: u16) -> Self {
        let connection = ConnectionUse::Kept;
        Self { agency, max_bets, session: [0; 16], connection, with_count: true }
    }
}

impl Dialect {
    /// Returns the dialect with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        DIALECTS.iter().find(|dialect| dialect.name == name)
    }

    /// The names of all dialects, in the order of [`DIALECTS`].
    pub const NAMES: [&'static str; DIALECTS.len()] = {
        let mut names = [""; DIALECTS.len()];
        let mut index = 0;
        // A constant cannot use iterators.
        while index < DIALECTS.len() {
            names[index] = DIALECTS[index].name;
            index += 1;
        }
        names
    };

    /// Returns all names, separated by commas, for messages.
    pub fn names() -> String {
        Self::NAMES.join(", ")
    }

    /// Returns true if a connection may carry more than one request.
    pub fn keeps_connections(&self) -> bool {
        self.connections.contains(&ConnectionUse::Kept)
    }
}

impl PartialEq for Dialect {
    /// Compares the names, which are unique.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
