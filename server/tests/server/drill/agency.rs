//! An agency of the drill: it keeps a session in `keyed` and goes on at another central when one
//! does not answer.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lottery::BatchKey;
use lottery::protocol::{Advice, AgencyCodec};

use super::history::{History, Query, SentBatch};
use crate::harness::{bet, codec_of_session, packet_in};

/// Bets per batch.
pub const BETS: usize = 5;
/// The first bet of every third batch wins.
const WINS_EVERY: u64 = 3;
/// A query follows every fourth batch.
const QUERY_EVERY: u64 = 4;
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Time for a reply, less than a failover takes. Then the agency sends the batch to another central
/// while the first one may still store it.
const REPLY: Duration = Duration::from_secs(8);
/// Time for all that an agency waits for, such as the draw.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes before the body of a message.
const HEADER: usize = 6;
/// The request for the totals, and the type of its reply.
const RESULTS: [u8; HEADER] = [0x81, 0x02, 0, 0, 0, 0];
const RESULTS_REPLY: u8 = 0x82;

/// An agency.
#[derive(Debug)]
pub struct Agency {
    number: u16,
    codec: Box<dyn AgencyCodec>,
    centrals: Vec<SocketAddr>,
    /// Index of the central in use.
    current: usize,
    connection: Option<TcpStream>,
    /// Batches that are acknowledged.
    acknowledged: u64,
    history: History,
}

impl Agency {
    /// Returns an agency that begins with the central of this index.
    pub fn new(number: u16, centrals: &[Ipv4Addr], port: u16, first: usize) -> Self {
        Self {
            number,
            codec: codec_of_session("keyed", number, BatchKey::new_session()),
            centrals: centrals.iter().map(|address| (*address, port).into()).collect(),
            current: first % centrals.len(),
            connection: None,
            acknowledged: 0,
            history: History::default(),
        }
    }

    /// Sends batches until `stop` is set, then finishes and compares its winners with those of its
    /// batches. Panics after an answer that no central may give.
    pub fn work(mut self, stop: &AtomicBool) -> Self {
        while !stop.load(Ordering::SeqCst) {
            self.send_batch();
            if self.acknowledged.is_multiple_of(QUERY_EVERY) {
                self.query();
            }
        }
        self.finish();
        self
    }

    /// Returns its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns what it did and saw.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the documents of all bets that are acknowledged.
    pub fn documents(&self) -> impl Iterator<Item = String> {
        let batches = 1..=self.acknowledged;
        batches.flat_map(|batch| (0..BETS).map(move |bet| document(batch, bet)))
    }

    /// Returns the documents of its winners.
    pub fn winners(&self) -> impl Iterator<Item = String> {
        (1..=self.acknowledged).filter(|it| wins(*it)).map(|batch| document(batch, 0))
    }

    fn send_batch(&mut self) {
        let batch = self.acknowledged + 1;
        let documents: Vec<_> = (0..BETS).map(|bet| document(batch, bet)).collect();
        let bets: Vec<_> = documents
            .iter()
            .enumerate()
            .map(|(index, document)| bet(document, index == 0 && wins(batch)))
            .collect();
        self.codec.set_sequence(batch);
        let packet = packet_in(&mut *self.codec, &bets);
        let begun = Instant::now();
        let reply = self.request("the batch to be stored", &packet, REPLY);
        let won = self.codec.documents(&reply).unwrap_or_else(|| panic!("reply {reply:02x?}"));
        let expected: Vec<_> = documents.into_iter().take(usize::from(wins(batch))).collect();
        assert_eq!(won, expected, "agency {}, batch {batch}", self.number);
        let winners = won.len() as u64;
        self.history.batches.push(SentBatch { begun, acknowledged: Instant::now(), winners });
        self.acknowledged = batch;
    }

    fn query(&mut self) {
        let begun = Instant::now();
        let Ok(reply) = self.try_request(&RESULTS, REPLY) else { return };
        let ended = Instant::now();
        if reply[1] != RESULTS_REPLY {
            let denied = self.codec.denied(&reply).map(|denied| denied.advice);
            assert_eq!(denied, Some(Advice::Retry), "reply {reply:02x?}");
            return;
        }
        let winners = u64::from_be_bytes(reply[HEADER + 4..].try_into().unwrap());
        self.history.queries.push(Query { begun, ended, winners });
    }

    fn finish(&mut self) {
        let notification = self.codec.notification().unwrap();
        let reply = self.request("the end to be acknowledged", &notification, REPLY);
        assert_eq!(self.codec.acknowledgement(&reply), Ok(Some(())));
        let question = self.codec.question();
        let reply = self.request("the draw", &question, 2 * REPLY);
        let mut drawn =
            self.codec.documents(&reply).unwrap_or_else(|| panic!("reply {reply:02x?}"));
        // Batches that different centrals stored are in no particular order.
        drawn.sort_unstable();
        let mut expected: Vec<_> = self.winners().collect();
        expected.sort_unstable();
        assert_eq!(drawn, expected, "agency {}", self.number);
    }

    /// Sends a request until a central executes it.
    fn request(&mut self, what: &str, request: &[u8], limit: Duration) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut failure = String::new();
        while Instant::now() < deadline {
            match self.try_request(request, limit) {
                Ok(reply) => match self.codec.denied(&reply) {
                    None => return reply,
                    Some(denied) => {
                        failure = denied.reason;
                        assert_eq!(denied.advice, Advice::Retry, "{failure}");
                        sleep(PAUSE);
                    }
                },
                Err(error) => failure = error.to_string(),
            }
        }
        panic!("agency {} waits for {what}: {failure}", self.number);
    }

    /// Sends a request and reads the reply. After a failure the next central is in use.
    fn try_request(&mut self, request: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
        let reply = self.exchange(request, limit);
        if reply.is_err() {
            self.connection = None;
            self.current = (self.current + 1) % self.centrals.len();
            self.history.moves += 1;
            sleep(PAUSE);
        }
        reply
    }

    fn exchange(&mut self, request: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.centrals[self.current])?),
        };
        connection.set_read_timeout(Some(limit))?;
        connection.write_all(request)?;
        let mut reply = vec![0; HEADER];
        connection.read_exact(&mut reply)?;
        let body = u32::from_be_bytes(reply[2..].try_into().unwrap()) as usize;
        if reply[0] != 0x81 {
            return Err(Error::new(ErrorKind::InvalidData, format!("reply {reply:02x?}")));
        }
        reply.resize(HEADER + body, 0);
        connection.read_exact(&mut reply[HEADER..])?;
        Ok(reply)
    }
}

fn connect(central: &SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(central, CONNECT)?;
    connection.set_nodelay(true)?;
    connection.set_write_timeout(Some(REPLY))?;
    Ok(connection)
}

fn wins(batch: u64) -> bool {
    batch.is_multiple_of(WINS_EVERY)
}

/// Returns the document of a bet, which is unique within its agency.
fn document(batch: u64, bet: usize) -> String {
    format!("{batch}-{bet}")
}
