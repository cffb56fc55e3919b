//! The engine: a PostgreSQL server that stores the bets of several centrals as one lottery.
//!
//! The supervisor creates the tables and starts the central in the database ([`start()`]). After
//! the fork each worker has a connection of its own. [`statements`] has what it sends.

mod error;
mod expected;
mod export;
mod identity;
mod operate;
mod overview;
mod snapshot;
mod start;
pub mod statements;
mod verify;

use postgres_link::Servers;

pub use self::error::EngineError;
pub use self::expected::Expected;
pub use self::export::export;
pub use self::identity::Identity;
pub use self::operate::{Operated, operate};
pub use self::overview::{Overview, overview};
pub use self::snapshot::{ReadError, Snapshot};
pub use self::start::{Started, start, stop, with_session};
pub use self::statements::LotteryPhase;
pub use self::verify::verify;

/// The store of a central whose bets are in an engine.
#[derive(Debug)]
pub struct Engine {
    /// The servers, resolved before the fork.
    pub servers: Servers,
    /// Who this central is.
    pub identity: Identity,
    /// Slots of its workers.
    pub slots: usize,
}
