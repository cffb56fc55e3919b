//! A connection that is ready: requests, replies and notifications.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use bytes::BytesMut;
use postgres_protocol::message::backend::{Message, NotificationResponseBody};
use postgres_protocol::message::frontend;

use crate::error::{Fault, ServerError, Step};
use crate::exchange::{Answer, Exchange};
use crate::prepared::Prepared;
use crate::primary::{Event, Interest};
use crate::request::{Kind, Request};
use crate::transport::Transport;

/// A connection to the primary.
pub(crate) struct Connection {
    transport: Transport,
    prepared: Prepared,
    under_way: Option<UnderWay>,
    in_transaction: bool,
}

/// A request under way.
struct UnderWay {
    exchange: Exchange,
    deadline: Instant,
    begun: Instant,
    /// The answer to report once the transaction that failed is rolled back.
    held: Option<Answer>,
}

impl Connection {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, prepared: Prepared::default(), under_way: None, in_transaction: false }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.transport.fd()
    }

    pub(crate) fn interest(&self) -> Interest {
        Interest { read: true, write: self.transport.has_outgoing() }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.under_way.as_ref().map(|under_way| under_way.deadline)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub(crate) fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// Returns the memory of the last request.
    pub(crate) fn take_buffer(&mut self) -> BytesMut {
        if self.is_idle() { self.transport.take_buffer() } else { BytesMut::new() }
    }

    /// Begins a request.
    pub(crate) fn request(&mut self, request: Request, deadline: Instant) {
        let (exchange, bytes) = Exchange::begin(request, &mut self.prepared);
        self.transport.forget_size();
        self.transport.send(bytes);
        self.under_way = Some(UnderWay { exchange, deadline, begun: Instant::now(), held: None });
    }

    fn step(&self) -> Step {
        if self.is_idle() { Step::Idle } else { Step::Request }
    }

    /// Does what is possible without blocking, and returns the next event.
    pub(crate) fn advance(&mut self, now: Instant) -> Result<Option<Event>, Fault> {
        let step = self.step();
        self.transport.flush(step)?;
        while let Some(message) = self.transport.receive(step)? {
            if self.is_idle() {
                self.transport.forget_size();
            }
            let event = self.handle(message)?;
            self.transport.flush(step)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        match &self.under_way {
            Some(late) if now >= late.deadline => {
                Err(Fault::Deadline(step, late.deadline.saturating_duration_since(late.begun)))
            }
            _ => Ok(None),
        }
    }

    fn handle(&mut self, message: Message) -> Result<Option<Event>, Fault> {
        let step = self.step();
        let Some(under_way) = &mut self.under_way else {
            return idle(message);
        };
        match message {
            Message::ParameterStatus(_) => return Ok(None),
            Message::NotificationResponse(body) => return notification(step, &body).map(Some),
            _ => {}
        }
        let Some((answer, status)) = under_way.exchange.handle(message, &mut self.prepared)? else {
            return Ok(None);
        };
        if self.transport.has_outgoing() {
            let text = "the end of the reply before the request was sent";
            return Err(Fault::Protocol(step, text.to_owned()));
        }
        if let Err(error) = &answer {
            self.prepared.forget_failed();
            if is_stale(error) {
                self.prepared.forget_all();
            }
        }
        let answer = under_way.held.take().unwrap_or(answer);
        match status {
            b'E' => {
                self.roll_back(answer)?;
                return Ok(None);
            }
            b'I' | b'T' => self.in_transaction = status == b'T',
            _ => return Err(Fault::Protocol(step, format!("transaction status {status}"))),
        }
        self.under_way = None;
        Ok(Some(Event::Done(answer)))
    }

    /// Ends a transaction that failed, and reports `answer` afterwards.
    fn roll_back(&mut self, answer: Answer) -> Result<(), Fault> {
        let mut bytes = self.transport.take_buffer();
        bytes.clear();
        let violation = |error: std::io::Error| Fault::Protocol(Step::Request, error.to_string());
        frontend::query("ROLLBACK", &mut bytes).map_err(violation)?;
        let rollback = Request { kind: Kind::Script, bytes };
        let (exchange, bytes) = Exchange::begin(rollback, &mut self.prepared);
        self.transport.send(bytes);
        if let Some(under_way) = &mut self.under_way {
            under_way.exchange = exchange;
            under_way.held = Some(answer);
        }
        Ok(())
    }
}

/// Returns true if a prepared statement does not exist any more, or returns other columns than
/// before.
fn is_stale(error: &ServerError) -> bool {
    matches!(error.code.as_str(), "26000" | "0A000")
}

/// Handles a message that comes without a request.
fn idle(message: Message) -> Result<Option<Event>, Fault> {
    let violation = |error: std::io::Error| Fault::Protocol(Step::Idle, error.to_string());
    match message {
        Message::ParameterStatus(_) | Message::NoticeResponse(_) => Ok(None),
        Message::NotificationResponse(body) => notification(Step::Idle, &body).map(Some),
        Message::ErrorResponse(body) => {
            Err(Fault::Server(Box::new(ServerError::read(body.fields()).map_err(violation)?)))
        }
        _ => Err(Fault::Protocol(Step::Idle, "a message without a request".to_owned())),
    }
}

fn notification(step: Step, body: &NotificationResponseBody) -> Result<Event, Fault> {
    let violation = |error: std::io::Error| Fault::Protocol(step, error.to_string());
    Ok(Event::Notification {
        channel: body.channel().map_err(violation)?.to_owned(),
        payload: body.message().map_err(violation)?.to_owned(),
        process: body.process_id(),
    })
}
