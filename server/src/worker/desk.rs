//! Where a request meets the central: what is asked is carried out and becomes the bytes of a reply.

use std::net::IpAddr;

use conventions::log_line::{Outcome, debug, error, info};
use lottery::protocol::{CentralCodec, Refusal, Then};
use lottery::{Bet, Reply, Request, Results};

use super::Limits;
use super::settling::{Next, Single};
use crate::central::{Central, CentralError};

/// What is to be done with a connection after its bytes were looked at.
#[derive(Debug)]
pub enum Verdict {
    /// Wait for more bytes.
    Wait,
    /// The request is carried out; go on when it is published.
    Settle(Next),
    /// Answer at once.
    Answer { reply: Vec<u8>, then: Then },
    /// Answer with the winners of an agency, as soon as there are any.
    Winners { agency: u16 },
    /// Nothing can be done for this request.
    Refuse { reason: String, reply: Vec<u8>, then: Then },
    /// It has said goodbye.
    Finish,
}

impl Verdict {
    /// For bytes that could not be understood.
    pub fn of_refusal(codec: &mut dyn CentralCodec, refusal: Refusal) -> Self {
        let Refusal { error: reason, bets, consumed } = refusal;
        if let Some(bets) = bets {
            error("apuesta_recibida", Outcome::Fail).with("cantidad", bets).write();
        }
        let mut reply = Vec::new();
        let then = codec.refuse(Some(&reason), &mut reply);
        // Where the message ends is not known: nothing behind it could be understood.
        let then = if consumed.is_some() { then } else { Then::Close };
        Self::Refuse { reason: reason.to_string(), reply, then }
    }
}

/// One connection's place at the central.
pub struct Desk<'a> {
    central: &'a mut Central,
    codec: &'a mut dyn CentralCodec,
    visitor: Visitor,
}

/// Who is at a desk, and where.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// Its address.
    pub ip: IpAddr,
    /// The worker's slot.
    pub slot: usize,
    /// What the worker keeps to.
    pub limits: Limits,
}

impl<'a> Desk<'a> {
    /// The place of a connection on which `codec` is spoken.
    pub fn new(
        central: &'a mut Central,
        codec: &'a mut dyn CentralCodec,
        visitor: Visitor,
    ) -> Self {
        Self { central, codec, visitor }
    }

    /// Carries a request out as far as that is possible at once.
    ///
    /// # Errors
    /// Those after which the process must end.
    pub fn carry_out(&mut self, request: Request<'_>) -> Result<Verdict, CentralError> {
        let carried_out = match request {
            Request::Store(bets) => {
                let stored = self.store(&bets);
                if stored.as_ref().is_err_and(CentralError::is_local) {
                    error("apuesta_recibida", Outcome::Fail).with("cantidad", bets.len()).write();
                }
                stored
            }
            Request::Results => self.results(),
            Request::Finish { agency } => self.central.finish(agency).map(|()| {
                let (reply, then) = self.encode(&Reply::Finished);
                Verdict::Settle(Next::Answer { reply, then })
            }),
            Request::Winners { agency, finished: true } => {
                self.central.finish(agency).map(|()| Verdict::Settle(Next::Winners { agency }))
            }
            Request::Winners { .. }
                if !self.visitor.limits.early_queries_wait && !self.central.was_drawn() =>
            {
                Ok(self.answer(&Reply::NotYet))
            }
            Request::Winners { agency, .. } => Ok(Verdict::Winners { agency }),
            Request::Echo(text) => {
                info("receive_message", Outcome::Success)
                    .with("ip", self.visitor.ip)
                    .with("msg", String::from_utf8_lossy(text))
                    .write();
                Ok(self.answer(&Reply::Echo(text)))
            }
            Request::Close => Ok(Verdict::Finish),
        };
        carried_out
            .or_else(|error| if error.is_local() { Ok(self.refuse(&error)) } else { Err(error) })
    }

    fn store(&mut self, bets: &[Bet<'_>]) -> Result<Verdict, CentralError> {
        let winners = self.central.store(bets)?;
        let single = match bets {
            [Bet { document, number: Some(number), .. }] => {
                Some(Single { document: document.to_string(), number: *number })
            }
            _ => None,
        };
        let (reply, then) = self.encode(&Reply::Stored { bets: bets.len(), winners });
        Ok(Verdict::Settle(Next::Stored { reply, then, bets: bets.len(), single }))
    }

    fn results(&mut self) -> Result<Verdict, CentralError> {
        let results = self.central.results()?;
        self.central.shared().worker_queries.fetch_add(self.visitor.slot, 1);
        let Results { winners, in_flight } = results;
        let line = if in_flight == 0 {
            debug("consulta_ganadores", Outcome::Success)
        } else {
            debug("consulta_ganadores", Outcome::InProgress).with("agencias_en_proceso", in_flight)
        };
        line.with("cant_ganadores", winners).write();
        Ok(self.answer(&Reply::Results(results)))
    }

    /// Answers with the winners of an agency. Only after the draw.
    ///
    /// # Errors
    /// Those after which the process must end.
    pub fn winners(&mut self, agency: u16) -> Result<Verdict, CentralError> {
        let documents = match self.central.winners_of(agency) {
            Ok(documents) => documents,
            Err(error) if error.is_local() => return Ok(self.refuse(&error)),
            Err(error) => return Err(error),
        };
        self.central.shared().worker_queries.fetch_add(self.visitor.slot, 1);
        debug("consulta_ganadores", Outcome::Success)
            .with("agencia", agency)
            .with("cant_ganadores", documents.len())
            .write();
        Ok(self.answer(&Reply::Winners(documents.iter().map(String::as_str).collect())))
    }

    fn answer(&mut self, reply: &Reply<'_>) -> Verdict {
        let (reply, then) = self.encode(reply);
        Verdict::Answer { reply, then }
    }

    /// The bytes of a reply. One that the dialect cannot carry is no bytes: better no answer than a wrong one.
    fn encode(&mut self, reply: &Reply<'_>) -> (Vec<u8>, Then) {
        let mut bytes = Vec::new();
        match self.codec.encode(reply, &mut bytes) {
            Ok(then) => (bytes, then),
            Err(reason) => {
                error("responder", Outcome::Fail).with("error", reason).write();
                (Vec::new(), Then::Close)
            }
        }
    }

    fn refuse(&mut self, error: &CentralError) -> Verdict {
        let mut reply = Vec::new();
        let then = self.codec.refuse(None, &mut reply);
        Verdict::Refuse { reason: error.to_string(), reply, then }
    }
}
