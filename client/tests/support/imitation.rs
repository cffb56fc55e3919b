//! A server of any dialect for `client check` to examine, right in everything but the faults the test gives it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use lottery::protocol::{CentralCodec, Decoded, Dialect, ProtocolError, Then};
use lottery::{Bet, Reply, Request, Results, is_winner};

use super::PATIENCE;

/// Agencies that a draw waits for.
const AGENCIES: usize = 5;

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It says this instead of the dialect's error reply.
    RefusesWith(&'static [u8]),
    /// It acknowledges what it should refuse.
    AcknowledgesBadBatches,
    /// It answers questions for winners at once.
    AnswersEarly,
    /// It answers every agency with the winners of all.
    TellsAllWinners,
    /// It tells nobody any winners.
    TellsNoWinners,
    /// It takes two notifications of an agency for those of two.
    CountsNotifications,
    /// It takes bets after the draw.
    TakesLateBets,
    /// It never says anything.
    NeverAnswers,
    /// It never ends a connection.
    NeverCloses,
    /// It says this behind every reply.
    Adds(&'static [u8]),
    /// It takes whatever comes with one read for a message.
    ReadsOnce,
    /// Somebody is always in flight.
    NeverTells,
    /// It takes no connection before the one in hand ends or waits for the draw, as the originals of exercise 7 do.
    ServesOneAtATime,
    /// It ends every connection without a word.
    HangsUp,
}

/// Starts a server that serves until the test ends: where it listens.
pub(crate) fn imitation(dialect: &'static Dialect, faults: &'static [Fault]) -> SocketAddr {
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
        for stream in listener.incoming() {
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
    /// Held by the connection in hand, if only one may be.
    turn: Mutex<()>,
    drawn: Condvar,
}

#[derive(Default)]
struct State {
    /// Agency and document of every winner, in the order of storage.
    winners: Vec<(u16, String)>,
    /// Agencies that have finished.
    finished: Vec<u16>,
    /// Connections that are not ended.
    kept: Vec<TcpStream>,
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
        if !self.has(Fault::HangsUp) {
            self.converse(stream);
        }
        if self.has(Fault::NeverCloses) {
            self.state.lock().unwrap().kept.push(stream.try_clone().unwrap());
        }
    }

    /// Answers until the end of the connection, whoever ends it.
    fn converse(&self, stream: &mut TcpStream) {
        let mut codec = (self.dialect.central)();
        let mut turn = self.has(Fault::ServesOneAtATime).then(|| self.turn.lock().unwrap());
        let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
        loop {
            let (consumed, reply, then) = match codec.decode(&heard) {
                Ok(Decoded::Incomplete) if heard.is_empty() || !self.has(Fault::ReadsOnce) => {
                    match stream.read(&mut bytes) {
                        Ok(0) | Err(_) => return,
                        Ok(count) => heard.extend_from_slice(&bytes[..count]),
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
                    let (reply, then) = self.refuse(Some(&refusal.error), &mut *codec);
                    let then = if refusal.consumed.is_some() { then } else { Then::Close };
                    (refusal.consumed.unwrap_or(heard.len()), reply, then)
                }
            };
            heard.drain(..consumed);
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
            Request::Store(_) if state.was_drawn() && !self.has(Fault::TakesLateBets) => {
                self.refuse(None, codec)
            }
            Request::Store(bets) => {
                let winners: Vec<_> = bets.iter().copied().filter(is_winner).collect();
                state
                    .winners
                    .extend(winners.iter().map(|bet| (bet.agency, bet.document.to_string())));
                let told = if self.has(Fault::TellsNoWinners) { Vec::new() } else { winners };
                self.encode(&Reply::Stored { bets: bets.len(), winners: told }, codec)
            }
            Request::Results => {
                let in_flight = u32::from(self.has(Fault::NeverTells));
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
                let told = |of: u16| {
                    (of == agency || self.has(Fault::TellsAllWinners))
                        && !self.has(Fault::TellsNoWinners)
                };
                let documents = state.winners.iter().filter(|(of, _)| told(*of));
                self.encode(
                    &Reply::Winners(documents.map(|(_, document)| document.as_str()).collect()),
                    codec,
                )
            }
            Request::Echo(text) => self.encode(&Reply::Echo(text), codec),
            Request::Close => (Vec::new(), Then::Close),
        }
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
            if let Fault::Adds(more) = fault {
                bytes.extend_from_slice(more);
            }
        }
        (bytes, then)
    }

    fn refuse(
        &self,
        error: Option<&ProtocolError>,
        codec: &mut dyn CentralCodec,
    ) -> (Vec<u8>, Then) {
        let mut bytes = Vec::new();
        let then = codec.refuse(error, &mut bytes);
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
