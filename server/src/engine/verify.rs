//! The check of everything that a lottery in an engine has stored.
//!
//! The winners are computed again from the rows. The groups, winners and results have to be those
//! that the rows of the workers and of the lottery count.

use std::collections::BTreeMap;
use std::io;

use lottery::{Bet, write_winner_line};
use postgres_link::Servers;

use super::snapshot::{GroupId, ReadError, Snapshot, StoredGroup, StoredWinner, Summary};
use super::statements::LotteryPhase;
use crate::storage::RowParser;

/// Problems that are named.
const NAMED: usize = 100;

/// What a check has found.
#[derive(Debug)]
pub struct Report {
    /// The lottery.
    pub summary: Summary,
    /// What is not as it was acknowledged.
    pub problems: Vec<String>,
}

/// What the rows of a worker count, or what its groups hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    batches: i64,
    bets: i64,
    winners: i64,
    /// Number that the next group gets.
    next: i64,
}

/// Central and slot of a worker.
type Worker = (String, i32);

/// Checks a lottery. Changes nothing.
pub fn verify(servers: &Servers, lottery: &str) -> Result<Report, ReadError> {
    let mut snapshot = Snapshot::open(servers, lottery)?;
    let summary = snapshot.summary()?;
    let mut check = Check::default();
    snapshot.groups(|group| {
        check.group(group);
        Ok::<_, ReadError>(())
    })?;
    check.workers(&mut snapshot)?;
    check.orphans(&mut snapshot)?;
    check.draw(&mut snapshot, &summary)?;
    Ok(Report { summary, problems: check.problems })
}

/// A check under way.
#[derive(Default)]
struct Check {
    parser: RowParser,
    /// What the groups of each worker hold.
    found: BTreeMap<Worker, Counts>,
    /// Documents of the winners that the draw reports, per agency, in order.
    drawn: BTreeMap<i32, Vec<String>>,
    problems: Vec<String>,
}

impl Check {
    fn problem(&mut self, text: String) {
        if self.problems.len() < NAMED {
            self.problems.push(text);
        }
    }

    /// Checks one group: its rows are bets, and its winners are those among them.
    fn group(&mut self, group: &StoredGroup<'_>) {
        let GroupId { central, slot, seq } = group.id;
        let name = format!("group {seq} of {central}/{slot}");
        let mut left = group.winners.iter();
        let mut wrong = None;
        let scanned = self.parser.scan(group.rows, 0, |_, bet| {
            if wrong.is_none() && !is_stored(bet, &mut left) {
                wrong = Some(format!("the bet {} has won", bet.document));
            }
            Ok::<_, io::Error>(())
        });
        let whole = scanned.ok().filter(|scanned| scanned.bytes == group.rows.len());
        match whole {
            None => self.problem(format!("{name}: its rows are not bets")),
            Some(scanned) if scanned.rows != group.counted.1.unsigned_abs() => {
                let (rows, bets) = (scanned.rows, group.counted.1);
                self.problem(format!("{name}: it has {rows} bets and counts {bets}"));
            }
            Some(_) => {}
        }
        if let Some(wrong) = wrong {
            self.problem(format!("{name}: {wrong}, and is not among its winners"));
        } else if let Some(winner) = left.next() {
            let document = winner.document;
            self.problem(format!("{name}: its winner {document} is not among its bets"));
        }
        let counts = self.found.entry((central.to_owned(), slot)).or_default();
        counts.batches += group.counted.0;
        counts.bets += group.counted.1;
        counts.winners += group.winners.len() as i64;
        counts.next = counts.next.max(seq + 1);
        // Agency 0 stands for dialects without agencies.
        for winner in group.winners.iter().filter(|won| won.is_numbered && won.agency != 0) {
            self.drawn.entry(winner.agency).or_default().push(winner.document.to_owned());
        }
    }

    /// Checks that the groups are those that the rows of the workers count. A group whose batches
    /// were all repeated has a number, but no row.
    fn workers(&mut self, snapshot: &mut Snapshot) -> Result<(), ReadError> {
        let sql = "SELECT central, slot, batches, bets, winners, seq FROM lottery.workers \
                   WHERE lottery = $1 ORDER BY central, slot";
        let replies = snapshot.ask(sql)?;
        for row in replies.of(0).rows() {
            let worker: Worker = (row.get(0)?, row.get(1)?);
            let counted = Counts {
                batches: row.get(2)?,
                bets: row.get(3)?,
                winners: row.get(4)?,
                next: row.get(5)?,
            };
            let found = self.found.remove(&worker).unwrap_or_default();
            let (central, slot) = worker;
            let mut compare = |what: &str, counted: i64, found: i64| {
                if counted != found {
                    self.problem(format!(
                        "worker {central}/{slot}: it counts {counted} {what}, and {found} are \
                         stored"
                    ));
                }
            };
            compare("batches", counted.batches, found.batches);
            compare("bets", counted.bets, found.bets);
            compare("winners", counted.winners, found.winners);
            if found.next > counted.next {
                let (last, next) = (found.next - 1, counted.next);
                self.problem(format!(
                    "worker {central}/{slot}: group {last} is stored, and its next one is {next}"
                ));
            }
        }
        for (central, slot) in std::mem::take(&mut self.found).into_keys() {
            self.problem(format!("worker {central}/{slot}: it has groups and no row"));
        }
        Ok(())
    }

    /// Checks that each winner has a group.
    fn orphans(&mut self, snapshot: &mut Snapshot) -> Result<(), ReadError> {
        let sql = "SELECT v.central, v.slot, v.seq, count(*) FROM lottery.winners v \
                   WHERE v.lottery = $1 AND NOT EXISTS ( \
                       SELECT FROM lottery.groups g WHERE (g.lottery, g.central, g.slot, g.seq) \
                           = (v.lottery, v.central, v.slot, v.seq)) \
                   GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 100";
        for row in snapshot.ask(sql)?.of(0).rows() {
            let (central, slot): (&str, i32) = (row.get(0)?, row.get(1)?);
            let (seq, count): (i64, i64) = (row.get(2)?, row.get(3)?);
            self.problem(format!(
                "group {seq} of {central}/{slot}: it has {count} winners and no bets"
            ));
        }
        Ok(())
    }

    /// Checks the result of the draw: it must be that of a draw over these bets.
    fn draw(&mut self, snapshot: &mut Snapshot, summary: &Summary) -> Result<(), ReadError> {
        let is_complete = summary.finished.len() >= summary.expected as usize;
        if summary.phase != LotteryPhase::Open && !is_complete {
            let (finished, expected) = (summary.finished.len(), summary.expected);
            self.problem(format!(
                "bets are closed, and {finished} of {expected} agencies have finished"
            ));
        }
        let mut held: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        snapshot.draw(|agency, document| {
            held.entry(agency).or_default().push(document.to_owned());
            Ok::<_, ReadError>(())
        })?;
        if summary.phase != LotteryPhase::Drawn {
            if !held.is_empty() {
                self.problem("there is a result, and the draw has not been held".to_owned());
            }
            return Ok(());
        }
        let winners = held.values().map(|documents| documents.len() as u64).sum::<u64>();
        let stored = summary.stored.0;
        match summary.drawn {
            Some((bets, _)) if bets != stored => {
                self.problem(format!("the draw was held over {bets} bets, and {stored} are stored"))
            }
            Some((_, counted)) if counted != winners => {
                self.problem(format!("the draw counts {counted} winners, and has {winners}"));
            }
            None => self.problem("the draw does not say over which bets it was held".to_owned()),
            Some(_) => {}
        }
        let drawn = std::mem::take(&mut self.drawn);
        if drawn != held {
            let differs = |agency: &&i32| drawn.get(agency) != held.get(agency);
            let agencies = drawn.keys().chain(held.keys()).find(differs).copied();
            let agency = agencies.unwrap_or_default();
            self.problem(format!(
                "the winners of the draw are not those among the bets, first of agency {agency}"
            ));
        }
        Ok(())
    }
}

/// Returns true if a bet is the next of the stored winners, which it then leaves behind. A row with
/// the number 0 may be that of a bet without a number, which has won only if it is the next winner.
fn is_stored(bet: &Bet<'_>, left: &mut std::slice::Iter<'_, StoredWinner<'_>>) -> bool {
    let mut line = Vec::new();
    write_winner_line(bet, &mut line);
    let is_next = left.as_slice().first().is_some_and(|winner| {
        winner.agency == i32::from(bet.agency)
            && winner.document == bet.document.as_str()
            && winner.is_numbered == bet.number.is_some()
            && line.strip_suffix(b"\n") == Some(winner.line.as_bytes())
    });
    if is_next {
        left.next();
    }
    is_next || bet.number.is_none()
}
