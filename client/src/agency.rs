//! A run of an agency: sends every bet of its file in batches, then asks for the winners until the answer is a total.
//!
//! What is true at every moment: the rows before the batch in hand are acknowledged, the rows of the batch are not sent or in
//! doubt, and nothing after it was sent. One batch is in hand at a time, so an end of any kind can say which rows are stored.

use std::fmt::Display;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{self, Outcome};
use log::Level;
use lottery::Bet;

use crate::central::{Central, Request, RequestError};
use crate::config::Config;
use crate::dataset::{Dataset, DatasetError};
use crate::dialect::{Dialect, Push};
use crate::failure::{Rows, RunError};
use crate::progress::{Progress, rate};
use crate::stop::{Stop, Wake};

/// One agency and its run.
pub(crate) struct Agency<'a> {
    config: &'a Config,
    stop: &'a Stop,
    progress: &'a Progress,
    central: Central<'a>,
    /// Holds the batch in hand.
    dialect: Box<dyn Dialect>,
    /// What has been acknowledged.
    totals: Totals,
}

/// What the central has acknowledged, all of this run.
#[derive(Debug, Default)]
struct Totals {
    /// Bets, which is also the number of the last row that is stored.
    bets: u64,
    /// Batches.
    batches: u64,
    /// Winners among the bets.
    winners: u64,
}

impl<'a> Agency<'a> {
    /// An agency that has not begun.
    pub(crate) fn new(config: &'a Config, stop: &'a Stop, progress: &'a Progress) -> Self {
        Self {
            config,
            stop,
            progress,
            central: Central::new(config, stop, progress),
            dialect: config.protocol.dialect(config.batch_max_amount),
            totals: Totals::default(),
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// [`RunError`] says what failed and which rows are stored.
    pub(crate) fn run(&mut self) -> Result<(), RunError> {
        let began = Instant::now();
        self.deliver()?;
        let sending = began.elapsed();
        self.ask_for_winners()?;
        self.log_end(sending);
        Ok(())
    }

    /// Sends every bet of the file.
    fn deliver(&mut self) -> Result<(), RunError> {
        let mut dataset =
            Dataset::open(&self.config.data, self.config.id).map_err(|error| self.bad_data(error))?;
        self.progress.begin(dataset.size());
        let sent = self.send_all(&mut dataset);
        self.progress.end();
        if self.stop.requested().is_some() {
            drop(dataset);
            log_line::info("close_file", Outcome::Success)
                .with("client_id", self.config.id)
                .with("file", self.config.data.display())
                .write();
        }
        sent
    }

    fn send_all(&mut self, dataset: &mut Dataset) -> Result<(), RunError> {
        while dataset.advance().map_err(|error| self.bad_data(error))? {
            let bet = dataset.bet().map_err(|error| self.bad_data(error))?;
            if self.offer(&bet, dataset)? == Push::Full {
                self.send_batch(dataset.position())?;
                let offered = self.offer(&bet, dataset)?;
                debug_assert_eq!(
                    offered,
                    Push::Added,
                    "an empty batch has room for any bet that can be carried"
                );
            }
            // Not left to the next row: should that one be malformed, this batch is whole and has to arrive.
            if self.dialect.bets() == usize::from(self.config.batch_max_amount) {
                self.send_batch(dataset.position())?;
            }
        }
        if self.dialect.bets() > 0 {
            self.send_batch(dataset.position())?;
        }
        Ok(())
    }

    /// Offers a bet to the batch in hand.
    fn offer(&mut self, bet: &Bet<'_>, dataset: &Dataset) -> Result<Push, RunError> {
        self.dialect.push(bet).map_err(|reason| self.bad_data(dataset.refuse(reason)))
    }

    /// Sends the batch in hand and waits for its acknowledgement. `position`: how far the file has been read, in bytes.
    fn send_batch(&mut self, position: u64) -> Result<(), RunError> {
        if self.stop.requested().is_some() {
            return Err(self.stopped());
        }
        let bets = self.dialect.bets() as u64;
        let read = self.dialect.receipt();
        let winners = match self.central.request(Request::Store, self.dialect.packet(), read) {
            Ok(winners) => winners,
            Err(RequestError::Stopped) => return Err(self.stopped()),
            Err(source @ RequestError::Unreachable { .. }) => {
                return Err(RunError::Unsent { source, stored: self.totals.bets });
            }
            Err(source @ RequestError::Unanswered(_)) => {
                let rows = Rows { first: self.totals.bets + 1, last: self.totals.bets + bets };
                return Err(RunError::InDoubt { source, rows });
            }
        };
        self.dialect.clear();
        self.totals.bets += bets;
        self.totals.batches += 1;
        self.totals.winners += winners as u64;
        let details: [(&str, &dyn Display); 2] = [("cantidad", &bets), ("ganadores", &winners)];
        self.progress.log(Level::Info, "apuesta_enviada", Outcome::Success, &details);
        self.progress.advance(self.totals.bets, position);
        Ok(())
    }

    /// Asks until no agency is in flight any more.
    fn ask_for_winners(&mut self) -> Result<(), RunError> {
        loop {
            if self.stop.requested().is_some() {
                return Err(self.stopped());
            }
            let read = self.dialect.results();
            let results = match self.central.request(Request::Ask, self.dialect.query(), read) {
                Ok(results) => results,
                Err(RequestError::Stopped) => return Err(self.stopped()),
                Err(source) => return Err(RunError::Query { source }),
            };
            if results.in_flight == 0 {
                log_line::info("consulta_ganadores", Outcome::Success)
                    .with("cant_ganadores", results.winners)
                    .write();
                return Ok(());
            }
            log_line::info("consulta_ganadores", Outcome::InProgress)
                .with("agencias_en_proceso", results.in_flight)
                .with("cant_ganadores", results.winners)
                .write();
            if self.stop.sleep(self.config.loop_period) == Wake::Stopped {
                return Err(self.stopped());
            }
        }
    }

    /// Logs what this agency did, `sending` long, and the course's last line.
    fn log_end(&self, sending: Duration) {
        let Totals { bets, batches, winners } = self.totals;
        log_line::info("resumen", Outcome::Success)
            .with("client_id", self.config.id)
            .with("apuestas", bets)
            .with("lotes", batches)
            .with("ganadores", winners)
            .with("duracion", GoDuration(Duration::from_millis(sending.as_millis() as u64)))
            .with("apuestas_por_segundo", rate(bets, sending))
            .write();
        log_line::info("loop_finished", Outcome::Success).with("client_id", self.config.id).write();
    }

    fn bad_data(&self, source: DatasetError) -> RunError {
        RunError::Dataset { source, stored: self.totals.bets }
    }

    fn stopped(&self) -> RunError {
        let Totals { bets, batches, .. } = self.totals;
        RunError::Stopped { signal: self.stop.signal_name(), bets, batches }
    }
}
