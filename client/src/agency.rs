//! A run of an agency: sends every bet of its file in batches, then asks for the winners.
//!
//! What is true at every moment: the rows before the batch in hand are acknowledged, the rows of the batch are not sent or in
//! doubt, and nothing after it was sent. One batch is in hand at a time, so an end of any kind can say which rows are stored.

mod winners;

use std::fmt::Display;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{self, Outcome};
use log::Level;
use lottery::Bet;
use lottery::protocol::{AgencyCodec, Push, Receipt};

use crate::central::{Central, Request, RequestError};
use crate::config::Config;
use crate::dataset::{Dataset, DatasetError};
use crate::failure::{Done, Rows, RunError};
use crate::progress::{Progress, rate};
use crate::stop::Stop;

/// One agency and its run.
pub(crate) struct Agency<'a> {
    config: &'a Config,
    stop: &'a Stop,
    progress: &'a Progress,
    central: Central<'a>,
    /// Holds the batch in hand.
    codec: Box<dyn AgencyCodec>,
    /// The bytes of the batch that is on its way; room for them is kept.
    packet: Vec<u8>,
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
    /// Winners among the bets, as far as the central has told.
    winners: u64,
}

impl<'a> Agency<'a> {
    /// An agency that has not begun.
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
            central: Central::new(config, stop, progress, codec.greeting()),
            codec,
            packet: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// [`RunError`] says what failed and which rows are stored.
    pub(crate) fn run(&mut self) -> Result<(), RunError> {
        let began = Instant::now();
        let mut ended = self.deliver();
        let sending = began.elapsed();
        if ended.is_ok() {
            ended = self.ask_for_winners();
        }
        self.central.close();
        if ended.is_ok() {
            self.log_end(sending);
        }
        ended
    }

    /// Sends every bet of the file.
    fn deliver(&mut self) -> Result<(), RunError> {
        let mut dataset = Dataset::open(&self.config.data, self.config.id)
            .map_err(|error| self.bad_data(error))?;
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
            if self.codec.bets() == usize::from(self.config.batch_max_amount) {
                self.send_batch(dataset.position())?;
            }
        }
        if self.codec.bets() > 0 {
            self.send_batch(dataset.position())?;
        }
        Ok(())
    }

    /// Offers a bet to the batch in hand.
    fn offer(&mut self, bet: &Bet<'_>, dataset: &Dataset) -> Result<Push, RunError> {
        self.codec.push(bet).map_err(|reason| self.bad_data(dataset.refuse(reason)))
    }

    /// Sends the batch in hand and waits for its acknowledgement. `position`: how far the file has been read, in bytes.
    fn send_batch(&mut self, position: u64) -> Result<(), RunError> {
        if self.stop.requested().is_some() {
            return Err(self.stopped());
        }
        let bets = self.codec.bets() as u64;
        let rows = Rows { first: self.totals.bets + 1, last: self.totals.bets + bets };
        self.packet.clear();
        self.packet.extend_from_slice(self.codec.packet());
        let codec = &self.codec;
        let receipt =
            self.central.request(Request::Store, &self.packet, |reply| codec.receipt(reply));
        let winners = match receipt {
            Ok(Receipt::Stored { winners }) => winners,
            Ok(Receipt::Refused) => return Err(RunError::Refused { rows }),
            Err(RequestError::Stopped) => return Err(self.stopped()),
            Err(source @ RequestError::Unreachable { .. }) => {
                return Err(RunError::Unsent { source, stored: self.totals.bets });
            }
            Err(source @ RequestError::Unanswered(_)) => {
                return Err(RunError::InDoubt { source, rows });
            }
        };
        self.codec.clear();
        self.totals.bets += bets;
        self.totals.batches += 1;
        let mut details: Vec<(&str, &dyn Display)> = vec![("cantidad", &bets)];
        if let Some(winners) = &winners {
            self.totals.winners += *winners as u64;
            details.push(("ganadores", winners));
        }
        self.progress.log(Level::Info, "apuesta_enviada", Outcome::Success, &details);
        self.progress.advance(self.totals.bets, position);
        Ok(())
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
        RunError::Stopped { signal: self.stop.signal_name(), done: Done::Bets { bets, batches } }
    }
}
