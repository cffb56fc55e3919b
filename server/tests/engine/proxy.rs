//! A proxy between a central and its engine, which cuts connections and holds them up.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::spawn;
use std::time::Duration;

use crate::harness::Random;

/// How long a thread waits for bytes before it looks at the switches.
const LOOK: Duration = Duration::from_millis(5);

/// What the proxy does.
#[derive(Debug, Default)]
struct Switches {
    /// Connections pass nothing while this is set, and stay open.
    stopped: AtomicBool,
    /// New connections are closed while this is set.
    closed: AtomicBool,
    /// Pieces that still pass towards the engine and back before a connection is cut; 0 for no cut.
    until_cut: [AtomicU64; 2],
    /// Connections that were cut, per direction.
    cuts: [AtomicU64; 2],
}

/// A proxy in front of a server.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    switches: Arc<Switches>,
}

impl Proxy {
    /// Starts a proxy in front of the server of a URL. Returns it with the URL that leads to it.
    pub fn start(url: &str) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (before, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let (server, through) =
            (server.to_owned(), format!("{before}@127.0.0.1:{port}/{database}"));
        let switches = Arc::new(Switches::default());
        let shared = Arc::clone(&switches);
        spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.closed.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&server) else { continue };
                pass(&client, &server, &shared, 0);
                pass(&server, &client, &shared, 1);
            }
        });
        (Self { port, switches }, through)
    }

    /// Lets `pieces` more pieces pass in a direction, then cuts the connection that would send the
    /// next: 0 is towards the engine, so that a request does not arrive, 1 is back, so that its
    /// reply does not.
    pub fn cut_after(&self, pieces: u64, direction: usize) {
        self.switches.until_cut[direction].store(pieces + 1, Ordering::SeqCst);
    }

    /// Returns how many connections were cut in a direction.
    pub fn cuts(&self, direction: usize) -> u64 {
        self.switches.cuts[direction].load(Ordering::SeqCst)
    }

    /// Holds up all connections, or lets them go on.
    pub fn stop(&self, stopped: bool) {
        self.switches.stopped.store(stopped, Ordering::SeqCst);
    }

    /// Refuses new connections, or accepts them again.
    pub fn close(&self, closed: bool) {
        self.switches.closed.store(closed, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.switches.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Passes bytes on in a thread until one side ends or the connection is cut.
fn pass(from: &TcpStream, to: &TcpStream, switches: &Arc<Switches>, direction: usize) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let switches = Arc::clone(switches);
    from.set_read_timeout(Some(LOOK)).unwrap();
    spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            if switches.stopped.load(Ordering::SeqCst) {
                std::thread::sleep(LOOK);
                continue;
            }
            let read = match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(_) => break,
            };
            while switches.stopped.load(Ordering::SeqCst) {
                std::thread::sleep(LOOK);
            }
            let left = &switches.until_cut[direction];
            let count = |left: u64| left.checked_sub(1);
            let is_cut = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) == Ok(1);
            if is_cut {
                switches.cuts[direction].fetch_add(1, Ordering::SeqCst);
                // A part of the piece may pass.
                let part = Random::unseeded().below(read as u64) as usize;
                let _ = to.write_all(&bytes[..part]);
                break;
            }
            if to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}
