//! A server of any dialect for `loteria-agency check`, correct except for the faults that the test
//! chooses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use lottery::protocol::{CentralCodec, Decoded, Denial, Dialect, Refused, Then};
use lottery::{BatchKey, Bet, Reply, Request, Results, is_winner};

use super::PATIENCE;
use super::sessions::{Arrival, Sessions};

/// Agencies that a draw waits for.
const AGENCIES: usize = 5;

/// Something that a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Sends these bytes instead of the dialect's error reply.
    RefusesWith(&'static [u8]),
    /// Acknowledges what it should refuse.
    AcknowledgesBadBatches,
    /// Answers queries for winners before the draw.
    AnswersEarly,
    /// Answers every agency with the winners of all agencies.
    SendsAllWinners,
    /// Answers every agency without winners.
    SendsNoWinners,
    /// Counts two notifications of one agency as two agencies.
    CountsNotifications,
    /// Accepts bets after the draw.
    AcceptsLateBets,
    /// Never sends anything.
    NeverAnswers,
    /// Never closes a connection.
    NeverCloses,
    /// Sends these bytes after every reply.
    Appends(&'static [u8]),
    /// Treats the bytes of one read as a message.
    TreatsReadAsMessage,
    /// Always reports a batch in flight.
    AlwaysInFlight,
    /// Serves a connection only after the previous one has ended or waits for the draw, as the
    /// original servers of exercise 7 do.
    ServesOneAtATime,
    /// Closes every connection without a reply.
    ClosesAtOnce,
    /// Accepts this many connections, then none.
    EndsAfter(usize),
    /// Stores a batch again when it is repeated, and answers as the first time.
    StoresRepetitions,
    /// Stores a batch after a gap in its session.
    AcceptsGaps,
    /// Refuses a repetition after the draw.
    ForgetsSessions,
    /// Serves no connection any more once one has ended with the end of its stream.
    EndsAtEndOfStream,
}

/// Starts a server that runs until the process ends. Returns its address.
pub(crate) fn start_fake_server(dialect: &'static Dialect, faults: &'static [Fault]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server {
        dialect,
        faults,
        state: Mutex::default(),
        turn: Mutex::default(),
        drawn: Condvar::new(),
    });
    thread::spawn(move || {
        let ends_after = faults.iter().find_map(|fault| match fault {
            Fault::EndsAfter(connections) => Some(*connections),
            _ => None,
        });
        for stream in listener.incoming().take(ends_after.unwrap_or(usize::MAX)) {
            let server = Arc::clone(&server);
            thread::spawn(move || server.serve(&mut stream.unwrap()));
        }
    });
    address
}

struct Server {
    dialect: &'static Dialect,
    faults: &'static [Fault],
    state: Mutex<State>,
    /// Held by the connection that is served, if only one may be.
    turn: Mutex<()>,
    drawn: Condvar,
}

#[derive(Default)]
struct State {
    /// Agency and document of each winner, in the order of storage.
    winners: Vec<(u16, String)>,
    /// The sessions of batches with keys.
    sessions: Sessions,
    /// Agencies that have finished.
    finished: Vec<u16>,
    /// True once no further connection is served.
    has_ended: bool,
    /// Batches that are arriving.
    arriving: u32,
    /// Connections that are never closed.
    kept: Vec<TcpStream>,
}

/// A batch that is arriving, until it is dropped.
struct Arriving<'s>(&'s Server);

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().arriving -= 1;
    }
}

impl State {
    fn was_drawn(&self) -> bool {
        self.finished.len() >= AGENCIES
    }
}

impl Server {
    fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    fn serve(&self, stream: &mut TcpStream) {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        if !self.has(Fault::ClosesAtOnce) && !self.state.lock().unwrap().has_ended {
            self.converse(stream);
        }
        if self.has(Fault::NeverCloses) {
            self.state.lock().unwrap().kept.push(stream.try_clone().unwrap());
        }
    }

    /// Answers requests until either side closes the connection.
    fn converse(&self, stream: &mut TcpStream) {
        let mut codec = (self.dialect.central)();
        let mut turn = self.has(Fault::ServesOneAtATime).then(|| self.turn.lock().unwrap());
        let (mut received, mut bytes) = (Vec::new(), [0; 4096]);
        let mut arriving = None;
        loop {
            let (consumed, reply, then) = match codec.decode(&received) {
                Ok(Decoded::Incomplete)
                    if received.is_empty() || !self.has(Fault::TreatsReadAsMessage) =>
                {
                    if codec.begins_batch(&received) && arriving.is_none() {
                        self.state.lock().unwrap().arriving += 1;
                        arriving = Some(Arriving(self));
                    }
                    match stream.read(&mut bytes) {
                        Ok(0) => {
                            let ends = self.has(Fault::EndsAtEndOfStream);
                            self.state.lock().unwrap().has_ended |= ends;
                            return;
                        }
                        Err(_) => return,
                        Ok(count) => received.extend_from_slice(&bytes[..count]),
                    }
                    continue;
                }
                Ok(Decoded::Incomplete) => return,
                Ok(Decoded::Skip { consumed }) => (consumed, Vec::new(), Then::Continue),
                Ok(Decoded::Complete { request, consumed }) => {
                    if let Request::Winners { .. } = request {
                        drop(turn.take());
                    }
                    let (reply, then) = self.answer(request, &mut *codec);
                    (consumed, reply, then)
                }
                Err(refusal) => {
                    let (reply, then) = self.refuse(Refused::Message(&refusal.error), &mut *codec);
                    let then = if refusal.consumed.is_some() { then } else { Then::Close };
                    (refusal.consumed.unwrap_or(received.len()), reply, then)
                }
            };
            received.drain(..consumed);
            arriving = None;
            if !self.has(Fault::NeverAnswers) && stream.write_all(&reply).is_err()
                || then == Then::Close
            {
                return;
            }
        }
    }

    fn answer(&self, request: Request<'_>, codec: &mut dyn CentralCodec) -> (Vec<u8>, Then) {
        let mut state = self.state.lock().unwrap();
        match request {
            Request::Store(bets) => {
                if !self.takes_bets(&state) {
                    return self.refuse(Refused::Request(Denial::Closed), codec);
                }
                self.store(&bets, &mut state, codec)
            }
            Request::StoreOnce { key, bets } => match self.judge(key, &state) {
                Ok(Arrival::Next) => {
                    state.sessions.accept(key);
                    self.store(&bets, &mut state, codec)
                }
                Ok(Arrival::Repeated) => self.encode(&self.receipt(&bets), codec),
                Err(denial) => self.refuse(Refused::Request(denial), codec),
            },
            Request::Session { session, agency } => match state.sessions.next(session, agency) {
                Ok(sequence) => self.encode(&Reply::Next(sequence), codec),
                Err(denial) => self.refuse(Refused::Request(denial), codec),
            },
            Request::Results => {
                let in_flight = state.arriving.max(self.has(Fault::AlwaysInFlight).into());
                let results = Results { winners: state.winners.len() as u64, in_flight };
                self.encode(&Reply::Results(results), codec)
            }
            Request::Finish { agency } => {
                self.finish(agency, &mut state);
                self.encode(&Reply::Finished, codec)
            }
            Request::Winners { agency, finished } => {
                if finished {
                    self.finish(agency, &mut state);
                }
                let waits =
                    |state: &mut State| !state.was_drawn() && !self.has(Fault::AnswersEarly);
                let state = self.drawn.wait_while(state, waits).unwrap();
                let is_sent = |of: u16| {
                    (of == agency || self.has(Fault::SendsAllWinners))
                        && !self.has(Fault::SendsNoWinners)
                };
                let documents = state.winners.iter().filter(|(of, _)| is_sent(*of));
                self.encode(
                    &Reply::Winners(documents.map(|(_, document)| document.as_str()).collect()),
                    codec,
                )
            }
            Request::Echo(text) => self.encode(&Reply::Echo(text), codec),
            Request::Close => (Vec::new(), Then::Close),
        }
    }

    fn takes_bets(&self, state: &State) -> bool {
        !state.was_drawn() || self.has(Fault::AcceptsLateBets)
    }

    /// Judges a batch with a key.
    fn judge(&self, key: BatchKey, state: &State) -> Result<Arrival, Denial> {
        let takes_bets = self.takes_bets(state);
        match state.sessions.judge(key) {
            Ok(Arrival::Next) if !takes_bets => Err(Denial::Closed),
            Ok(Arrival::Repeated) if !takes_bets && self.has(Fault::ForgetsSessions) => {
                Err(Denial::Closed)
            }
            Ok(Arrival::Repeated) if self.has(Fault::StoresRepetitions) => Ok(Arrival::Next),
            Err(Denial::Sequence { expected })
                if key.sequence > expected && self.has(Fault::AcceptsGaps) =>
            {
                Ok(Arrival::Next)
            }
            other => other,
        }
    }

    fn store(
        &self,
        bets: &[Bet<'_>],
        state: &mut State,
        codec: &mut dyn CentralCodec,
    ) -> (Vec<u8>, Then) {
        let winners = bets.iter().filter(|bet| is_winner(bet));
        state.winners.extend(winners.map(|bet| (bet.agency, bet.document.to_string())));
        self.encode(&self.receipt(bets), codec)
    }

    /// Returns the reply to a stored batch.
    fn receipt<'b>(&self, bets: &[Bet<'b>]) -> Reply<'b> {
        let is_reported = |bet: &Bet<'_>| is_winner(bet) && !self.has(Fault::SendsNoWinners);
        let winners = bets.iter().copied().filter(is_reported).collect();
        Reply::Stored { bets: bets.len(), winners }
    }

    fn finish(&self, agency: u16, state: &mut State) {
        if self.has(Fault::CountsNotifications) || !state.finished.contains(&agency) {
            state.finished.push(agency);
        }
        self.drawn.notify_all();
    }

    fn encode(&self, reply: &Reply<'_>, codec: &mut dyn CentralCodec) -> (Vec<u8>, Then) {
        let mut bytes = Vec::new();
        let then = codec.encode(reply, &mut bytes).unwrap();
        for fault in self.faults {
            if let Fault::Appends(more) = fault {
                bytes.extend_from_slice(more);
            }
        }
        (bytes, then)
    }

    fn refuse(&self, refused: Refused<'_>, codec: &mut dyn CentralCodec) -> (Vec<u8>, Then) {
        let mut bytes = Vec::new();
        let then = codec.refuse(refused, &mut bytes);
        for fault in self.faults {
            match fault {
                Fault::AcknowledgesBadBatches => {
                    return self
                        .encode(&Reply::Stored { bets: 0, winners: Vec::<Bet<'_>>::new() }, codec);
                }
                Fault::RefusesWith(other) => return (other.to_vec(), then),
                _ => {}
            }
        }
        (bytes, then)
    }
}
