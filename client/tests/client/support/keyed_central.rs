//! A central of the `keyed` dialect in the test's process, whose connections the test can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use lottery::protocol::{CentralCodec, Decoded, Denial, Dialect, Refused};
use lottery::{Bet, Reply, Request, is_winner};

use super::PATIENCE;
use super::sessions::{Arrival, Sessions};

/// A running central. All clones of its state are one.
#[derive(Clone)]
pub(crate) struct KeyedCentral {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What the central has stored, and what it does with the next batches.
#[derive(Default)]
pub(crate) struct State {
    /// First names of the stored bets, in the order of storage.
    pub(crate) names: Vec<String>,
    /// Number of bets in each stored batch.
    pub(crate) batches: Vec<usize>,
    /// Bets without a number among the stored ones.
    pub(crate) without_number: usize,
    /// Batches that were answered without being stored.
    pub(crate) repeated: usize,
    /// Number of queries for the winners.
    pub(crate) queries: usize,
    /// What happens to the next batches, the last entry first.
    pub(crate) cuts: Vec<Cut>,
    /// True if every connection is closed at once.
    pub(crate) is_down: bool,
    sessions: Sessions,
}

/// What the central does with a batch instead of answering it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Resets the connection after this many bytes of the request.
    Request(usize),
    /// Stores the batch, sends this many bytes of the reply, and closes the connection.
    Reply(usize),
    /// Stores the batch and never answers.
    Silent,
    /// Answers with an error, and stores nothing.
    Denied(Denial),
    /// Answers as usual.
    None,
}

impl KeyedCentral {
    /// Starts a central on a free port.
    pub(crate) fn start() -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::default())
    }

    /// Starts another central with the same storage on another port.
    pub(crate) fn start_standby(&self) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::clone(&self.state))
    }

    fn listen(listener: TcpListener, state: Arc<Mutex<State>>) -> Self {
        let central = Self { address: listener.local_addr().unwrap(), state };
        let running = central.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let running = running.clone();
                thread::spawn(move || running.serve(&mut stream.unwrap()));
            }
        });
        central
    }

    /// Returns its address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its state.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(&self, stream: &mut TcpStream) {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut codec = (Dialect::named("keyed").unwrap().central)();
        let mut received = Vec::new();
        while !self.state().is_down {
            // A cut holds for the next batch, so the bytes are read up to there.
            let cut = self.state().cuts.last().copied();
            let limit = match cut {
                Some(Cut::Request(bytes)) => bytes.saturating_sub(received.len()),
                _ => 64 * 1024,
            };
            let mut bytes = vec![0; limit];
            let count = if limit == 0 { 0 } else { stream.read(&mut bytes).unwrap_or(0) };
            received.extend_from_slice(&bytes[..count]);
            if let Some(Cut::Request(bytes)) = cut
                && received.len() >= bytes
            {
                self.state().cuts.pop();
                // Unread bytes make the system send a reset.
                return;
            }
            if count == 0 || !self.answer(stream, &mut *codec, &mut received) {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// Answers the complete requests. Returns false if the connection ends.
    fn answer(
        &self,
        stream: &mut TcpStream,
        codec: &mut dyn CentralCodec,
        received: &mut Vec<u8>,
    ) -> bool {
        loop {
            let (mut out, mut length) = (Vec::new(), usize::MAX);
            let consumed = match codec.decode(received).unwrap() {
                Decoded::Incomplete => return true,
                Decoded::Skip { consumed } => consumed,
                Decoded::Complete { request, consumed } => {
                    length = self.reply(request, codec, &mut out);
                    consumed
                }
            };
            received.drain(..consumed);
            let is_cut = length <= out.len();
            out.truncate(length);
            if stream.write_all(&out).is_err() || is_cut {
                return false;
            }
        }
    }

    /// Appends the reply. Returns the number of its bytes to send if it is cut.
    fn reply(
        &self,
        request: Request<'_>,
        codec: &mut dyn CentralCodec,
        out: &mut Vec<u8>,
    ) -> usize {
        let mut state = self.state();
        let (reply, cut) = match request {
            Request::StoreOnce { key, bets } => {
                let cut = state.cuts.pop().unwrap_or(Cut::None);
                let judged = match cut {
                    Cut::Denied(denial) => Err(denial),
                    _ => state.sessions.judge(key),
                };
                match judged {
                    Ok(Arrival::Next) => {
                        state.sessions.accept(key);
                        state.store(&bets);
                    }
                    Ok(Arrival::Repeated) => state.repeated += 1,
                    Err(denial) => {
                        codec.refuse(Refused::Request(denial), out);
                        return usize::MAX;
                    }
                }
                let winners = bets.iter().copied().filter(is_winner).collect();
                (Reply::Stored { bets: bets.len(), winners }, cut)
            }
            Request::Finish { .. } => (Reply::Finished, Cut::None),
            Request::Winners { .. } => {
                state.queries += 1;
                (Reply::Winners(Vec::new()), Cut::None)
            }
            other => panic!("an agency does not send {other:?}"),
        };
        codec.encode(&reply, out).unwrap();
        drop(state);
        match cut {
            Cut::Reply(bytes) => bytes,
            Cut::Silent => {
                thread::sleep(PATIENCE);
                0
            }
            _ => usize::MAX,
        }
    }
}

impl State {
    fn store(&mut self, bets: &[Bet<'_>]) {
        self.batches.push(bets.len());
        self.names.extend(bets.iter().map(|bet| bet.first_name.to_owned()));
        self.without_number += bets.iter().filter(|bet| bet.number.is_none()).count();
    }
}
