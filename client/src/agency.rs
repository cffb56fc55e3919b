//! A run of an agency: sends every bet of its file in batches, then asks for the winners.
//!
//! At most one batch is in flight. All rows before it are acknowledged and no row after it has been
//! sent, so the run can report which rows are stored however it ends.

mod winners;

use std::fmt::Display;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{self, Outcome};
use log::Level;
use lottery::Bet;
use lottery::protocol::{AgencyCodec, Push, Receipt};

use crate::central_client::{CentralClient, Request, RequestError};
use crate::config::Config;
use crate::dataset::{Dataset, DatasetError};
use crate::failure::{Done, Rows, RunError};
use crate::progress::{Progress, rate};
use crate::stop::Stop;

/// One agency and the state of its run.
pub(crate) struct Agency<'a> {
    config: &'a Config,
    stop: &'a Stop,
    progress: &'a Progress,
    central: CentralClient<'a>,
    /// Encoder of the dialect; collects the next batch.
    codec: Box<dyn AgencyCodec>,
    /// Bytes of the batch that is being sent; a buffer that is reused.
    packet: Vec<u8>,
    /// Lines of the file on which the first and the last row of the next batch begin.
    lines: (u64, u64),
    /// Counts of what the central has acknowledged.
    totals: Totals,
}

/// Counts of what the central has acknowledged in this run.
#[derive(Debug, Default)]
struct Totals {
    /// Bets, which is also the number of the last stored row.
    bets: u64,
    /// Batches.
    batches: u64,
    /// Winners among the bets that the central has reported.
    winners: u64,
}

impl<'a> Agency<'a> {
    /// Creates an agency. It reads and sends nothing before [`run`](Self::run).
    pub(crate) fn new(
        config: &'a Config,
        codec: Box<dyn AgencyCodec>,
        stop: &'a Stop,
        progress: &'a Progress,
    ) -> Self {
        Self {
            config,
            stop,
            progress,
            central: CentralClient::new(config, stop, progress, codec.greeting()),
            codec,
            packet: Vec::new(),
            lines: (0, 0),
            totals: Totals::default(),
        }
    }

    /// Sends all bets and asks for the winners.
    pub(crate) fn run(&mut self) -> Result<(), RunError> {
        let start = Instant::now();
        let mut result = self.send_file();
        let sending = start.elapsed();
        if result.is_ok() {
            result = self.query_winners();
        }
        self.central.close();
        if result.is_ok() {
            self.log_summary(sending);
        }
        result
    }

    /// Sends every bet of the file.
    fn send_file(&mut self) -> Result<(), RunError> {
        let mut dataset = Dataset::open(&self.config.data, self.config.id)
            .map_err(|error| self.bad_data(error))?;
        if !self.config.with_number {
            dataset = dataset.without_number();
        }
        self.progress.begin(dataset.size());
        let result = self.send_rows(&mut dataset);
        self.progress.end();
        if self.stop.requested().is_some() {
            drop(dataset);
            log_line::info("close_file", Outcome::Success)
                .with("client_id", self.config.id)
                .with("file", self.config.data.display())
                .write();
        }
        result
    }

    fn send_rows(&mut self, dataset: &mut Dataset) -> Result<(), RunError> {
        while dataset.advance().map_err(|error| self.bad_data(error))? {
            let bet = dataset.bet().map_err(|error| self.bad_data(error))?;
            if self.push(&bet, dataset)? == Push::Full {
                self.send_batch(dataset.position())?;
                let pushed = self.push(&bet, dataset)?;
                debug_assert_eq!(
                    pushed,
                    Push::Added,
                    "an empty batch has room for any encodable bet"
                );
            }
            // Sent before the next row is read: if that row is malformed, this batch still arrives.
            if self.codec.bets() == usize::from(self.config.batch_max_amount) {
                self.send_batch(dataset.position())?;
            }
        }
        if self.codec.bets() > 0 {
            self.send_batch(dataset.position())?;
        }
        Ok(())
    }

    /// Adds a bet to the next batch, if there is room.
    fn push(&mut self, bet: &Bet<'_>, dataset: &Dataset) -> Result<Push, RunError> {
        let pushed =
            self.codec.push(bet).map_err(|reason| self.bad_data(dataset.row_error(reason)))?;
        if pushed == Push::Added {
            let line = dataset.line();
            let first = if self.codec.bets() == 1 { line } else { self.lines.0 };
            self.lines = (first, line);
        }
        Ok(pushed)
    }

    /// Sends the collected batch and waits for its acknowledgement. `position` is the number of
    /// bytes read from the file, for the progress display.
    fn send_batch(&mut self, position: u64) -> Result<(), RunError> {
        if self.stop.requested().is_some() {
            return Err(self.stopped());
        }
        let bets = self.codec.bets() as u64;
        let (first, last) = (self.totals.bets + 1, self.totals.bets + bets);
        let rows = || Box::new(Rows { first, last, lines: Some(self.lines) });
        self.packet.clear();
        self.packet.extend_from_slice(self.codec.packet());
        let codec = &self.codec;
        let receipt =
            self.central.request(Request::Store, &self.packet, |reply| codec.receipt(reply));
        let winners = match receipt {
            Ok(Receipt::Stored { winners }) => winners,
            Ok(Receipt::Refused) => return Err(RunError::Refused { rows: rows() }),
            Err(RequestError::Stopped) => return Err(self.stopped()),
            Err(source @ RequestError::Unreachable { .. }) => {
                return Err(RunError::Unsent { source, stored: self.totals.bets });
            }
            Err(source @ RequestError::Unanswered(_)) => {
                return Err(RunError::InDoubt { source, rows: rows() });
            }
        };
        self.codec.clear();
        self.totals.bets += bets;
        self.totals.batches += 1;
        let mut details: Vec<(&str, &dyn Display)> = vec![("cantidad", &bets)];
        if let Some(winners) = &winners {
            self.totals.winners += *winners as u64;
            details.push(("winners", winners));
        }
        self.progress.log(Level::Info, "apuesta_enviada", Outcome::Success, &details);
        self.progress.advance(self.totals.bets, position);
        Ok(())
    }

    /// Logs the totals and the course's last line. `sending` is the time that the bets took.
    fn log_summary(&self, sending: Duration) {
        let Totals { bets, batches, winners } = self.totals;
        log_line::info("summary", Outcome::Success)
            .with("client_id", self.config.id)
            .with("bets", bets)
            .with("batches", batches)
            .with("winners", winners)
            .with("duration", GoDuration(Duration::from_millis(sending.as_millis() as u64)))
            .with("bets_per_second", rate(bets, sending))
            .write();
        log_line::info("loop_finished", Outcome::Success).with("client_id", self.config.id).write();
    }

    fn bad_data(&self, source: DatasetError) -> RunError {
        RunError::Dataset { source, stored: self.totals.bets }
    }

    fn stopped(&self) -> RunError {
        let Totals { bets, batches, .. } = self.totals;
        RunError::Stopped { signal: self.stop.signal_name(), done: Done::Bets { bets, batches } }
    }
}
