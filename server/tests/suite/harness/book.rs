//! What agencies of a test have sent and what of it the central acknowledged, to compare with what it stored.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lottery::protocol::typed;

use super::agency::{Agency, packet_of};
use super::central::{Central, Setup};

/// The books of all agencies of a test together. It survives the centrals it is about, and checks every answer:
///
/// - an acknowledgement names exactly the winners of its batch;
/// - a total has at least the winners acknowledged before it was asked for, at most those ever sent, and never fewer than an
///   answer before it.
#[derive(Debug, Default)]
pub struct Book {
    batches: Mutex<Vec<Batch>>,
    /// Winners of the batches acknowledged so far.
    acknowledged: AtomicU64,
    /// Winners of the batches sent so far.
    sent: AtomicU64,
    /// The most winners that an answer told of.
    told: AtomicU64,
}

/// A batch of which at least the connection was made. Its number is its place in the book.
#[derive(Clone, Copy, Debug)]
struct Batch {
    bets: usize,
    /// The first of them win.
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

impl Book {
    /// Sends a batch on a connection of its own. Whether it was acknowledged: a central that is killed meanwhile does not.
    ///
    /// # Panics
    /// When the acknowledgement is wrong.
    pub fn send_batch(&self, port: u16, bets: usize, winners: usize) -> bool {
        let Ok(mut agency) = Agency::try_connect(port) else { return false };
        let number = {
            let mut batches = self.batches.lock().unwrap();
            batches.push(Batch { bets, winners, acknowledged: false });
            batches.len() - 1
        };
        self.sent.fetch_add(winners as u64, Ordering::SeqCst);
        agency.try_send(&packet_of(&number.to_string(), bets, winners));
        let reply = agency.read_until_gone();
        let Some(won) = typed::decode_winners(&reply).unwrap() else { return false };
        let won: Vec<_> = won.iter().map(|bet| bet.document.to_string()).collect();
        let expected: Vec<_> = (0..winners).map(|bet| document(number, bet)).collect();
        assert_eq!(won, expected, "winners of batch {number}");
        self.acknowledged.fetch_add(winners as u64, Ordering::SeqCst);
        self.batches.lock().unwrap()[number].acknowledged = true;
        true
    }

    /// Asks for the total. Whether there was an answer.
    ///
    /// # Panics
    /// When the answer is wrong.
    pub fn ask(&self, port: u16) -> bool {
        let least = self.acknowledged.load(Ordering::SeqCst).max(self.told.load(Ordering::SeqCst));
        let Ok(mut agency) = Agency::try_connect(port) else { return false };
        agency.try_send(&typed::QUERY);
        let reply = agency.read_until_gone();
        let Some(results) = typed::decode_results(&reply).unwrap() else { return false };
        let most = self.sent.load(Ordering::SeqCst);
        assert!(
            (least..=most).contains(&results.winners),
            "{results:?}, not {least} to {most} winners"
        );
        self.told.fetch_max(results.winners, Ordering::SeqCst);
        true
    }

    /// Batches acknowledged so far.
    ///
    /// # Panics
    /// When an agency panicked.
    pub fn acknowledged(&self) -> usize {
        self.batches.lock().unwrap().iter().filter(|batch| batch.acknowledged).count()
    }

    /// Compares with the files of a storage while nobody sends: every acknowledged batch is there exactly once, the others
    /// exactly once or not at all, each whole and in one piece, nothing else, and a winner line for each winner in the same order.
    ///
    /// # Panics
    /// When any of that is not so.
    pub fn check_files(&self, rows: &[u8], lines: &[u8]) -> Totals {
        let text = std::str::from_utf8(rows).unwrap();
        assert!(
            text.is_empty() || text.ends_with("\r\n"),
            "torn last row: {:?}",
            text.lines().last()
        );
        let batches = self.batches.lock().unwrap();
        let mut stored = vec![false; batches.len()];
        let mut expected_lines = String::new();
        let mut winners = 0;
        let mut rest: Vec<_> = text.split_terminator("\r\n").collect();
        let bets = rest.len() as u64;
        rest.reverse();
        while let Some(first) = rest.last() {
            let number = batch_of(first).unwrap_or_else(|| panic!("a row of nobody: {first:?}"));
            assert!(
                !std::mem::replace(&mut stored[number], true),
                "batch {number} is stored twice"
            );
            let batch = batches[number];
            for bet in 0..batch.bets {
                let (document, wins) = (document(number, bet), bet < batch.winners);
                let played = if wins { 7574 } else { 1033 };
                let expected = format!("0,Santiago Lionel,Lorca,{document},1999-03-17,{played}");
                assert_eq!(
                    rest.pop(),
                    Some(expected.as_str()),
                    "row {bet} of batch {number}, {batch:?}"
                );
                if wins {
                    winners += 1;
                    expected_lines += &format!(
                        "Full name: Santiago Lionel Lorca | Document: {document} | Date of Birth: 17/03/1999\n"
                    );
                }
            }
        }
        for (number, batch) in batches.iter().enumerate() {
            assert!(
                stored[number] || !batch.acknowledged,
                "acknowledged batch {number} is lost: {batch:?}"
            );
        }
        assert!(lines == expected_lines.as_bytes(), "winners.log does not go with bets.csv");
        Totals { bets, winners }
    }

    /// Compares with a central to which nobody sends: its files as above, and its totals with its files.
    ///
    /// # Panics
    /// When anything differs.
    pub fn check(&self, setup: &Setup, central: &Central<'_>) -> Totals {
        let totals =
            self.check_files(&setup.read_stored("bets.csv"), &setup.read_stored("winners.log"));
        let results = central.results();
        assert_eq!(
            (results.winners, results.in_flight),
            (totals.winners, 0),
            "winners and in flight"
        );
        assert_eq!(central.number("bets"), totals.bets, "bets");
        assert!(self.told.load(Ordering::SeqCst) <= results.winners, "the winners went down");
        totals
    }
}

/// As [`packet_of`] makes them.
fn document(batch: usize, bet: usize) -> String {
    format!("{batch}-{bet}")
}

/// The batch a row belongs to.
fn batch_of(row: &str) -> Option<usize> {
    row.split(',').nth(3)?.split_once('-')?.0.parse().ok()
}
