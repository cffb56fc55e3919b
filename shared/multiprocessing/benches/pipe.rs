//! Round trips and messages of two processes through a pipe, compared with a stream socketpair in
//! C, whose messages a killed sender tears, and Python's `Pipe`.

mod common;

use common::{CProgram, Figure, Outcome, Sides, Table, python, rate_beside};
use multiprocessing::pipe;

/// Bytes of a message, and messages per turn.
const SIZES: [(u32, u32); 4] = [(8, 20_000), (4 << 10, 20_000), (64 << 10, 5_000), (1 << 20, 300)];

fn main() -> Outcome {
    let c = CProgram::compile("socketpair")?;
    let table = Table::begin("Pipe")?;
    for (ping, what) in [(1, "round trips"), (0, "messages one way")] {
        for (bytes, messages) in SIZES {
            let arguments = [ping, bytes, messages];
            table.row(
                &format!("{what}, {bytes} bytes; C: stream"),
                &Sides {
                    ours: &|| through_a_pipe(ping == 1, bytes, messages),
                    c: Some(&|| c.run(&arguments)),
                    python: Some(&|| python("pipe", &arguments)),
                    raw_sync: None,
                },
            )?;
        }
    }
    table.end()
}

fn through_a_pipe(ping: bool, bytes: u32, messages: u32) -> Figure {
    let message = vec![0; bytes as usize];
    let (here, there) = pipe()?;
    let answered = |_| (!ping || there.recv_bytes().is_ok()) && there.send_bytes(&message).is_ok();
    let asked = |_| (!ping || here.send_bytes(&message).is_ok()) && here.recv_bytes().is_ok();
    rate_beside(messages, || (0..messages).all(answered), || (0..messages).all(asked))
}
