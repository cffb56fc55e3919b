//! Round trips per second between two processes through a pipe, and messages per second one way, beside those through a stream
//! socketpair in C and through Python's Pipe, by turns on one machine. `cargo bench -p shm-multiprocessing --bench pipe`; needs a C
//! compiler and `python3`.

mod common;

use std::process::Command;
use std::time::Instant;

use common::{CProgram, Figure, compare, print_machine, printed, source};
use multiprocessing::{PipeError, Process, pipe};

/// Bytes of a message, and how many messages a turn has.
const SIZES: [(usize, u32); 4] = [(8, 20_000), (4 << 10, 20_000), (64 << 10, 10_000), (1 << 20, 500)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print_machine()?;
    let program = CProgram::compile("socketpair")?;
    for (way, what) in [("ping", "round trips/s"), ("stream", "messages/s")] {
        for (bytes, messages) in SIZES {
            let arguments = [way.to_owned(), bytes.to_string(), messages.to_string()];
            let python = || printed(Command::new("python3").arg(source("pipe.py")).args(&arguments));
            compare(
                &format!("{bytes} bytes, {what} of {messages}"),
                &[
                    ("stream socketpair in C", &|| program.run(&arguments)),
                    ("pipe", &|| per_second(way == "ping", bytes, messages)),
                    ("Python's Pipe", &python),
                ],
            )?;
        }
    }
    Ok(())
}

fn per_second(ping: bool, bytes: usize, messages: u32) -> Figure {
    let message = vec![0; bytes];
    let (here, there) = pipe()?;
    let begun = Instant::now();
    let mut child = Process::spawn_with(there, |there| {
        let answer = || {
            if ping {
                there.recv_bytes()?;
            }
            there.send_bytes(&message)
        };
        i32::from((0..messages).any(|_| answer().is_err()))
    })?;
    let ask = || -> Result<(), PipeError> {
        if ping {
            here.send_bytes(&message)?;
        }
        here.recv_bytes().map(drop)
    };
    (0..messages).try_for_each(|_| ask())?;
    let took = begun.elapsed();
    child.join()?;
    Ok(f64::from(messages) / took.as_secs_f64())
}
