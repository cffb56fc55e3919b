//! The record of what the agencies of a test have sent and what was acknowledged, to compare with
//! the answers and with the storage.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lottery::protocol::{AgencyCodec, Receipt, typed};

use super::agency_connection::AgencyConnection;
use super::central_process::CentralProcess;
use super::deadline::eventually;
use super::packets::{bet, packet_in, packet_of_records};
use super::participant::Participant;
use super::setup::Setup;
use super::stored_batches::{Differences, StoredBatches, batch_of, document};

/// Everything that the agencies of a test have sent, through all restarts of the central. It checks
/// every answer as it arrives, so that all answers are those of some order of the batches that
/// agrees with the order in which the test saw them:
///
/// - an acknowledgement names exactly the winners of its batch;
/// - a total is at least the winners acknowledged before the query, at most the winners ever sent,
///   and never lower than an earlier answer;
/// - a partial result reports at most as many batches in flight as have begun without being
///   acknowledged before the query.
#[derive(Debug, Default)]
pub struct BatchRecord {
    batches: Mutex<Vec<Batch>>,
    /// Winners in the acknowledged batches.
    acknowledged: AtomicU64,
    /// Winners in the batches sent.
    sent: AtomicU64,
    /// The highest total of any answer.
    highest_total: AtomicU64,
    /// Batches that have begun.
    begun: AtomicU64,
    /// Batches that are certainly not in flight any more.
    ended: AtomicU64,
    /// Answers to queries.
    answers: AtomicU64,
}

/// A batch for which at least the connection was established. Its number is its position in the
/// record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// 0 in `typed`, which has no agencies.
    pub(super) agency: u16,
    pub(super) bets: usize,
    /// The first `winners` bets win.
    pub(super) winners: usize,
    pub(super) acknowledged: bool,
}

/// What the files of a storage hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
        let number = self.begin(0, bets, winners);
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
        self.acknowledge(number);
        Some(number)
    }

    /// Sends a batch of an agency on its kept connection. Returns true if the central acknowledged
    /// it or refused it, and false if the connection is broken.
    pub fn send_batch_of(
        &self,
        participant: &mut Participant,
        agency: u16,
        bets: usize,
        winners: usize,
    ) -> bool {
        let number = self.begin(agency, bets, winners);
        let documents: Vec<_> = (0..bets).map(|bet| document(number, bet)).collect();
        let bets: Vec<_> = documents
            .iter()
            .enumerate()
            .map(|(index, document)| bet(document, index < winners))
            .collect();
        match participant.try_store(&bets) {
            Ok(Receipt::Stored { .. }) => {
                self.acknowledge(number);
                true
            }
            Ok(Receipt::Refused) => true,
            Err(_) => false,
        }
    }

    /// Returns the number of a new batch, of whose bets the first `winners` win.
    pub fn begin(&self, agency: u16, bets: usize, winners: usize) -> usize {
        let mut batches = self.batches.lock().unwrap();
        batches.push(Batch { agency, bets, winners, acknowledged: false });
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.sent.fetch_add(winners as u64, Ordering::SeqCst);
        batches.len() - 1
    }

    /// Returns the bytes of a batch in the dialect of a codec.
    pub fn packet(&self, number: usize, codec: &mut dyn AgencyCodec) -> Vec<u8> {
        let Batch { bets, winners, .. } = self.batches.lock().unwrap()[number];
        let documents: Vec<_> = (0..bets).map(|bet| document(number, bet)).collect();
        let bets: Vec<_> = documents
            .iter()
            .enumerate()
            .map(|(index, document)| bet(document, index < winners))
            .collect();
        packet_in(codec, &bets)
    }

    /// Asserts that a reply lists the winners of a batch.
    pub fn assert_winners(&self, number: usize, codec: &dyn AgencyCodec, reply: &[u8]) {
        let Batch { winners, .. } = self.batches.lock().unwrap()[number];
        let expected = (0..winners).map(|bet| document(number, bet)).collect();
        assert_eq!(codec.documents(reply), Some(expected), "winners of batch {number}");
    }

    /// Returns the numbers of the batches of which rows are stored.
    pub fn numbers_in(rows: &[u8]) -> BTreeSet<usize> {
        String::from_utf8_lossy(rows).lines().filter_map(batch_of).collect()
    }

    fn acknowledge(&self, number: usize) {
        let mut batches = self.batches.lock().unwrap();
        batches[number].acknowledged = true;
        self.acknowledged.fetch_add(batches[number].winners as u64, Ordering::SeqCst);
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// Sends a query on a new connection. Returns true if there was an answer.
    pub fn query(&self, port: u16) -> bool {
        let highest = self.highest_total.load(Ordering::SeqCst);
        let least = self.acknowledged.load(Ordering::SeqCst).max(highest);
        let ended = self.ended.load(Ordering::SeqCst);
        let Ok(mut agency) = AgencyConnection::try_open(port) else { return false };
        agency.try_send(&typed::QUERY);
        let reply = agency.read_until_gone();
        let Some(results) = typed::decode_results(&reply).unwrap() else { return false };
        let most = self.sent.load(Ordering::SeqCst);
        let in_flight = self.begun.load(Ordering::SeqCst) - ended;
        assert!(
            (least..=most).contains(&results.winners) && u64::from(results.in_flight) <= in_flight,
            "{results:?}, not {least} to {most} winners and at most {in_flight} in flight"
        );
        self.highest_total.fetch_max(results.winners, Ordering::SeqCst);
        self.answers.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Returns the number of batches acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.batches.lock().unwrap().iter().filter(|batch| batch.acknowledged).count()
    }

    /// Returns the number of queries answered so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    /// Returns which batches were acknowledged so far, by number.
    pub fn acknowledgements(&self) -> Vec<bool> {
        self.batches.lock().unwrap().iter().map(|batch| batch.acknowledged).collect()
    }

    /// Returns this record with the acknowledgements of an earlier moment, to compare it with a
    /// storage that is as old: later batches may be in it or not.
    pub fn as_of(&self, acknowledgements: &[bool]) -> Self {
        let mut batches = self.batches.lock().unwrap().clone();
        for (number, batch) in batches.iter_mut().enumerate() {
            batch.acknowledged = acknowledgements.get(number) == Some(&true);
        }
        Self { batches: Mutex::new(batches), ..Self::default() }
    }

    /// Compares the record with the files of a storage while no agency sends. Every acknowledged
    /// batch is stored exactly once, every other batch at most once. Each stored batch is complete
    /// and in one piece, there are no other rows, and `winners.log` has a line per winner in the
    /// same order.
    pub fn check_files(&self, rows: &[u8], lines: &[u8]) -> Totals {
        self.compare_files(rows, lines).none()
    }

    /// Compares the files as [`check_files`](Self::check_files) does, and returns the differences.
    pub fn compare_files(&self, rows: &[u8], lines: &[u8]) -> Differences {
        let batches = self.batches.lock().unwrap();
        StoredBatches::read(rows, &batches)
            .compare(batches.len(), lines, |number| batches[number].acknowledged)
    }

    /// Compares the files as [`check_files`](Self::check_files) does, where `must_be_stored` names
    /// the batches that no file may lack.
    pub fn check_stored(
        &self,
        rows: &[u8],
        lines: &[u8],
        must_be_stored: impl Fn(usize) -> bool,
    ) -> Totals {
        let batches = self.batches.lock().unwrap();
        StoredBatches::read(rows, &batches).compare(batches.len(), lines, must_be_stored).none()
    }

    /// Compares the record with the files of an idle central, and its files with each other and
    /// with its totals.
    pub fn check(&self, setup: &Setup, central: &CentralProcess<'_>) -> Totals {
        self.compare(setup, central).none()
    }

    /// Compares as [`check`](Self::check) does, and returns the differences between the record and
    /// the files.
    pub fn compare(&self, setup: &Setup, central: &CentralProcess<'_>) -> Differences {
        setup.assert_indexed();
        // An engine may still store what a killed worker has sent, until a new worker claims its
        // row.
        let read = || (setup.read_stored("bets.csv"), setup.read_stored("winners.log"));
        let look = || {
            let (before, results) = (read(), central.results());
            (before == read()).then_some((before, results))
        };
        let ((rows, lines), results) = eventually("rest", look, Option::is_some).unwrap();
        let differences = self.compare_files(&rows, &lines);
        let totals = differences.totals;
        let seen = (results.winners, results.in_flight);
        assert_eq!(seen, (totals.winners, 0), "winners and in flight");
        eventually("all bets", || central.number("bets"), |bets| *bets == totals.bets);
        let highest = self.highest_total.load(Ordering::SeqCst);
        assert!(highest <= results.winners, "the winners went down");
        // No batch of the past is undecided any more, so later answers have tighter bounds.
        self.acknowledged.store(totals.winners, Ordering::SeqCst);
        self.sent.store(totals.winners, Ordering::SeqCst);
        self.ended.store(self.begun.load(Ordering::SeqCst), Ordering::SeqCst);
        differences
    }
}
