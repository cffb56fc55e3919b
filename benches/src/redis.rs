//! Redis: its requests, its replies and its setup, in the protocol RESP2.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::batch::bets;

/// Function that validates and counts, for the requests of [`lua`].
const LIBRARY: &str = include_str!("../validate.lua");

/// Returns a request that appends `bytes` opaque bytes to a stream.
pub(crate) fn xadd(bytes: usize) -> Vec<u8> {
    command(&[b"XADD", b"bets", b"*", b"batch", &vec![b'x'; bytes]])
}

/// Returns a request that has the batch of `count` bets validated, counted and appended.
pub(crate) fn lua(count: usize) -> Vec<u8> {
    let line = |bet: lottery::Bet<'_>| {
        let date = String::from_utf8_lossy(&bet.birthdate.iso_bytes()).into_owned();
        let number = bet.number.unwrap_or_default();
        format!("{};{};{};{date};{number}\n", bet.first_name, bet.last_name, bet.document)
    };
    let batch: String = bets(count).map(line).collect();
    command(&[b"FCALL", b"store", b"2", b"bets", b"winners", batch.as_bytes()])
}

/// Loads the function of [`lua`] into a server.
pub(crate) fn load_function(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(&command(&[b"FUNCTION", b"LOAD", b"REPLACE", LIBRARY.as_bytes()]))?;
    let mut reply = [0; 512];
    let count = stream.read(&mut reply)?;
    judge(&reply[..count], true).map(drop).map_err(io::Error::other)
}

/// Judges a reply: a bulk string, a simple string or an integer.
pub(crate) fn judge(reply: &[u8], _first: bool) -> Result<bool, String> {
    let Some(end) = reply.windows(2).position(|pair| pair == b"\r\n") else { return Ok(false) };
    let line = String::from_utf8_lossy(&reply[1..end]);
    match reply[0] {
        b'-' => Err(line.into_owned()),
        b'+' | b':' => Ok(true),
        b'$' => {
            let bytes: usize = line.parse().map_err(|_| format!("bad reply ${line}"))?;
            Ok(reply.len() >= end + 2 + bytes + 2)
        }
        _ => Err(format!("bad reply {line:?}")),
    }
}

/// Encodes a command.
fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_complete_with_its_last_byte() {
        for reply in [&b"$5\r\n1-170\r\n"[..], b":170\r\n", b"+OK\r\n"] {
            for length in 0..reply.len() {
                assert_eq!(judge(&reply[..length], false), Ok(false), "{length} of {reply:?}");
            }
            assert_eq!(judge(reply, false), Ok(true), "{reply:?}");
        }
        assert_eq!(judge(b"-ERR bad date\r\n", false), Err("ERR bad date".to_owned()));
    }

    #[test]
    fn a_command_is_an_array_of_strings() {
        assert_eq!(command(&[b"GET", b"ab"]), b"*2\r\n$3\r\nGET\r\n$2\r\nab\r\n");
    }
}
