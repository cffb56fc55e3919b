//! Writes the files of a storage from what a lottery in an engine has stored.

use std::path::Path;

use postgres_link::Servers;

use super::snapshot::{ReadError, Snapshot};
use super::statements::LotteryPhase;
use crate::storage::{Export, FileError};

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The lottery cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The files cannot be written.
    #[error(transparent)]
    Write(#[from] crate::storage::ExportError),
    /// The rows are not those that the lottery counts.
    #[error(
        "the lottery counts {0} bets and {1} winners, but {2} and {3} are stored: run \
         `loteria-central verify`"
    )]
    Incomplete(u64, u64, u64, u64),
}

impl From<FileError> for ExportError {
    fn from(error: FileError) -> Self {
        Self::Write(error.into())
    }
}

/// What was written.
#[derive(Clone, Copy, Debug)]
pub struct Exported {
    /// Bets.
    pub bets: u64,
    /// Winners.
    pub winners: u64,
    /// True if there is a result of the draw.
    pub drawn: bool,
}

/// Writes `bets.csv`, `winners.log` and, after the draw, `draw.csv` into a directory, as they were
/// at one moment.
pub fn export(servers: &Servers, lottery: &str, directory: &Path) -> Result<Exported, ExportError> {
    let mut snapshot = Snapshot::open(servers, lottery)?;
    let summary = snapshot.summary()?;
    let mut export = Export::begin(directory)?;
    let (mut bets, mut winners) = (0, 0);
    snapshot.groups(|group| {
        bets += group.counted.1.unsigned_abs();
        winners += group.winners.len() as u64;
        export.add(group.rows, group.winners.iter().map(|winner| winner.line))?;
        Ok::<_, ExportError>(())
    })?;
    if (bets, winners) != summary.stored {
        return Err(ExportError::Incomplete(summary.stored.0, summary.stored.1, bets, winners));
    }
    let drawn = summary.phase == LotteryPhase::Drawn;
    if drawn {
        let (over, drawn_winners) = summary.drawn.unwrap_or_default();
        export.begin_draw(over, drawn_winners)?;
        snapshot.draw(|agency, document| {
            export.add_drawn(agency, document)?;
            Ok::<_, ExportError>(())
        })?;
    }
    export.finish()?;
    Ok(Exported { bets, winners, drawn })
}
