//! What a worker does with the bytes of one connection: reads, understands, hands to the central.

use std::time::Instant;

use conventions::log_line::{Outcome, debug};
use lottery::protocol::Decoded;

use super::desk::{Desk, Verdict, Visitor};
use super::settling::Settled;
use super::{MAX_BUFFERED_BYTES, Service, WorkerError};
use crate::connection::{Phase, Progress, Watched};

impl Service<'_> {
    /// Does for a connection whatever can be done without waiting.
    pub(super) fn advance(&mut self, key: usize) -> Result<(), WorkerError> {
        match self.connections.get(key).map(|connection| &connection.phase) {
            Some(Phase::Receiving) => self.receive(key),
            Some(Phase::Answering { .. }) => self.send(key),
            Some(Phase::Lingering { .. }) => self.discard(key),
            Some(Phase::Waiting { .. }) => {
                // Only its end is watched for.
                debug("consulta_ganadores", Outcome::Fail)
                    .with("error", "the agency left before the draw")
                    .write();
                self.finish(key);
                Ok(())
            }
            Some(Phase::Settling) | None => Ok(()),
        }
    }

    fn receive(&mut self, key: usize) -> Result<(), WorkerError> {
        // What an earlier read brought comes first.
        let mut verdict = match self.connections.get(key) {
            Some(connection) if !connection.buffer.is_empty() => self.understand(key, 0, false)?,
            _ => Verdict::Wait,
        };
        while let Verdict::Wait = verdict {
            let Some(connection) = self.connections.get(key) else { return Ok(()) };
            match connection.read(&mut self.scratch) {
                Progress::Blocked => return self.watch(key, Watched::Input),
                Progress::Ended | Progress::Broken(_) if connection.is_idle() => {
                    // Connected and left, politely or not: nobody to tell, nothing lost.
                    self.finish(key);
                    return Ok(());
                }
                Progress::Ended => {
                    verdict = self.understand(key, 0, true)?;
                    if let Verdict::Wait = verdict {
                        self.close(key, "closed before the end of its request");
                        return Ok(());
                    }
                }
                Progress::Broken(errno) => {
                    self.close(key, errno.desc());
                    return Ok(());
                }
                Progress::Bytes(read) => {
                    verdict = self.understand(key, read, false)?;
                    if let Verdict::Wait = verdict {
                        self.make_room();
                        // Fewer bytes than there was room for: the socket is empty, and asking it would cost a call.
                        if read < self.scratch.len() {
                            return self.watch(key, Watched::Input);
                        }
                    }
                }
            }
        }
        self.carry_out(key, verdict)
    }

    /// Looks at the connection's bytes, `read` new ones of them in the scratch buffer, and carries out the first request among
    /// them. `ended`: no more will come.
    fn understand(&mut self, key: usize, read: usize, ended: bool) -> Result<Verdict, WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(Verdict::Wait) };
        let before = connection.buffer.capacity();
        let arrived = &self.scratch[..read];
        // A request that is whole at once, as most are, is never copied.
        let buffered = !connection.buffer.is_empty();
        if buffered {
            connection.buffer.extend_from_slice(arrived);
        }
        let bytes = if buffered { connection.buffer.as_slice() } else { arrived };
        let codec = &mut *connection.codec;
        let (mut used, mut verdict) = (0, Verdict::Wait);
        loop {
            let message = &bytes[used..];
            if !connection.in_flight && codec.begins_batch(message) {
                connection.in_flight = true;
                self.central.begin(self.slot);
            }
            let decoded = if ended { codec.decode_last(message) } else { codec.decode(message) };
            match decoded {
                Ok(Decoded::Incomplete) => break,
                Ok(Decoded::Skip { consumed }) => used += consumed,
                Ok(Decoded::Complete { request, consumed }) => {
                    used += consumed;
                    let visitor =
                        Visitor { ip: connection.peer.ip(), slot: self.slot, limits: self.limits };
                    verdict = Desk::new(self.central, codec, visitor).carry_out(request)?;
                    break;
                }
                Err(refusal) => {
                    used += refusal.consumed.unwrap_or(message.len());
                    verdict = Verdict::of_refusal(codec, refusal);
                    break;
                }
            }
        }
        if buffered {
            connection.buffer.drain(..used);
        } else {
            connection.buffer.extend_from_slice(&arrived[used..]);
        }
        if connection.buffer.is_empty() {
            connection.buffer = Vec::new();
        }
        let begins = match verdict {
            Verdict::Wait => !connection.buffer.is_empty() && (!buffered || used > 0),
            _ => !buffered,
        };
        if begins && connection.dialect.keeps_connections() && self.draining.is_none() {
            // The first bytes of a request: its time begins, and the idle time is over.
            connection.deadline = Some(Instant::now() + self.limits.request_timeout);
        }
        self.buffered = self.buffered + connection.buffer.capacity() - before;
        Ok(verdict)
    }

    pub(super) fn carry_out(&mut self, key: usize, verdict: Verdict) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        match verdict {
            Verdict::Wait => Ok(()),
            Verdict::Answer { reply, then } => self.answer(key, reply, then, false),
            Verdict::Winners { agency } => self.answer_or_wait(key, agency),
            Verdict::Settle(next) => {
                // The mark is released by publishing from here on, whatever becomes of the connection.
                let marked = std::mem::take(&mut connection.in_flight);
                connection.phase = Phase::Settling;
                let serial = connection.serial;
                self.settled.push(Settled { key, serial, marked, next });
                Ok(())
            }
            Verdict::Refuse { reason, reply, then } => {
                if std::mem::take(&mut connection.in_flight) {
                    self.central.abandon(self.slot);
                }
                let peer = connection.peer;
                self.refused(peer, &reason);
                // Bytes of what was refused are on their way, most likely.
                self.answer(key, reply, then, true)
            }
            Verdict::Finish => {
                self.finish(key);
                Ok(())
            }
        }
    }

    /// Closes whoever keeps most, until all together keep no more than is allowed. Not whoever needs a little more at the moment:
    /// a few that send megabytes and never end would shut out everybody whose batch comes in two pieces.
    pub(super) fn make_room(&mut self) {
        while self.buffered > MAX_BUFFERED_BYTES {
            let largest =
                self.connections.iter().max_by_key(|(_, connection)| connection.buffered());
            let Some((key, _)) = largest else { return };
            let reason = format!(
                "unfinished requests and replies fill the {MAX_BUFFERED_BYTES} bytes of this worker, and this is the largest"
            );
            self.close(key, &reason);
        }
    }
}
