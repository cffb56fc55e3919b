//! What a failure led to: the histories of the agencies compared with what PostgreSQL stores.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::agency::Agency;
use super::history::History;
use super::nodes::Nodes;

/// Differences that are described. The first ones explain the others.
const DESCRIBED: usize = 5;

/// The outcome of one failure.
#[derive(Debug)]
pub struct Outcome {
    failure: &'static str,
    /// Batches that are acknowledged.
    pub batches: usize,
    /// Totals that agencies have seen.
    pub queries: usize,
    /// Bets that are acknowledged and not stored.
    missing: usize,
    /// Bets that are stored more than once.
    doubled: usize,
    /// Bets that are stored and were not acknowledged.
    unknown: usize,
    draws: usize,
    /// Longest time in which no agency received an acknowledgement.
    outage: Duration,
    /// Longest time in which some agency received none.
    slowest: Duration,
    /// Time from the end of the load to the last agency's winners.
    draw: Duration,
    /// Times that an agency went on at another central.
    moves: usize,
    wrong: Vec<String>,
}

impl Outcome {
    /// The names of the columns.
    pub const HEADING: &'static str = "failure                        | batches | missing | twice | unknown | draws | outage | slowest |  draw | moves | totals | wrong";

    /// Compares the agencies with what is stored.
    pub fn of(failure: &'static str, nodes: &Nodes, agencies: &[Agency], draw: Duration) -> Self {
        let mut stored = stored_bets(nodes, failure);
        let (mut missing, mut doubled) = (0, 0);
        for agency in agencies {
            for document in agency.documents() {
                match stored.remove(&(agency.number(), document)) {
                    None => missing += 1,
                    Some(times) => doubled += usize::from(times > 1),
                }
            }
        }
        let histories: Vec<_> = agencies.iter().map(|agency| agency.history().clone()).collect();
        let joined = History::joined(&histories);
        let slowest = histories.iter().map(History::longest_gap).max().unwrap_or_default();
        Self {
            failure,
            batches: joined.batches.len(),
            queries: joined.queries.len(),
            missing,
            doubled,
            unknown: stored.len(),
            draws: nodes.draws(failure),
            outage: joined.longest_gap(),
            slowest,
            draw,
            moves: joined.moves,
            wrong: joined.wrong_totals(),
        }
    }

    /// Returns true if everything acknowledged is stored once, the draw was held once, and all
    /// totals are explained.
    pub fn is_correct(&self) -> bool {
        self.wrong.iter().take(DESCRIBED).for_each(|wrong| println!("{wrong}"));
        let found = (self.missing, self.doubled, self.unknown, self.draws, self.wrong.len());
        found == (0, 0, 0, 1, 0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let Self { failure, batches, queries, missing, doubled, unknown, draws, moves, .. } = self;
        let (outage, slowest) = (seconds(self.outage), seconds(self.slowest));
        let (draw, wrong) = (seconds(self.draw), self.wrong.len());
        write!(
            f,
            "{failure:<30} | {batches:>7} | {missing:>7} | {doubled:>5} | {unknown:>7} | \
             {draws:>5} | {outage:>6} | {slowest:>7} | {draw:>5} | {moves:>5} | {queries:>6} | \
             {wrong:>5}"
        )
    }
}

/// Returns how often each bet of a lottery is stored, by agency and document.
fn stored_bets(nodes: &Nodes, lottery: &str) -> HashMap<(u16, String), usize> {
    let select = format!(
        "SELECT convert_from(rows, 'UTF8') FROM lottery.groups \
         WHERE lottery = '{lottery}'"
    );
    let mut stored = HashMap::new();
    for row in nodes.sql(&select).lines().filter(|row| !row.is_empty()) {
        let columns: Vec<_> = row.split(',').collect();
        let bet = (columns[0].parse().unwrap(), columns[3].to_owned());
        *stored.entry(bet).or_default() += 1;
    }
    stored
}
