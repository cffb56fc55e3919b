//! What a worker does with the bytes of one connection: reads, understands, hands to the central, answers.

use lottery::protocol::typed::{self, Decoded, Decoder};
use lottery::{Reply, Request};

use conventions::log_line::{Outcome, debug, error};

use super::{MAX_BUFFERED_BYTES, Service, Settled, WorkerError};
use crate::central::CentralError;
use crate::connection::{Phase, Progress, Watched};

/// What is to be done with a connection after its bytes were looked at.
enum Verdict {
    /// Wait for more bytes.
    Wait,
    /// The batch is stored; answer it when it is published.
    Stored { reply: Vec<u8>, bets: usize, linger: bool },
    /// Answer at once.
    Answer { reply: Vec<u8>, linger: bool },
    /// Nothing can be done for it.
    Refuse(String),
}

impl Service<'_> {
    /// Does for a connection whatever can be done without waiting.
    pub(super) fn advance(&mut self, key: usize) -> Result<(), WorkerError> {
        match self.connections.get(key).map(|connection| &connection.phase) {
            Some(Phase::Receiving { .. }) => self.receive(key),
            Some(Phase::Answering { .. }) => self.send(key),
            Some(Phase::Lingering { .. }) => self.discard(key),
            Some(Phase::Settling) | None => Ok(()),
        }
    }

    fn receive(&mut self, key: usize) -> Result<(), WorkerError> {
        loop {
            let Some(connection) = self.connections.get(key) else { return Ok(()) };
            match connection.read(&mut self.scratch) {
                Progress::Blocked => return self.watch(key, Watched::Input),
                Progress::Ended | Progress::Broken(_) if connection.is_idle() => {
                    // Connected and left, politely or not: nobody to tell, nothing lost.
                    self.finish(key);
                    return Ok(());
                }
                Progress::Ended => {
                    self.close(key, "closed before the end of its request");
                    return Ok(());
                }
                Progress::Broken(errno) => {
                    self.close(key, errno.desc());
                    return Ok(());
                }
                Progress::Bytes(read) => {
                    let verdict = self.understand(key, read)?;
                    if !matches!(verdict, Verdict::Wait) {
                        return self.carry_out(key, verdict);
                    }
                    self.make_room();
                    // Fewer bytes than there was room for: the socket is empty, and asking it would cost a call.
                    if read < self.scratch.len() {
                        return self.watch(key, Watched::Input);
                    }
                }
            }
        }
    }

    /// Looks at the connection's bytes, `read` new ones of them in the scratch buffer.
    fn understand(&mut self, key: usize, read: usize) -> Result<Verdict, WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(Verdict::Wait) };
        let Phase::Receiving { buffer, decoder } = &mut connection.phase else { return Ok(Verdict::Wait) };
        let arrived = &self.scratch[..read];
        let whole_so_far = if buffer.is_empty() {
            arrived
        } else {
            let before = buffer.capacity();
            buffer.extend_from_slice(arrived);
            self.buffered += buffer.capacity() - before;
            buffer.as_slice()
        };
        if !connection.in_flight && Decoder::begins_batch(whole_so_far) {
            connection.in_flight = true;
            self.central.begin(self.slot);
        }
        let (request, consumed) = match decoder.decode(whole_so_far) {
            Ok(Decoded::Complete { request, consumed }) => (request, consumed),
            Ok(Decoded::Incomplete) => {
                if buffer.is_empty() {
                    buffer.extend_from_slice(arrived);
                    self.buffered += buffer.capacity();
                }
                return Ok(Verdict::Wait);
            }
            Err(error) => return Ok(Verdict::Refuse(error.to_string())),
        };
        let linger = consumed < whole_so_far.len();
        let mut reply = Vec::new();
        match request {
            Request::Results => {
                let results = self.central.results()?;
                typed::encode_reply(&Reply::Results(results), &mut reply);
                self.central.shared().worker_queries.fetch_add(self.slot, 1);
                let line = if results.in_flight == 0 {
                    debug("consulta_ganadores", Outcome::Success)
                } else {
                    debug("consulta_ganadores", Outcome::InProgress)
                        .with("agencias_en_proceso", results.in_flight)
                };
                line.with("cant_ganadores", results.winners).write();
                Ok(Verdict::Answer { reply, linger })
            }
            Request::Store(bets) => match self.central.store(&bets) {
                Ok(winners) => {
                    typed::encode_reply(&Reply::Stored { winners }, &mut reply);
                    Ok(Verdict::Stored { reply, bets: bets.len(), linger })
                }
                Err(refused @ (CentralError::NotStored(_) | CentralError::Rows(_))) => {
                    error("apuesta_recibida", Outcome::Fail).with("cantidad", bets.len()).write();
                    Ok(Verdict::Refuse(refused.to_string()))
                }
                Err(fatal) => Err(fatal.into()),
            },
        }
    }

    fn carry_out(&mut self, key: usize, verdict: Verdict) -> Result<(), WorkerError> {
        match verdict {
            Verdict::Wait => Ok(()),
            Verdict::Answer { reply, linger } => self.answer(key, reply, linger),
            Verdict::Stored { reply, bets, linger } => {
                self.set_phase(key, Phase::Settling);
                if let Some(connection) = self.connections.get_mut(key) {
                    // The mark is released by publishing from here on, whatever becomes of the connection.
                    connection.in_flight = false;
                }
                self.settled.push(Settled { key, reply, bets, linger });
                Ok(())
            }
            Verdict::Refuse(reason) => {
                let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
                if std::mem::take(&mut connection.in_flight) {
                    self.central.abandon(self.slot);
                }
                let peer = connection.peer;
                self.refused(peer, &reason);
                self.linger(key)
            }
        }
    }

    /// Starts sending a reply.
    pub(super) fn answer(&mut self, key: usize, reply: Vec<u8>, linger: bool) -> Result<(), WorkerError> {
        self.set_phase(key, Phase::Answering { reply, sent: 0, linger });
        self.send(key)
    }

    fn send(&mut self, key: usize) -> Result<(), WorkerError> {
        loop {
            let Some(connection) = self.connections.get(key) else { return Ok(()) };
            let Phase::Answering { reply, sent, linger } = &connection.phase else { return Ok(()) };
            if *sent == reply.len() {
                if *linger {
                    return self.linger(key);
                }
                self.finish(key);
                return Ok(());
            }
            let progress = connection.write(&reply[*sent..]);
            match progress {
                Progress::Bytes(written) => {
                    if let Some(Phase::Answering { sent, .. }) =
                        self.connections.get_mut(key).map(|c| &mut c.phase)
                    {
                        *sent += written;
                    }
                }
                Progress::Blocked => {
                    self.make_room();
                    return self.watch(key, Watched::Output);
                }
                Progress::Ended | Progress::Broken(_) => {
                    self.close(key, "left before its reply was sent");
                    return Ok(());
                }
            }
        }
    }

    fn linger(&mut self, key: usize) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        self.buffered -= connection.buffered();
        connection.linger();
        self.discard(key)
    }

    /// Throws away what a lingering connection still sends.
    fn discard(&mut self, key: usize) -> Result<(), WorkerError> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            let progress = connection.read(&mut self.scratch);
            let Phase::Lingering { left } = &mut connection.phase else { return Ok(()) };
            match progress {
                Progress::Blocked => return self.watch(key, Watched::Input),
                Progress::Bytes(read) if read < *left => *left -= read,
                Progress::Bytes(_) | Progress::Ended | Progress::Broken(_) => {
                    self.finish(key);
                    return Ok(());
                }
            }
        }
    }

    /// Closes whoever keeps most, until all together keep no more than is allowed. Not whoever needs a little more at the moment:
    /// a few that send megabytes and never end would shut out everybody whose batch comes in two pieces.
    fn make_room(&mut self) {
        while self.buffered > MAX_BUFFERED_BYTES {
            let largest = self.connections.iter().max_by_key(|(_, connection)| connection.buffered());
            let Some((key, _)) = largest else { return };
            let reason = format!(
                "unfinished requests and replies fill the {MAX_BUFFERED_BYTES} bytes of this worker, and this is the largest"
            );
            self.close(key, &reason);
        }
    }

    fn set_phase(&mut self, key: usize, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(key) {
            self.buffered -= connection.buffered();
            connection.phase = phase;
            self.buffered += connection.buffered();
        }
    }
}
