//! A run: several clients that send the same batch repeatedly, each time on a new connection or
//! always on the same one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Session};
use crate::cpu_time;
use crate::latencies::Latencies;
use crate::link;
use crate::outcome::{Outcome, Totals};

/// Parameters of a run.
#[derive(Debug)]
pub(crate) struct Load {
    /// Address of the server.
    pub(crate) address: SocketAddr,
    /// The batch that every client sends.
    pub(crate) batch: Batch,
    /// Number of clients that send at the same time.
    pub(crate) clients: usize,
    /// True if a client sends all its batches over one connection.
    pub(crate) kept: bool,
    /// Number of connections that are held open after half a batch.
    pub(crate) stalled: usize,
    /// Time during which clients begin new batches.
    pub(crate) duration: Duration,
    /// Root of the process tree whose CPU time counts as the server's.
    pub(crate) server_pid: Option<u32>,
}

impl Load {
    /// Runs the load and returns its figures under `name`. Any wrong reply fails the whole run,
    /// because the figures of a run with failures mean nothing.
    pub(crate) fn run(&self, name: String) -> io::Result<Outcome> {
        let _held = self.stall()?;
        let cpu_before = self.server_cpu()?;
        let start = Instant::now();
        let latencies = self.send_from_all()?;
        let elapsed = start.elapsed();
        let server_cpu =
            self.server_cpu()?.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
        let totals = Totals {
            clients: self.clients,
            stalled: self.stalled,
            batch_bytes: self.batch.request.len(),
            bets_per_batch: self.batch.bets,
            elapsed,
            server_cpu,
        };
        Outcome::new(name, &totals, latencies)
            .ok_or_else(|| io::Error::other("no batch was answered"))
    }

    fn server_cpu(&self) -> io::Result<Option<Duration>> {
        self.server_pid.map(cpu_time::of_tree).transpose()
    }

    /// Opens the connections that send only half a batch.
    fn stall(&self) -> io::Result<Vec<TcpStream>> {
        let half = &self.batch.request[..self.batch.request.len() / 2];
        (0..self.stalled)
            .map(|_| {
                let mut stream = self.connect()?;
                stream.write_all(half)?;
                Ok(stream)
            })
            .collect()
    }

    fn send_from_all(&self) -> io::Result<Latencies> {
        let ready = Barrier::new(self.clients);
        let sessions: Vec<_> =
            (0..self.clients).map(|_| self.batch.session()).collect::<io::Result<_>>()?;
        thread::scope(|scope| {
            let clients: Vec<_> = sessions
                .into_iter()
                .map(|session| {
                    let ready = &ready;
                    scope.spawn(move || {
                        ready.wait();
                        self.send(session)
                    })
                })
                .collect();
            let mut all = Latencies::default();
            for client in clients {
                let latencies = client.join().map_err(|_| io::Error::other("a client panicked"))?;
                all.merge(latencies?);
            }
            Ok(all)
        })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut stream = link::open(self.address)?;
        stream.write_all(&self.batch.greeting)?;
        Ok(stream)
    }

    fn send(&self, mut session: Session) -> io::Result<Latencies> {
        let mut reply = vec![0; self.batch.reply_bytes()];
        let mut latencies = Latencies::default();
        let start = Instant::now();
        let mut kept = None;
        while start.elapsed() < self.duration {
            let begun = Instant::now();
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => self.connect()?,
            };
            stream.write_all(session.next())?;
            stream.read_exact(&mut reply)?;
            kept = self.kept.then_some(stream);
            latencies.record(begun.elapsed());
            if !self.batch.accepts(&reply) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the reply is not the expected one",
                ));
            }
        }
        Ok(latencies)
    }
}
