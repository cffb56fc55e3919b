//! How a worker's replies go out, and what becomes of a connection after one.

use std::time::Instant;

use lottery::protocol::Then;

use super::desk::{Desk, Verdict, Visitor};
use super::{LAST_CHANCE, Service, WorkerError};
use crate::connection::{Phase, Progress, Watched};

impl Service<'_> {
    /// Answers with the winners of an agency if the draw was held; otherwise the agency waits for it.
    pub(super) fn answer_or_wait(&mut self, key: usize, agency: u16) -> Result<(), WorkerError> {
        if self.central.was_drawn() {
            return self.answer_winners(key, agency);
        }
        if self.draining.is_some() {
            // As those who waited when the stop began.
            self.finish(key);
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        self.buffered -= connection.buffered();
        connection.wait_for_draw(agency);
        self.buffered += connection.buffered();
        self.waiting += 1;
        // What it has sent behind its question is kept until the draw.
        self.make_room();
        self.note_connections();
        self.watch(key, Watched::Hangup)
    }

    /// Answers with the winners of an agency, after the draw.
    pub(super) fn answer_winners(&mut self, key: usize, agency: u16) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let has_waited = matches!(connection.phase, Phase::Waiting { .. });
        if has_waited {
            connection.phase = Phase::Settling;
            self.waiting -= 1;
        }
        let visitor = Visitor { ip: connection.peer.ip(), slot: self.slot, limits: self.limits };
        let verdict = Desk::new(self.central, &mut *connection.codec, visitor).winners(agency)?;
        self.note_connections();
        match verdict {
            // Nothing was read while it waited, and it may have asked again.
            Verdict::Answer { reply, then } if has_waited => self.answer(key, reply, then, true),
            verdict => self.carry_out(key, verdict),
        }
    }

    /// Starts sending a reply. `linger`: more of the peer's bytes are on their way, so that closing has to wait for them.
    pub(super) fn answer(
        &mut self,
        key: usize,
        reply: Vec<u8>,
        then: Then,
        linger: bool,
    ) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        self.buffered += reply.capacity();
        let linger = linger || !connection.buffer.is_empty();
        connection.phase = Phase::Answering { reply, sent: 0, then, linger };
        connection.deadline.get_or_insert_with(|| Instant::now() + self.limits.request_timeout);
        self.send(key)
    }

    pub(super) fn send(&mut self, key: usize) -> Result<(), WorkerError> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            let Phase::Answering { reply, sent, then, linger } = &connection.phase else {
                return Ok(());
            };
            if *sent == reply.len() {
                let (then, linger) = (*then, *linger);
                self.buffered -= reply.capacity();
                connection.phase = Phase::Settling;
                return match then {
                    Then::Continue => self.receive_next(key),
                    Then::Close if linger => self.linger(key),
                    Then::Close => {
                        self.finish(key);
                        Ok(())
                    }
                };
            }
            let progress = connection.write(&reply[*sent..]);
            match progress {
                Progress::Bytes(written) => {
                    if let Phase::Answering { sent, .. } = &mut connection.phase {
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

    /// Goes on to the next request of a kept connection.
    fn receive_next(&mut self, key: usize) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        connection.phase = Phase::Receiving;
        let now = Instant::now();
        let nothing_yet = connection.buffer.is_empty();
        connection.deadline = Some(match self.draining {
            None if nothing_yet => now + self.limits.idle_timeout,
            None => now + self.limits.request_timeout,
            Some(end) => end.min(now + LAST_CHANCE),
        });
        if nothing_yet {
            return self.watch(key, Watched::Input);
        }
        self.unread.push((key, connection.serial));
        Ok(())
    }

    pub(super) fn linger(&mut self, key: usize) -> Result<(), WorkerError> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        self.buffered -= connection.buffered();
        connection.linger();
        self.discard(key)
    }

    /// Throws away what a lingering connection still sends.
    pub(super) fn discard(&mut self, key: usize) -> Result<(), WorkerError> {
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
}
