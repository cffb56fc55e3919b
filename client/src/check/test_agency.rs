//! An agency of the check: sends requests and returns what the server replies.

use std::fmt;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use lottery::protocol::{
    AgencyCodec, AgencyOptions, Answer, ConnectionUse, NewAgency, ProtocolError, Push, Receipt,
};
use lottery::{BatchKey, Bet, Results};

use super::connection::{Pieces, TestConnection};
use super::excerpt::excerpt;
use super::row::{Exchange, Surprise, Symptom};
use super::target::{Target, cannot_connect};

/// Pause before a query that was answered with "not yet" or a partial result is repeated.
const QUERY_PAUSE: Duration = Duration::from_millis(50);

/// One agency. After a failure it continues on a new connection, so that one broken rule does not
/// look like several. Its errors describe what was received instead of the expected reply.
#[derive(Debug)]
pub(super) struct TestAgency<'t> {
    /// Number of the agency.
    pub(super) number: u16,
    target: &'t Target,
    codec: Box<dyn AgencyCodec>,
    /// Number of the next batch in the session, where batches have keys.
    sequence: u64,
    /// The last batch that was stored, and the reply to it.
    last: Option<(Vec<u8>, Vec<u8>)>,
    /// The open connection.
    connection: Option<TestConnection>,
    /// The bytes of the last connection that was closed after an answer.
    answered: Exchange,
}

/// Winners in a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Winners {
    /// Number of winners.
    pub(super) count: u64,
    /// Their documents, if the dialect transmits them.
    pub(super) documents: Option<Vec<String>>,
}

impl Winners {
    /// Returns winners with these documents, or only their number if `like` has no documents.
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

impl<'t> TestAgency<'t> {
    /// Creates agency `number` without a connection.
    pub(super) fn new(number: u16, target: &'t Target, new_codec: NewAgency) -> Self {
        let (session, connection) = (BatchKey::new_session(), target.connection_use);
        let defaults = AgencyOptions::new(number, u16::MAX);
        let codec = new_codec(&AgencyOptions { session, connection, ..defaults });
        Self {
            number,
            target,
            codec,
            sequence: 1,
            last: None,
            connection: None,
            answered: Exchange::default(),
        }
    }

    /// Returns true if the dialect has a separate notification that all bets are sent.
    pub(super) fn notifies(&self) -> bool {
        self.codec.notification().is_some()
    }

    /// Sends a batch. Returns its winners if the dialect reports them in the acknowledgement.
    pub(super) fn store(&mut self, bets: &[Bet<'_>]) -> Result<Option<Winners>, Surprise> {
        let packet = self.packet(bets);
        match self.exchange(&packet, |codec, reply| codec.receipt(reply))? {
            (Receipt::Stored { winners }, reply) => {
                let winners = winners.map(|count| self.winners_in(count as u64, &reply));
                self.sequence += 1;
                self.last = Some((packet, reply));
                Ok(winners)
            }
            (Receipt::Refused, reply) => {
                let text = format!("refused, {}", excerpt(&reply));
                Err(self.surprise(&reply, text, Symptom::WrongReply))
            }
        }
    }

    /// Returns the bytes of a batch.
    fn packet(&mut self, bets: &[Bet<'_>]) -> Vec<u8> {
        self.codec.clear();
        for bet in bets {
            let pushed = self.codec.push(bet);
            debug_assert_eq!(pushed, Ok(Push::Added), "every dialect can encode these bets");
        }
        self.codec.set_sequence(self.sequence);
        self.codec.packet().to_vec()
    }

    /// Returns a surprise with the bytes of the open connection, whose last reply is wrong. `reply`
    /// is what was consumed of it.
    fn surprise(&self, reply: &[u8], text: impl Into<String>, symptom: Symptom) -> Surprise {
        match &self.connection {
            Some(connection) => {
                connection.surprise(text, symptom, connection.position() - reply.len())
            }
            None => Surprise::new(text, symptom),
        }
    }

    /// Returns the surprise that the last batch was acknowledged.
    pub(super) fn acknowledged(&self) -> Surprise {
        self.unexpected_receipt("it was acknowledged", Symptom::Acknowledged)
    }

    /// Returns a surprise of which the reply to the last batch is the cause.
    pub(super) fn unexpected_receipt(&self, text: impl Into<String>, symptom: Symptom) -> Surprise {
        let reply = self.last.as_ref().map_or(&[][..], |(_, reply)| reply);
        self.surprise(reply, text, symptom)
    }

    /// Returns a surprise with the bytes of the last answer.
    pub(super) fn wrong_answer(&self, text: impl Into<String>, symptom: Symptom) -> Surprise {
        Surprise { text: text.into(), symptom, exchange: self.answered.clone() }
    }

    /// Sends the last stored batch again. The reply must have the same bytes as the first.
    pub(super) fn repeat(&mut self) -> Result<(), Surprise> {
        let Some((packet, first)) = self.last.clone() else {
            return Err(Surprise::new("no batch was stored", Symptom::WrongReply));
        };
        let (_, reply) = self.exchange(&packet, |codec, reply| codec.receipt(reply))?;
        match reply == first {
            true => Ok(()),
            false => Err(self.surprise(&reply, excerpt(&reply), Symptom::WrongReply)),
        }
    }

    /// Returns true if the server refuses these bets: with the dialect's refusal, or by ending the
    /// connection without a reply.
    pub(super) fn is_refused(&mut self, bets: &[Bet<'_>]) -> bool {
        let packet = self.packet(bets);
        self.is_refused_packet(&packet)
    }

    /// Sends a batch in which the birthdate `date` is replaced with `impossible`, and waits for its
    /// refusal. Sends nothing if the bytes of the batch do not contain the date as text.
    pub(super) fn store_spoiled(&mut self, bets: &[Bet<'_>], date: &[u8], impossible: &[u8]) {
        debug_assert_eq!(date.len(), impossible.len(), "the lengths in the batch stay right");
        let mut packet = self.packet(bets);
        if let Some(at) = packet.windows(date.len()).position(|bytes| bytes == date) {
            packet[at..at + impossible.len()].copy_from_slice(impossible);
            self.is_refused_packet(&packet);
        }
    }

    /// Sends a batch. Returns true if it is refused.
    fn is_refused_packet(&mut self, packet: &[u8]) -> bool {
        if self.send(packet).is_err() {
            return false;
        }
        let Some(connection) = &mut self.connection else { return false };
        let codec = &*self.codec;
        let decode = |received: &[u8]| match codec.denied(received) {
            Some(_) => Some(Ok(Receipt::Refused)),
            None => codec.receipt(received).transpose(),
        };
        let receipt = connection.receive(self.target.timeout, decode);
        let refused = match receipt {
            Ok(receipt) => receipt == Ok(Receipt::Refused),
            Err(_) => connection.has_ended_empty(),
        };
        self.disconnect();
        refused
    }

    /// Sends the notification that all bets are sent, if the dialect has one.
    pub(super) fn notify(&mut self) -> Result<(), Surprise> {
        match self.codec.notification() {
            Some(message) => {
                self.exchange(&message, |codec, reply| codec.acknowledgement(reply)).map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// Sends the query for the winners without waiting for the answer.
    pub(super) fn query(&mut self) -> Result<(), Surprise> {
        let question = self.codec.question();
        self.send(&question)
    }

    /// Returns an excerpt of what has already been received in answer to the query. Returns `None`
    /// if that is nothing, or "not yet".
    pub(super) fn early_answer(&mut self) -> Option<Surprise> {
        let received = self.connection.as_mut()?.peek();
        match self.codec.answer(received) {
            _ if received.is_empty() => None,
            Ok(Some(Answer::NotYet)) => {
                self.disconnect();
                None
            }
            _ => {
                let text = excerpt(received);
                Some(self.surprise(&[], text, Symptom::Early))
            }
        }
    }

    /// Receives the winners. Sends the query if it has not been sent on this connection, and again
    /// after "not yet".
    pub(super) fn winners(&mut self) -> Result<Winners, Surprise> {
        let deadline = Instant::now() + self.target.timeout;
        loop {
            if self.connection.is_none() {
                self.query()?;
            }
            match self.receive(|codec, reply| codec.answer(reply))? {
                (Answer::Winners(count), reply) => {
                    if let Some(connection) = &mut self.connection {
                        let message = self.codec.final_message();
                        self.answered = connection.surprise("", Symptom::WrongReply, 0).exchange;
                        self.answered.wrong_at = self.answered.received.len() - reply.len();
                        connection.send(message, Pieces::Whole, self.target.timeout);
                    }
                    self.disconnect();
                    return Ok(self.winners_in(count, &reply));
                }
                (Answer::NotYet, _) if Instant::now() < deadline => {
                    sleep(QUERY_PAUSE);
                    self.disconnect();
                }
                (_, reply) => {
                    return Err(self.surprise(&reply, excerpt(&reply), Symptom::WrongReply));
                }
            }
        }
    }

    /// Queries the results until `is_right` returns true, at most for `limit`. Returns the number
    /// of winners, and the surprise that the last reply is if this number is wrong.
    pub(super) fn results_that(
        &mut self,
        mut is_right: impl FnMut(Results) -> bool,
        limit: Duration,
    ) -> Result<(u64, Surprise), Surprise> {
        let deadline = Instant::now() + limit;
        loop {
            let question = self.codec.question();
            let (answer, reply) = self.exchange(&question, |codec, reply| codec.answer(reply))?;
            let surprise = self.surprise(&reply, excerpt(&reply), Symptom::WrongReply);
            match answer {
                Answer::Results(results) if is_right(results) => {
                    return Ok((results.winners, surprise));
                }
                _ if Instant::now() < deadline => sleep(QUERY_PAUSE),
                _ => return Err(surprise),
            }
        }
    }

    /// Returns true if a query is answered with a total.
    pub(super) fn has_total(&mut self) -> bool {
        self.results_that(|results| results.in_flight == 0, self.target.timeout).is_ok()
    }

    /// Sends the first bytes of a batch, of which the last three are missing.
    pub(super) fn begin(&mut self, bets: &[Bet<'_>]) -> Result<Vec<u8>, Surprise> {
        let mut packet = self.packet(bets);
        let rest = packet.split_off(packet.len().saturating_sub(3));
        self.send(&packet)?;
        Ok(rest)
    }

    /// Sends the rest of a batch and receives its acknowledgement.
    pub(super) fn complete(&mut self, rest: &[u8]) -> Result<(), Surprise> {
        if let Some(connection) = &mut self.connection {
            connection.send(rest, Pieces::Whole, self.target.timeout);
        }
        self.receive(|codec, reply| codec.receipt(reply)).map(drop)
    }

    /// Connects and sends the greeting, unless the open connection can be reused.
    pub(super) fn connect(&mut self) -> Result<(), Surprise> {
        let reusable = self.target.connection_use == ConnectionUse::Kept;
        if !(reusable && self.connection.as_mut().is_some_and(TestConnection::is_idle)) {
            let unreachable = |error| Surprise::new(cannot_connect(&error), Symptom::Unreachable);
            let connection = self.target.connect().map_err(unreachable)?;
            self.adopt(connection);
        }
        Ok(())
    }

    /// Uses a connection that is already open, and sends the greeting on it.
    pub(super) fn adopt(&mut self, mut connection: TestConnection) {
        connection.send(&self.codec.greeting(), Pieces::Whole, self.target.timeout);
        self.connection = Some(connection);
    }

    /// Closes the connection and discards what it has received.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Surprise> {
        self.connect()?;
        if let Some(connection) = &mut self.connection {
            connection.send(message, Pieces::Whole, self.target.timeout);
        }
        Ok(())
    }

    /// Sends a request. Returns the decoded reply and its bytes.
    fn exchange<T>(
        &mut self,
        message: &[u8],
        read: impl Fn(&dyn AgencyCodec, &[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<(T, Vec<u8>), Surprise> {
        self.send(message)?;
        self.receive(read)
    }

    fn receive<T>(
        &mut self,
        read: impl Fn(&dyn AgencyCodec, &[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<(T, Vec<u8>), Surprise> {
        let Some(connection) = &mut self.connection else {
            return Err(Surprise::new("no connection", Symptom::Unreachable));
        };
        let codec = &*self.codec;
        let decode = |received: &[u8]| read(codec, received).transpose();
        let unexpected = match connection.receive(self.target.timeout, decode) {
            Ok(Ok(reply)) => return Ok((reply, connection.take_all())),
            Ok(Err(_)) => {
                let at = connection.position();
                let received = connection.take_trailing();
                let reason = codec.denied(&received).map(|denied| denied.reason);
                let text = reason
                    .map_or_else(|| excerpt(&received), |reason| format!("an error: {reason}"));
                connection.surprise(text, Symptom::WrongReply, at)
            }
            Err(received) => received,
        };
        self.disconnect();
        Err(unexpected)
    }

    fn winners_in(&self, count: u64, reply: &[u8]) -> Winners {
        Winners { count, documents: self.codec.documents(reply) }
    }
}

/// Runs `act` for all agencies at the same time. Returns the results in the order of the agencies.
pub(super) fn concurrently<'t, T: Send>(
    agencies: &mut [TestAgency<'t>],
    act: impl Fn(&mut TestAgency<'t>) -> T + Sync,
) -> Vec<T> {
    let act = &act;
    thread::scope(|scope| {
        let threads: Vec<_> =
            agencies.iter_mut().map(|agency| scope.spawn(move || act(agency))).collect();
        let results = threads.into_iter().map(thread::ScopedJoinHandle::join);
        let unwind = |panic| std::panic::resume_unwind(panic);
        results.map(|result| result.unwrap_or_else(unwind)).collect()
    })
}
