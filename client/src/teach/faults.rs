//! What the teaching server does wrong.

use clap::ValueEnum;
use lottery::Birthdate;
use lottery::protocol::Dialect;

/// Something that the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Takes the bytes of one read for a whole message
    ShortRead,
    /// Sends a line break after every reply
    TrailingByte,
    /// Stores bet by bet, so that the bets before an invalid one remain
    TornBatch,
    /// Stores without a lock: of two batches at the same time, one is lost
    LostLock,
    /// Acknowledges a batch, and counts it when the next one arrives
    CountsAfterReplying,
    /// Answers a query for the winners before all agencies have finished
    NoDrawWait,
    /// Counts notifications instead of agencies
    CountsNotifications,
    /// Answers every agency with the winners of all
    AllWinners,
    /// Accepts bets after the draw
    LateBets,
    /// Calls every result a total, also while a batch is arriving
    PrematureTotal,
    /// Stores a batch again when it is sent again
    StoresRepetitions,
}

impl Fault {
    /// Returns its name on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Returns true if a server of this dialect can have the fault.
    pub(super) fn applies_to(self, dialect: &Dialect) -> bool {
        match self {
            Self::ShortRead | Self::TrailingByte => true,
            Self::TornBatch | Self::LostLock | Self::CountsAfterReplying => {
                dialect.agency.is_some()
            }
            Self::NoDrawWait | Self::CountsNotifications | Self::AllWinners | Self::LateBets => {
                dialect.waits_for_draw
            }
            Self::PrematureTotal => dialect.agency.is_some() && !dialect.waits_for_draw,
            Self::StoresRepetitions => dialect.has_keys,
        }
    }

    /// Returns the names of all faults of the dialect.
    pub(super) fn names_of(dialect: &Dialect) -> String {
        let all = Self::value_variants().iter().filter(|fault| fault.applies_to(dialect));
        all.map(|fault| fault.name()).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the bytes of a message with a possible date instead of its first impossible one. The
/// codecs decode a batch as a whole, so the bets before the invalid one are read from this.
pub(super) fn repaired(message: &[u8]) -> Option<Vec<u8>> {
    const POSSIBLE: &[u8; 10] = b"2000-01-01";
    let is_date = |bytes: &[u8]| {
        bytes.iter().zip(POSSIBLE).all(|(byte, like)| match like {
            b'-' => byte == like,
            _ => byte.is_ascii_digit(),
        })
    };
    let is_impossible = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok();
        is_date(bytes) && text.and_then(Birthdate::from_iso).is_none()
    };
    let at = message.windows(POSSIBLE.len()).position(is_impossible)?;
    let mut repaired = message.to_vec();
    repaired[at..at + POSSIBLE.len()].copy_from_slice(POSSIBLE);
    Some(repaired)
}
