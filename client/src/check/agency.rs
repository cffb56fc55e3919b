//! An agency of the examination: what it asks over its connections, and what comes.

use std::fmt;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use lottery::Bet;
use lottery::protocol::{
    AgencyCodec, AgencyOptions, Answer, ConnectionUse, NewAgency, ProtocolError, Push, Receipt,
};

use super::door::{Door, no_connection};
use super::shown::shown;
use super::wire::{Pieces, Wire};

/// Pause before a question that was answered with "not yet", or with a partial result, is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// One agency. It goes on after whatever goes wrong, on a new connection: one broken rule shall not look like several.
#[derive(Debug)]
pub(super) struct Agency<'d> {
    /// Its number.
    pub(super) number: u16,
    door: &'d Door,
    codec: Box<dyn AgencyCodec>,
    /// The connection that is open.
    wire: Option<Wire>,
}

/// Winners as a reply tells of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Winners {
    /// How many.
    pub(super) count: u64,
    /// Their documents, where those travel.
    pub(super) documents: Option<Vec<String>>,
}

impl Winners {
    /// These, in a dialect that names documents or one that does not, as `like` shows.
    pub(super) fn of(documents: Vec<String>, like: &Self) -> Self {
        Self {
            count: documents.len() as u64,
            documents: like.documents.is_some().then_some(documents),
        }
    }
}

impl fmt::Display for Winners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} winner{}", self.count, if self.count == 1 { "" } else { "s" })?;
        match &self.documents {
            Some(documents) if !documents.is_empty() => write!(f, " ({})", documents.join(", ")),
            _ => Ok(()),
        }
    }
}

impl<'d> Agency<'d> {
    /// Agency `number`, whose side of the dialect `begin` makes; nothing is connected yet.
    pub(super) fn new(number: u16, door: &'d Door, begin: NewAgency) -> Self {
        let codec = begin(&AgencyOptions { agency: number, max_bets: u16::MAX, with_count: true });
        Self { number, door, codec, wire: None }
    }

    /// Whether it says in a message of its own that all bets are sent.
    pub(super) fn notifies(&self) -> bool {
        self.codec.notification().is_some()
    }

    /// Sends a batch. The winners among it, in a dialect that tells them at once.
    ///
    /// # Errors
    /// What came instead of an acknowledgement.
    pub(super) fn store(&mut self, bets: &[Bet<'_>]) -> Result<Option<Winners>, String> {
        self.codec.clear();
        for bet in bets {
            let pushed = self.codec.push(bet).map_err(|error| error.to_string())?;
            debug_assert_eq!(pushed, Push::Added, "the batches of an examination are small");
        }
        let packet = self.codec.packet().to_vec();
        match self.exchange(&packet, |codec, reply| codec.receipt(reply))? {
            (Receipt::Stored { winners }, reply) => {
                Ok(winners.map(|count| self.winners_in(count as u64, &reply)))
            }
            (Receipt::Refused, reply) => Err(format!("refused, {}", shown(&reply))),
        }
    }

    /// Says that all bets are sent, where that is a message of its own.
    ///
    /// # Errors
    /// What came instead of an acknowledgement.
    pub(super) fn notify(&mut self) -> Result<(), String> {
        match self.codec.notification() {
            Some(message) => {
                self.exchange(&message, |codec, reply| codec.acknowledgement(reply)).map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// Asks for the winners, without waiting for them.
    ///
    /// # Errors
    /// When there is no connection.
    pub(super) fn ask(&mut self) -> Result<(), String> {
        let question = self.codec.question();
        self.send(&question)
    }

    /// What has come of the answer by now; `None` also if that is "not yet".
    pub(super) fn early_answer(&mut self) -> Option<String> {
        let heard = self.wire.as_mut()?.peek();
        match self.codec.answer(heard) {
            _ if heard.is_empty() => None,
            Ok(Some(Answer::NotYet)) => {
                self.leave();
                None
            }
            _ => Some(shown(heard)),
        }
    }

    /// Reads the answer to the question. One that is "not yet" is asked for again, as is one that nobody asked for.
    ///
    /// # Errors
    /// What came instead.
    pub(super) fn winners(&mut self) -> Result<Winners, String> {
        let deadline = Instant::now() + self.door.patience;
        loop {
            if self.wire.is_none() {
                self.ask()?;
            }
            match self.hear(|codec, reply| codec.answer(reply))? {
                (Answer::Winners(count), reply) => {
                    if let Some(wire) = &mut self.wire {
                        wire.say(self.codec.final_message(), Pieces::Whole, self.door.patience);
                    }
                    self.leave();
                    return Ok(self.winners_in(count, &reply));
                }
                (Answer::NotYet, _) if Instant::now() < deadline => {
                    sleep(AGAIN);
                    self.leave();
                }
                (_, reply) => return Err(shown(&reply)),
            }
        }
    }

    /// Asks for the results until they are a total of at least this many winners.
    ///
    /// # Errors
    /// What came last.
    pub(super) fn total(&mut self, least: u64) -> Result<(), String> {
        let deadline = Instant::now() + self.door.patience;
        loop {
            let question = self.codec.question();
            let (answer, reply) = self.exchange(&question, |codec, reply| codec.answer(reply))?;
            match answer {
                Answer::Results(results) if results.in_flight == 0 && results.winners >= least => {
                    return Ok(());
                }
                _ if Instant::now() < deadline => sleep(AGAIN),
                _ => return Err(shown(&reply)),
            }
        }
    }

    /// Connects, if it is not connected.
    ///
    /// # Errors
    /// What came instead.
    pub(super) fn arrive(&mut self) -> Result<(), String> {
        let reusable = self.door.connection == ConnectionUse::Kept;
        if !(reusable && self.wire.as_mut().is_some_and(Wire::is_idle)) {
            let mut wire = self.door.connect().map_err(|error| no_connection(&error))?;
            wire.say(&self.codec.greeting(), Pieces::Whole, self.door.patience);
            self.wire = Some(wire);
        }
        Ok(())
    }

    /// Leaves: whatever comes is not heard any more.
    pub(super) fn leave(&mut self) {
        self.wire = None;
    }

    fn send(&mut self, message: &[u8]) -> Result<(), String> {
        self.arrive()?;
        if let Some(wire) = &mut self.wire {
            wire.say(message, Pieces::Whole, self.door.patience);
        }
        Ok(())
    }

    /// Sends a request and hears the reply: what it says, and its bytes.
    fn exchange<T>(
        &mut self,
        message: &[u8],
        read: impl Fn(&dyn AgencyCodec, &[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<(T, Vec<u8>), String> {
        self.send(message)?;
        self.hear(read)
    }

    fn hear<T>(
        &mut self,
        read: impl Fn(&dyn AgencyCodec, &[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<(T, Vec<u8>), String> {
        let Some(wire) = &mut self.wire else { return Err("no connection".to_owned()) };
        let codec = &*self.codec;
        let came = match wire.hear(self.door.patience, |heard| read(codec, heard).transpose()) {
            Ok(Ok(reply)) => return Ok((reply, wire.take_all())),
            Ok(Err(_)) => shown(&wire.rest()),
            Err(came) => came,
        };
        self.leave();
        Err(came)
    }

    fn winners_in(&self, count: u64, reply: &[u8]) -> Winners {
        Winners { count, documents: self.codec.documents(reply) }
    }
}

/// Lets all agencies do something at the same time: what came of it, in their order.
pub(super) fn at_once<'d, T: Send>(
    agencies: &mut [Agency<'d>],
    act: impl Fn(&mut Agency<'d>) -> T + Sync,
) -> Vec<T> {
    let act = &act;
    thread::scope(|scope| {
        let acting: Vec<_> =
            agencies.iter_mut().map(|agency| scope.spawn(move || act(agency))).collect();
        let ended = acting.into_iter().map(thread::ScopedJoinHandle::join);
        ended.map(|acted| acted.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
