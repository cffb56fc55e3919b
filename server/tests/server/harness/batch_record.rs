//! The record of what the agencies of a test have sent and what was acknowledged, to compare with
//! the storage.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lottery::protocol::typed;

use super::agency_connection::AgencyConnection;
use super::central_process::CentralProcess;
use super::packets::packet_of_records;
use super::setup::Setup;

/// Everything that the agencies of a test have sent, through all restarts of the central. It checks
/// every answer:
///
/// - an acknowledgement names exactly the winners of its batch;
/// - a total is at least the winners acknowledged before the query, at most the winners ever sent,
///   and never lower than an earlier answer.
#[derive(Debug, Default)]
pub struct BatchRecord {
    batches: Mutex<Vec<Batch>>,
    /// Winners in the acknowledged batches.
    acknowledged: AtomicU64,
    /// Winners in the batches sent.
    sent: AtomicU64,
    /// The highest total of any answer.
    highest_total: AtomicU64,
}

/// A batch for which at least the connection was established. Its number is its position in the
/// record.
#[derive(Clone, Copy, Debug)]
struct Batch {
    bets: usize,
    /// The first `winners` bets win.
    winners: usize,
    acknowledged: bool,
}

/// What the files of a storage hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Rows of `bets.csv`.
    pub bets: u64,
    /// Winners among them.
    pub winners: u64,
}

impl BatchRecord {
    /// Sends a batch on a new connection. Returns true if the central acknowledged it, and false if
    /// the central died or refused it.
    pub fn send_batch(&self, port: u16, bets: usize, winners: usize) -> bool {
        self.try_send_batch(port, bets, winners).is_some()
    }

    /// Sends a batch to a central that must acknowledge it. Returns its number.
    pub fn send_acknowledged(&self, port: u16, bets: usize, winners: usize) -> usize {
        self.try_send_batch(port, bets, winners).expect("the batch is acknowledged")
    }

    fn try_send_batch(&self, port: u16, bets: usize, winners: usize) -> Option<usize> {
        let mut agency = AgencyConnection::try_open(port).ok()?;
        let number = {
            let mut batches = self.batches.lock().unwrap();
            batches.push(Batch { bets, winners, acknowledged: false });
            batches.len() - 1
        };
        self.sent.fetch_add(winners as u64, Ordering::SeqCst);
        let number_of = |bet| if bet < winners { 7574 } else { 1033 };
        let record = |bet| {
            let document = document(number, bet);
            format!("Santiago Lionel;Lorca;{document};1999-03-17;{}", number_of(bet))
        };
        agency.try_send(&packet_of_records(&(0..bets).map(record).collect::<Vec<_>>()));
        let reply = agency.read_until_gone();
        let won = typed::decode_winners(&reply).unwrap()?;
        let won: Vec<_> = won.iter().map(|bet| bet.document.to_string()).collect();
        let expected: Vec<_> = (0..winners).map(|bet| document(number, bet)).collect();
        assert_eq!(won, expected, "winners of batch {number}");
        self.acknowledged.fetch_add(winners as u64, Ordering::SeqCst);
        self.batches.lock().unwrap()[number].acknowledged = true;
        Some(number)
    }

    /// Sends a query on a new connection. Returns true if there was an answer.
    pub fn query(&self, port: u16) -> bool {
        let highest = self.highest_total.load(Ordering::SeqCst);
        let least = self.acknowledged.load(Ordering::SeqCst).max(highest);
        let Ok(mut agency) = AgencyConnection::try_open(port) else { return false };
        agency.try_send(&typed::QUERY);
        let reply = agency.read_until_gone();
        let Some(results) = typed::decode_results(&reply).unwrap() else { return false };
        let most = self.sent.load(Ordering::SeqCst);
        assert!(
            (least..=most).contains(&results.winners),
            "{results:?}, not {least} to {most} winners"
        );
        self.highest_total.fetch_max(results.winners, Ordering::SeqCst);
        true
    }

    /// Returns the number of batches acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.batches.lock().unwrap().iter().filter(|batch| batch.acknowledged).count()
    }

    /// Compares the record with the files of a storage while no agency sends. Every acknowledged
    /// batch is stored exactly once, every other batch at most once. Each stored batch is complete
    /// and in one piece, there are no other rows, and `winners.log` has a line per winner in the
    /// same order.
    pub fn check_files(&self, rows: &[u8], lines: &[u8]) -> Totals {
        let acknowledged: Vec<_> =
            self.batches.lock().unwrap().iter().map(|batch| batch.acknowledged).collect();
        self.check_stored(rows, lines, |batch| acknowledged[batch])
    }

    /// Compares the files as [`check_files`](Self::check_files) does, where `must_be_stored` names
    /// the batches that no file may lack.
    pub fn check_stored(
        &self,
        rows: &[u8],
        lines: &[u8],
        must_be_stored: impl Fn(usize) -> bool,
    ) -> Totals {
        let text = std::str::from_utf8(rows).unwrap();
        let last = text.lines().last();
        assert!(text.is_empty() || text.ends_with("\r\n"), "torn last row: {last:?}");
        let batches = self.batches.lock().unwrap();
        let mut stored = vec![false; batches.len()];
        let mut expected_lines = String::new();
        let mut winners = 0;
        let mut rest: Vec<_> = text.split_terminator("\r\n").collect();
        let bets = rest.len() as u64;
        rest.reverse();
        while let Some(first) = rest.last() {
            let number =
                batch_of(first).unwrap_or_else(|| panic!("not a row of this test: {first:?}"));
            let again = std::mem::replace(&mut stored[number], true);
            assert!(!again, "batch {number} is stored twice");
            let batch = batches[number];
            for bet in 0..batch.bets {
                let (document, wins) = (document(number, bet), bet < batch.winners);
                let row = rest.pop();
                let expected = stored_row(&document, wins);
                assert_eq!(row, Some(&*expected), "row {bet} of batch {number}, {batch:?}");
                if wins {
                    winners += 1;
                    expected_lines += &winner_line(&document);
                }
            }
        }
        for (number, batch) in batches.iter().enumerate() {
            let lost = must_be_stored(number) && !stored[number];
            assert!(!lost, "acknowledged batch {number} is lost: {batch:?}");
        }
        assert!(lines == expected_lines.as_bytes(), "winners.log does not match bets.csv");
        Totals { bets, winners }
    }

    /// Checks that each of these batches is in the rows exactly once.
    pub fn check_contained(&self, rows: &[u8], numbers: &BTreeSet<usize>) {
        let text = String::from_utf8_lossy(rows);
        let batches = self.batches.lock().unwrap();
        for number in numbers {
            let batch = batches[*number];
            let row = |bet| stored_row(&document(*number, bet), bet < batch.winners) + "\r\n";
            let expected: String = (0..batch.bets).map(row).collect();
            assert_eq!(text.matches(&expected).count(), 1, "batch {number} in the files");
        }
    }

    /// Compares the record with the files of an idle central, and its files with its totals.
    pub fn check(&self, setup: &Setup, central: &CentralProcess<'_>) -> Totals {
        let totals =
            self.check_files(&setup.read_stored("bets.csv"), &setup.read_stored("winners.log"));
        let results = central.results();
        let seen = (results.winners, results.in_flight);
        assert_eq!(seen, (totals.winners, 0), "winners and in flight");
        assert_eq!(central.number("bets"), totals.bets, "bets");
        let highest = self.highest_total.load(Ordering::SeqCst);
        assert!(highest <= results.winners, "the winners went down");
        totals
    }
}

/// Returns the document of a bet.
fn document(batch: usize, bet: usize) -> String {
    format!("{batch}-{bet}")
}

/// Returns the batch to which a row belongs.
fn batch_of(row: &str) -> Option<usize> {
    row.split(',').nth(3)?.split_once('-')?.0.parse().ok()
}

fn stored_row(document: &str, wins: bool) -> String {
    let number = if wins { 7574 } else { 1033 };
    format!("0,Santiago Lionel,Lorca,{document},1999-03-17,{number}")
}

fn winner_line(document: &str) -> String {
    let name = "Full name: Santiago Lionel Lorca";
    format!("{name} | Document: {document} | Date of Birth: 17/03/1999\n")
}
