//! A run of an agency: sends every bet of its file in batches, then asks for the winners.
//!
//! At most one batch is in flight. All rows before it are acknowledged and no row after it has been
//! sent, so the run can report which rows are stored however it ends. Where batches have keys, a
//! later run continues after them.

mod batches;
mod catch_up;
mod record;
mod winners;

use std::fmt::Display;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{self, Outcome};
use log::Level;
use lottery::BatchKey;
use lottery::protocol::{AgencyCodec, NewAgency, Receipt};

use self::batches::{Batch, Batches};
use crate::central_client::{CentralClient, Request, RequestError, or_denied};
use crate::config::Config;
use crate::dataset::{Dataset, DatasetError};
use crate::failure::{Done, Rows, RunError};
use crate::progress::{Progress, rate};
use crate::resume::{Acknowledged, Plan, Resume, ResumeError, Rules};
use crate::stop::Stop;

/// One agency and the state of its run.
struct Agency<'a> {
    config: &'a Config,
    stop: &'a Stop,
    progress: &'a Progress,
    central: CentralClient<'a>,
    /// Encoder of the dialect, which holds the batch that is sent next.
    codec: Box<dyn AgencyCodec>,
    /// An empty encoder. While the reply to a batch is awaited, it gets the batch after it.
    spare: Box<dyn AgencyCodec>,
    /// Bytes of the batch that is being sent; a buffer that is reused.
    packet: Vec<u8>,
    /// The state that a later run continues, if there can be one.
    resume: Option<Resume>,
    /// Divides the file into batches.
    plan: Plan,
    /// Batches and rows that are stored, in this run or in earlier ones.
    stored: Acknowledged,
    /// Bytes of the file up to the end of the last batch that may have been sent. `None` until this
    /// run has recorded its state.
    sent: Option<u64>,
    /// True once all rows are stored.
    has_sent_all: bool,
    /// Counts of what the central has acknowledged in this run.
    totals: Totals,
}

/// The next batch, which is then in a codec; `None` after the last row.
type Filled = Result<Option<Batch>, DatasetError>;

/// Counts of what the central has acknowledged in this run.
#[derive(Debug, Default)]
struct Totals {
    /// Bets.
    bets: u64,
    /// Batches.
    batches: u64,
    /// Winners among the bets that the central has reported.
    winners: u64,
}

/// Sends all bets and asks for the winners.
pub(crate) fn run(
    config: &Config,
    new_codec: NewAgency,
    stop: &Stop,
    progress: &Progress,
) -> Result<(), RunError> {
    let dataset = Dataset::open(&config.data, config.id)
        .map_err(|source| RunError::Dataset { source, stored: 0 })?;
    let resume = match &config.state {
        Some(_) if !dataset.is_regular() => Err(ResumeError::NotAFile),
        Some(path) => Resume::open(path, config.id).map(Some),
        None => Ok(None),
    };
    let resume = resume.map_err(|source| RunError::Resume { source, stored: 0 })?;
    let session = resume.as_ref().map_or_else(BatchKey::new_session, Resume::session);
    let [codec, spare] = [(); 2].map(|()| config.codec(new_codec, session));
    let central = CentralClient::new(config, stop, progress, codec.greeting());
    let agency = Agency {
        config,
        stop,
        progress,
        central,
        codec,
        spare,
        packet: Vec::new(),
        stored: resume.as_ref().map_or_else(Acknowledged::default, Resume::acknowledged),
        resume,
        plan: Plan::of(u64::MAX, Rules::of(config)),
        sent: None,
        has_sent_all: false,
        totals: Totals::default(),
    };
    agency.run(dataset)
}

impl Agency<'_> {
    fn run(mut self, dataset: Dataset) -> Result<(), RunError> {
        let start = Instant::now();
        let mut result = self.send_file(dataset);
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

    /// Sends every bet of the file that earlier runs have not sent.
    fn send_file(&mut self, dataset: Dataset) -> Result<(), RunError> {
        self.progress.begin(dataset.size());
        let mut batches = Batches::new(dataset);
        let result = self.send_rows(&mut batches);
        self.progress.end();
        self.has_sent_all = result.is_ok();
        self.record_end();
        if self.stop.requested().is_some() {
            drop(batches);
            log_line::info("close_file", Outcome::Success)
                .with("client_id", self.config.id)
                .with("file", self.config.data.display())
                .write();
        }
        result
    }

    fn send_rows(&mut self, batches: &mut Batches) -> Result<(), RunError> {
        let mut next = match &self.resume {
            Some(resume) if !resume.is_new() => self.catch_up(batches)?,
            _ => {
                let rules = Rules::of(self.config);
                self.record_plan(batches, 0, |plan, end| *plan = Plan::of(end, rules))?;
                self.fill(batches)?
            }
        };
        while let Some(batch) = next {
            next = self.send_batch(&batch, batches)?;
        }
        Ok(())
    }

    /// Fills the codec with the next batch; `None` after the last row.
    fn fill(&mut self, batches: &mut Batches) -> Result<Option<Batch>, RunError> {
        let filled = batches.fill(&self.plan, &mut *self.codec);
        filled.map_err(|source| self.dataset_error(source))
    }

    fn dataset_error(&self, source: DatasetError) -> RunError {
        RunError::Dataset { source, stored: self.stored.rows }
    }

    /// Sends the collected batch and waits for its acknowledgement. Returns the batch after it,
    /// which is then in the codec; `None` after the last row.
    fn send_batch(
        &mut self,
        batch: &Batch,
        batches: &mut Batches,
    ) -> Result<Option<Batch>, RunError> {
        if self.stop.requested().is_some() {
            return Err(self.stopped());
        }
        self.sent = self.sent.map(|_| batch.end);
        let sequence = self.stored.batches + 1;
        let (receipt, filled) = self.store(sequence, Some(batches));
        let winners = match receipt {
            Ok(Receipt::Stored { winners }) => winners,
            other => return Err(self.batch_error(other, sequence, self.rows(batch))),
        };
        self.codec.clear();
        self.stored.rows += batch.bets;
        self.stored.batches = sequence;
        self.totals.bets += batch.bets;
        self.totals.batches += 1;
        let mut details: Vec<(&str, &dyn Display)> = vec![("cantidad", &batch.bets)];
        if let Some(winners) = &winners {
            self.totals.winners += *winners as u64;
            details.push(("winners", winners));
        }
        self.progress.log(Level::Info, "apuesta_enviada", Outcome::Success, &details);
        self.progress.advance(self.totals.bets, batch.end);
        self.record_stored();
        match filled {
            Some(filled) => {
                std::mem::swap(&mut self.codec, &mut self.spare);
                filled.map_err(|source| self.dataset_error(source))
            }
            None => self.fill(batches),
        }
    }

    /// Sends the batch in the codec under this number. If the caller passes the file, fills the
    /// spare codec with the batch after it while the reply is awaited. Returns the receipt and the
    /// result of filling.
    fn store(
        &mut self,
        sequence: u64,
        next: Option<&mut Batches>,
    ) -> (Result<Receipt, RequestError>, Option<Filled>) {
        let Self { config, central, codec, spare, packet, plan, .. } = self;
        codec.set_sequence(sequence);
        packet.clear();
        packet.extend_from_slice(codec.packet());
        // A pipe may be silent for longer than the central waits.
        let mut next = next.filter(|batches| batches.dataset().is_regular());
        let mut filled = None;
        let fill = || {
            if let Some(batches) = next.take() {
                filled = Some(batches.fill(plan, &mut **spare));
            }
        };
        let codec = &**codec;
        let request = Request::store(config.protocol);
        let receipt = central.request_while(request, packet, fill, |reply| {
            or_denied(codec, reply, codec.receipt(reply))
        });
        (receipt, filled)
    }

    /// Returns the rows of the batch after the stored ones.
    fn rows(&self, batch: &Batch) -> Rows {
        let first = self.stored.rows + 1;
        Rows { first, last: self.stored.rows + batch.bets, lines: Some(batch.lines) }
    }

    /// Returns the error for a batch that is not acknowledged.
    fn batch_error(
        &self,
        receipt: Result<Receipt, RequestError>,
        sequence: u64,
        rows: Rows,
    ) -> RunError {
        let stored = self.stored.rows;
        let rows = Box::new(rows);
        match receipt {
            Ok(_) => RunError::Refused { rows, reason: None },
            Err(RequestError::Denied(denied)) => match self.lost_or_ahead(&denied, sequence) {
                Some(source) => RunError::Resume { source, stored },
                None => RunError::Refused { rows, reason: Some(denied.reason) },
            },
            Err(RequestError::Stopped { in_doubt: false }) => self.stopped(),
            Err(source @ RequestError::Unreachable { in_doubt: false, .. }) => {
                RunError::Unsent { source, stored }
            }
            Err(source) => {
                let is_settled_later = self.resume.is_some();
                RunError::InDoubt { source, rows, is_settled_later }
            }
        }
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

    fn stopped(&self) -> RunError {
        let Totals { bets, batches, .. } = self.totals;
        let has_next = self.resume.is_some() && !self.has_sent_all;
        let done = Done::Bets { bets, batches, has_next };
        RunError::Stopped { signal: self.stop.signal_name(), done }
    }
}
