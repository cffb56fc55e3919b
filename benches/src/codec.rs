//! What a worker of the central does with the bytes of a batch before it is stored, without the
//! rest of the central. Run under callgrind, its instructions are those of the codec.

use std::hint::black_box;

use anyhow::{Context, Result, bail};
use lottery::protocol::{Decoded, Dialect};
use lottery::{Request, is_winner, write_rows, write_winner_line};

use crate::batch::fill;

/// The two paths from the bytes of a batch to its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Path {
    /// The path of ordinary batches: checked and written in one pass.
    Prepare,
    /// The general path: decoded to bets, which are then written.
    Decode,
}

/// Writes the rows of a full batch `times` times, on a new connection each. Returns the bytes of
/// the rows and winner lines of one batch.
pub(crate) fn run(dialect: &Dialect, path: Path, times: usize) -> Result<usize> {
    let mut agency = fill(dialect, u16::MAX, true)?;
    let (greeting, packet) = (agency.greeting(), agency.packet());
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for _ in 0..times {
        rows.clear();
        lines.clear();
        let mut codec = (dialect.central)();
        if !greeting.is_empty() {
            codec.decode(&greeting).map_err(|refusal| refusal.error)?;
        }
        let message = black_box(packet);
        black_box(codec.begins_batch(message));
        match path {
            Path::Prepare => {
                let prepared = codec.prepare(message, &mut rows);
                let prepared = prepared.context("the batch took the general path")?;
                prepared.winners.iter().for_each(|(_, bet)| write_winner_line(bet, &mut lines));
            }
            Path::Decode => {
                let decoded = codec.decode(message).map_err(|refusal| refusal.error)?;
                let Decoded::Complete { request, .. } = decoded else { bail!("half a batch") };
                let (Request::Store(bets) | Request::StoreOnce { bets, .. }) = request else {
                    bail!("not a batch");
                };
                let winners = bets.iter().filter(|bet| is_winner(bet));
                winners.for_each(|bet| write_winner_line(bet, &mut lines));
                write_rows(&bets, &mut rows)?;
            }
        }
    }
    Ok(rows.len() + lines.len())
}
