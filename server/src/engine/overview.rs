//! The state of a lottery in an engine, and of all its centrals.

use std::fmt::Write;
use std::time::Duration;

use conventions::duration::GoDuration;
use postgres_link::{Row, Servers, ValueError};
use serde::Serialize;

use super::snapshot::{ReadError, Snapshot};
use super::statements::LotteryPhase;

/// A lottery at one moment.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// Name of the lottery.
    pub lottery: String,
    /// The primary.
    server: String,
    /// `open`, `closed` or `drawn`.
    state: &'static str,
    /// Stored bets.
    bets: u64,
    /// Winners among them.
    winners: u64,
    /// Agencies with a batch in flight at a central that is alive.
    agencies_in_flight: i64,
    /// Agencies that have finished and count for the draw.
    agencies_finished: u32,
    /// Agencies that the draw waits for.
    agencies_expected: u32,
    /// True if bets are closed and the draw waits for an operator.
    awaits_confirmation: bool,
    /// Winners that the draw has reported, once it has been held.
    drawn_winners: Option<u64>,
    /// Every central that has ever started, in order.
    centrals: Vec<CentralOverview>,
}

/// A central.
#[derive(Debug, Serialize)]
struct CentralOverview {
    central: String,
    /// True if it is connected and its lease has not ended.
    alive: bool,
    /// Milliseconds since the last sign of life; `null` after a stop.
    seen_ms: Option<i64>,
    /// Slots that have had a worker.
    workers: i64,
    in_flight: i64,
    batches: i64,
    bets: i64,
    winners: i64,
}

/// Reads the state of a lottery. `limit` is the time to connect.
pub fn overview(servers: &Servers, lottery: &str, limit: Duration) -> Result<Overview, ReadError> {
    let mut snapshot = Snapshot::open_within(limit, servers, lottery)?;
    let summary = snapshot.summary()?;
    let sql = "SELECT c.central, lottery.alive($1, c.central) IS NOT NULL, \
               (1000 * extract(epoch FROM clock_timestamp() - max(w.seen)))::bigint, \
               count(w.slot), \
               coalesce(sum(w.in_flight) FILTER ( \
                   WHERE w.seen > clock_timestamp() - interval '10 s'), 0)::bigint, \
               coalesce(sum(w.batches), 0)::bigint, coalesce(sum(w.bets), 0)::bigint, \
               coalesce(sum(w.winners), 0)::bigint \
               FROM lottery.centrals c LEFT JOIN lottery.workers w USING (lottery, central) \
               WHERE c.lottery = $1 GROUP BY c.central ORDER BY c.central";
    let replies = snapshot.ask(sql)?;
    let centrals =
        replies.of(0).rows().map(read_central).collect::<Result<Vec<_>, ValueError>>()?;
    Ok(Overview {
        lottery: lottery.to_owned(),
        server: snapshot.server().to_owned(),
        state: match summary.phase {
            LotteryPhase::Open => "open",
            LotteryPhase::Closed => "closed",
            LotteryPhase::Drawn => "drawn",
        },
        bets: summary.stored.0,
        winners: summary.stored.1,
        agencies_in_flight: centrals.iter().map(|central| central.in_flight).sum(),
        agencies_finished: summary.finished.len() as u32,
        agencies_expected: summary.expected,
        awaits_confirmation: summary.awaits_confirmation,
        drawn_winners: summary.drawn.map(|(_, winners)| winners),
        centrals,
    })
}

fn read_central(row: Row<'_>) -> Result<CentralOverview, ValueError> {
    Ok(CentralOverview {
        central: row.get(0)?,
        alive: row.get(1)?,
        seen_ms: row.get(2)?,
        workers: row.get(3)?,
        in_flight: row.get(4)?,
        batches: row.get(5)?,
        bets: row.get(6)?,
        winners: row.get(7)?,
    })
}

impl Overview {
    /// Returns the state as a table for humans.
    pub fn table(&self) -> String {
        let width = self.centrals.iter().map(|central| central.central.len()).max();
        let width = width.unwrap_or(0).max("central".len());
        let mut text = format!(
            "lottery {} on {}: {}\n\
             winners {}, bets {}, agencies in flight {}\n{}\n\
             {:<width$} {:<5} {:>9} {:>7} {:>9} {:>9} {:>11} {:>9}\n",
            self.lottery,
            self.server,
            self.state,
            self.winners,
            self.bets,
            self.agencies_in_flight,
            self.draw(),
            "central",
            "state",
            "seen",
            "workers",
            "in_flight",
            "batches",
            "bets",
            "winners",
        );
        for central in &self.centrals {
            let seen = central.seen_ms.map_or("-".to_owned(), |age| {
                GoDuration(Duration::from_millis(age.unsigned_abs())).to_string()
            });
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "{:<width$} {:<5} {:>9} {:>7} {:>9} {:>9} {:>11} {:>9}",
                central.central,
                if central.alive { "alive" } else { "gone" },
                seen,
                central.workers,
                central.in_flight,
                central.batches,
                central.bets,
                central.winners,
            );
        }
        text
    }

    fn draw(&self) -> String {
        let Self { agencies_finished: finished, agencies_expected: expected, .. } = self;
        match self.drawn_winners {
            Some(winners) => format!("the draw has been held, with {winners} winners"),
            None => format!(
                "draw: {finished} of {expected} agencies have finished{}",
                if self.awaits_confirmation {
                    "; `loteria-central draw --confirm` holds it"
                } else {
                    ""
                }
            ),
        }
    }
}
