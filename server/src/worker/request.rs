//! What a decoded request does: it joins the round, or it is answered at once. Every reply is
//! encoded here, whether its request was committed before or needs no commit.

use std::net::IpAddr;

use conventions::log_line::{Outcome, debug, error, info};
use lottery::protocol::{
    CentralCodec, Decoded, Dialect, MAX_PACKET_BYTES, Refusal, Refused, Then, Unencodable,
};
use lottery::{BatchKey, Bet, Reply, Request, Results};

use super::Limits;
use super::answers::Answers;
use super::log_budget::{LogBudget, Subject};
use super::pace::Mark;
use super::round::{Answerable, Pending, Round, Single, Ticket};
use super::store::Store;
use super::table::Token;
use crate::central::{Accepted, Central, Fatal, Rejected};

/// Bytes of a request that a peer may send before the central knows that no agency of the roster
/// has its address: the assignment's largest packet. Any whole request is answered with the error
/// of its kind, and no stranger fills the buffers.
const MAX_STRANGER_BYTES: usize = MAX_PACKET_BYTES;

/// What happens to a connection after its bytes were decoded, or after its ticket is answerable.
#[derive(Debug)]
pub enum RequestOutcome {
    /// The request is incomplete: wait for more bytes.
    Incomplete,
    /// The request is in the round: wait for its ticket.
    Committing,
    /// Answer with the winners of an agency, once the draw has been held.
    Winners {
        /// The agency.
        agency: u16,
    },
    /// Send a reply.
    Reply {
        /// The encoded reply.
        bytes: Vec<u8>,
        /// What follows it.
        then: Then,
    },
    /// Log why the request failed, then send a reply.
    Refuse {
        /// Why it failed.
        reason: String,
        /// The encoded reply.
        bytes: Vec<u8>,
        /// What follows it.
        then: Then,
    },
    /// Log why the dialect cannot encode the reply, then close without one: no answer is better
    /// than a wrong one.
    Unencodable {
        /// The agency, if the reply has its winners.
        agency: Option<u16>,
        /// Why the reply cannot be encoded.
        reason: Unencodable,
    },
    /// Close without a reply.
    Close,
}

/// The connection that a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The connection.
    pub connection: Token,
    /// Address of its peer.
    pub ip: IpAddr,
    /// Its in-flight mark.
    pub mark: Mark,
}

/// The path of a request through a worker, from decoded bytes to an encoded reply.
pub struct Requests<'a, S: Store> {
    /// Slot of the worker.
    pub slot: usize,
    /// The worker's access to shared state and storage.
    pub central: &'a mut Central<S>,
    /// The worker's limits.
    pub limits: Limits,
    /// The enabled dialects that answer agencies after the draw.
    pub answering: Vec<&'static Dialect>,
    /// The requests that are not committed yet.
    pub round: Round,
    /// What the store keeps for this worker.
    pub kept: S::Worker,
    /// The answers after the draw that are large.
    pub answers: Answers,
    /// The budget of the log lines that clients cause.
    pub log: LogBudget,
}

impl<S: Store> Requests<'_, S> {
    /// Decodes and starts the first request in `bytes`. Marks its agency as in flight as soon as
    /// the codec recognizes a batch. `ended` is true if no more bytes will arrive. Returns how many
    /// bytes were used.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        ended: bool,
        origin: &mut Origin,
        codec: &mut dyn CentralCodec,
    ) -> Result<(usize, RequestOutcome), Fatal> {
        let mut used = 0;
        loop {
            let message = &bytes[used..];
            // A batch of a stranger is refused, and puts no agency in flight before that.
            let begins = origin.mark == Mark::None && codec.begins_batch(message);
            if begins && self.central.admits(origin.ip) {
                self.begin(&mut origin.mark);
            }
            if let Some(consumed) = self.prepare(message, origin, codec) {
                return Ok((used + consumed, RequestOutcome::Committing));
            }
            let decoded = if ended { codec.decode_last(message) } else { codec.decode(message) };
            match decoded {
                Ok(Decoded::Incomplete)
                    if message.len() > MAX_STRANGER_BYTES && !self.central.admits(origin.ip) =>
                {
                    let stranger = Rejected::Stranger { address: origin.ip };
                    return Ok((bytes.len(), refuse_stranger(codec, &stranger)));
                }
                Ok(Decoded::Incomplete) => return Ok((used, RequestOutcome::Incomplete)),
                Ok(Decoded::Skip { consumed }) => used += consumed,
                Ok(Decoded::Complete { request, consumed }) => {
                    if origin.mark == Mark::Lapsed {
                        // A batch is in flight while it is committed, so that a query sees it as
                        // in flight until it is counted.
                        self.begin(&mut origin.mark);
                    }
                    return Ok((used + consumed, self.start(request, *origin, codec)?));
                }
                Err(refusal) => {
                    used += refusal.consumed.unwrap_or(message.len());
                    return Ok((used, self.refuse_bytes(origin.ip, codec, refusal)));
                }
            }
        }
    }

    /// Adds the batch at the start of `message` to the round without decoding its bets, and returns
    /// its length. Returns `None` if the message has to be decoded: any message but a valid batch,
    /// and a batch that the central may have to refuse.
    fn prepare(
        &mut self,
        message: &[u8],
        origin: &Origin,
        codec: &mut dyn CentralCodec,
    ) -> Option<usize> {
        // A batch without a mark was too slow, or a stranger's.
        if origin.mark != Mark::Held {
            return None;
        }
        let (central, is_limited) = (&*self.central, !self.answering.is_empty());
        self.round.prepare_message(origin, message, codec, |prepared| {
            let is_answerable = prepared.agency == 0 || prepared.has_plain_documents;
            (is_answerable || !is_limited)
                && central.check_agencies([prepared.agency], origin.ip).is_ok()
        })
    }

    /// Marks a batch as in flight.
    pub fn begin(&self, mark: &mut Mark) {
        *mark = Mark::Held;
        self.central.begin(self.slot);
    }

    /// Releases the mark of a batch that is not stored. `left` is what becomes of the mark.
    pub fn abandon(&self, mark: &mut Mark, left: Mark) {
        if std::mem::replace(mark, left) == Mark::Held {
            self.central.abandon(self.slot);
        }
    }

    /// Starts a request: adds it to the round, or answers it at once.
    fn start(
        &mut self,
        request: Request<'_>,
        origin: Origin,
        codec: &mut dyn CentralCodec,
    ) -> Result<RequestOutcome, Fatal> {
        match self.central.check_identity(&request, origin.ip) {
            Ok(()) => {}
            Err(stranger @ Rejected::Stranger { .. }) => {
                return Ok(refuse_stranger(codec, &stranger));
            }
            Err(rejected) => return Ok(refuse(codec, &rejected)),
        }
        Ok(match request {
            Request::Store(bets) => self.store(&bets, None, &origin, codec),
            Request::StoreOnce { key, bets } => self.store(&bets, Some(key), &origin, codec),
            Request::Results => S::results(self, &origin, codec)?,
            Request::Session { session, agency } => {
                self.round.ask(&origin, (session, agency));
                RequestOutcome::Committing
            }
            Request::Finish { agency } => {
                self.round.finish(&origin, agency, Pending::Finish);
                RequestOutcome::Committing
            }
            Request::Winners { agency, finished: true } => {
                let request = Pending::FinishThenWinners { agency };
                self.round.finish(&origin, agency, request);
                RequestOutcome::Committing
            }
            Request::Winners { .. }
                if !self.limits.early_queries_wait && !self.central.was_drawn() =>
            {
                encode(codec, &Reply::NotYet)
            }
            Request::Winners { agency, .. } => RequestOutcome::Winners { agency },
            Request::Echo(text) => {
                if self.log.allows(origin.ip, Subject::Other) {
                    info("receive_message", Outcome::Success)
                        .with("ip", origin.ip)
                        .with("msg", String::from_utf8_lossy(text))
                        .write();
                }
                encode(codec, &Reply::Echo(text))
            }
            Request::Close => RequestOutcome::Close,
        })
    }

    fn store(
        &mut self,
        bets: &[Bet<'_>],
        key: Option<BatchKey>,
        origin: &Origin,
        codec: &mut dyn CentralCodec,
    ) -> RequestOutcome {
        match self.check_documents(bets).and_then(|()| self.round.prepare(origin, bets, key)) {
            Ok(()) => RequestOutcome::Committing,
            Err(rejected) => {
                self.log_rejected(origin.ip, bets.len());
                refuse(codec, &rejected)
            }
        }
    }

    /// Rejects a batch if an enabled dialect could not answer the agency of one of its bets. Such a
    /// bet would block the answer of that dialect forever: the draw is held once.
    fn check_documents(&self, bets: &[Bet<'_>]) -> Result<(), Rejected> {
        for dialect in &self.answering {
            // A bet without agency is in no answer.
            for (bet, record) in bets.iter().zip(1..).filter(|(bet, _)| bet.agency != 0) {
                let document = bet.document.as_str();
                (dialect.check_document)(document).map_err(|source| Rejected::Unanswerable {
                    record,
                    document: document.to_owned(),
                    dialect: dialect.name,
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Ends the round. Returns the tickets to answer.
    pub fn end_round(&mut self, is_crowded: bool) -> Result<Vec<Answerable>, Fatal> {
        let answerable = S::end_round(self, is_crowded)?;
        for (ticket, result) in &answerable {
            self.record(ticket, result);
        }
        Ok(answerable)
    }

    /// Counts and logs a batch, even if its connection is gone by now.
    fn record(&mut self, ticket: &Ticket, result: &Result<Accepted, Rejected>) {
        let Pending::Batch { bets, single, .. } = &ticket.request else { return };
        match result {
            Ok(Accepted::Stored) => {}
            Ok(Accepted::Next(_) | Accepted::Results(_)) => return,
            Ok(Accepted::StoredBefore) => return self.log_repeated(ticket.ip, *bets),
            Err(_) => return self.log_rejected(ticket.ip, *bets),
        }
        if ticket.is_large {
            // Counted first, or other workers would see an ordinary batch for a moment.
            self.central.shared().worker_large.fetch_add(self.slot, 1);
        }
        self.central.shared().worker_batches.fetch_add(self.slot, 1);
        self.central.shared().worker_bets.fetch_add(self.slot, *bets as u64);
        if !self.log.allows(ticket.ip, Subject::Stored) {
            return;
        }
        if let Some(Single { document, number }) = single {
            info("apuesta_almacenada", Outcome::Success)
                .with("dni", document)
                .with("numero", number)
                .write();
        }
        info("apuesta_recibida", Outcome::Success).with("cantidad", bets).write();
    }

    /// Logs a batch that is acknowledged again. It is no new batch, so it is not counted.
    fn log_repeated(&mut self, ip: IpAddr, bets: usize) {
        if self.log.allows(ip, Subject::Other) {
            info("apuesta_repetida", Outcome::Success).with("cantidad", bets).write();
        }
    }

    fn log_rejected(&mut self, ip: IpAddr, bets: usize) {
        if self.log.allows(ip, Subject::Other) {
            error("apuesta_recibida", Outcome::Fail).with("cantidad", bets).write();
        }
    }

    /// Refuses bytes that the codec cannot decode.
    fn refuse_bytes(
        &mut self,
        ip: IpAddr,
        codec: &mut dyn CentralCodec,
        refusal: Refusal,
    ) -> RequestOutcome {
        let Refusal { error: reason, bets, consumed } = refusal;
        if let Some(bets) = bets {
            self.log_rejected(ip, bets);
        }
        let mut bytes = Vec::new();
        let then = codec.refuse(Refused::Message(&reason), &mut bytes);
        // Without the end of the message, nothing behind it can be decoded.
        let then = if consumed.is_some() { then } else { Then::Close };
        RequestOutcome::Refuse { reason: reason.to_string(), bytes, then }
    }
}

/// Returns the answer to a ticket.
pub fn answer((ticket, result): Answerable, codec: &mut dyn CentralCodec) -> RequestOutcome {
    match (ticket.request, result) {
        (_, Err(rejected)) => refuse(codec, &rejected),
        (Pending::Batch { bets, winners, .. }, Ok(_)) => {
            encode(codec, &Reply::Stored { bets, winners: winners.bets() })
        }
        (Pending::Results, Ok(Accepted::Results(results))) => totals(results, codec),
        (Pending::Session, Ok(Accepted::Next(sequence))) => encode(codec, &Reply::Next(sequence)),
        (Pending::Session | Pending::Results, Ok(_)) => RequestOutcome::Close,
        (Pending::Finish, Ok(_)) => encode(codec, &Reply::Finished),
        (Pending::FinishThenWinners { agency }, Ok(_)) => RequestOutcome::Winners { agency },
    }
}

/// Encodes the winners so far and the number of agencies in flight.
pub fn totals(results: Results, codec: &mut dyn CentralCodec) -> RequestOutcome {
    let Results { winners, in_flight } = results;
    let line = if in_flight == 0 {
        debug("consulta_ganadores", Outcome::Success)
    } else {
        debug("consulta_ganadores", Outcome::InProgress).with("agencias_en_proceso", in_flight)
    };
    line.with("cant_ganadores", winners).write();
    encode(codec, &Reply::Results(results))
}

/// Encodes a reply.
fn encode(codec: &mut dyn CentralCodec, reply: &Reply<'_>) -> RequestOutcome {
    let mut bytes = Vec::new();
    match codec.encode(reply, &mut bytes) {
        Ok(then) => RequestOutcome::Reply { bytes, then },
        Err(reason) => RequestOutcome::Unencodable { agency: None, reason },
    }
}

/// Refuses a request that was understood.
pub fn refuse(codec: &mut dyn CentralCodec, rejected: &Rejected) -> RequestOutcome {
    let mut bytes = Vec::new();
    let then = codec.refuse(Refused::Request(rejected.denial()), &mut bytes);
    RequestOutcome::Refuse { reason: rejected.to_string(), bytes, then }
}

/// Refuses a peer that belongs to no agency: nothing that follows can be accepted either.
fn refuse_stranger(codec: &mut dyn CentralCodec, rejected: &Rejected) -> RequestOutcome {
    match refuse(codec, rejected) {
        RequestOutcome::Refuse { reason, bytes, .. } => {
            RequestOutcome::Refuse { reason, bytes, then: Then::Close }
        }
        outcome => outcome,
    }
}
