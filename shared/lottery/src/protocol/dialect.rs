//! What a dialect is to the programs: a row of a table. They know no dialect by name.

use super::{AgencyCodec, CentralCodec, DIALECTS, Rule};

/// One wire dialect.
#[derive(Debug)]
pub struct Dialect {
    /// Its name in settings and log lines.
    pub name: &'static str,
    /// How an agency may use its connections; the first is what ours does.
    pub connections: &'static [ConnectionUse],
    /// Whether the answer to the question for the winners waits for the draw, for as long as that takes.
    pub waits_for_draw: bool,
    /// Largest number of an agency that it carries.
    pub max_agency: u16,
    /// Begins the central's side of a connection.
    pub central: fn() -> Box<dyn CentralCodec>,
    /// Begins the agency's side of a run; `None` where an agency sends messages instead of bets (the echo exercise).
    pub agency: Option<NewAgency>,
    /// What every server of it must do, of which each error of an agency is one.
    pub rules: fn() -> Vec<Rule>,
}

/// Begins the agency's side of a run.
pub type NewAgency = fn(&AgencyOptions) -> Box<dyn AgencyCodec>;

/// How an agency uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionUse {
    /// One connection for everything.
    Kept,
    /// A new connection for every request.
    PerRequest,
}

impl ConnectionUse {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::PerRequest => "per-request",
        }
    }
}

/// What the agency's side of a dialect has to know.
#[derive(Clone, Copy, Debug)]
pub struct AgencyOptions {
    /// Number of the agency.
    pub agency: u16,
    /// Most bets in one packet, at least 1.
    pub max_bets: u16,
    /// Whether a `framed` batch begins with the line that counts its bets, as the original programs want it.
    pub with_count: bool,
}

impl Dialect {
    /// The dialect of this name.
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

    /// Returns the names of all dialects, separated by commas.
    pub fn names() -> String {
        Self::NAMES.join(", ")
    }

    /// Whether a connection carries more than one request, in whichever way agencies use it.
    pub fn keeps_connections(&self) -> bool {
        self.connections.contains(&ConnectionUse::Kept)
    }
}

impl PartialEq for Dialect {
    /// A dialect is its name.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
