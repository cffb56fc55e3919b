//! Any bytes of a server: the connection ends with an error or goes on, and never panics.

use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::time::Instant;

use postgres_link::{Event, Param, Primary, Replies, Request};

use crate::harness::{fake, next, soon};

/// Largest input, which the buffers of a socket take without a reader.
const MAX_INPUT: usize = 32 << 10;

/// Lets a server send `input`. The first byte decides where: instead of the greeting, or as the
/// reply to a pipeline or a script.
pub fn check(input: &[u8]) {
    let (&stage, bytes) = input.split_first().unwrap_or((&0, &[]));
    let bytes = &bytes[..bytes.len().min(MAX_INPUT)];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut servers = fake::list(&[listener.local_addr().unwrap()]);
    servers.set_max_reply(1 << 20);
    let mut primary = Primary::new(servers);
    assert!(primary.advance(Instant::now()).is_none(), "the server has sent nothing");
    let (mut server, _) = listener.accept().unwrap();
    if stage % 3 > 0 {
        server.write_all(&fake::greeting("off")).unwrap();
    }
    server.write_all(bytes).unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    loop {
        match next(&mut primary) {
            Event::NoPrimary(_) | Event::Lost(_) => return,
            Event::Done(Ok(replies)) => read(&replies),
            Event::Connected(_) | Event::Done(Err(_)) | Event::Notification { .. } => {}
        }
        if primary.is_idle() {
            let request = match stage % 3 {
                2 => Request::script("SELECT 1; SELECT 2"),
                _ => Request::of("SELECT $1", &[Param::I32(1)]),
            };
            primary.request(request.unwrap(), soon());
        }
    }
}

/// Reads each value as each type, which may fail.
fn read(replies: &Replies) {
    for reply in replies.all() {
        let _ = reply.affected();
        for row in reply.rows() {
            for column in 0..=reply.columns().len() {
                let _ = (row.get::<Option<i16>>(column), row.get::<i32>(column));
                let _ = (row.get::<i64>(column), row.get::<bool>(column));
                let _ = (row.get::<&str>(column), row.get::<&[u8]>(column));
                let _ = (row.get::<Vec<i32>>(column), row.get::<Vec<i64>>(column));
                let _ = (row.get::<Vec<&str>>(column), row.get::<Vec<&[u8]>>(column));
            }
        }
    }
}
