//! An answer of many megabytes is kept once per worker, delays no other client, and reaches every
//! client that reads it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, CentralProcess, Participant, Setup, eventually_within, peak_bytes,
};
use socket2::{Domain, Socket, Type};

/// Length of a document, the longest that is valid.
const DOCUMENT_BYTES: usize = 255;
/// Time for an answer of many megabytes in a debug build on a busy machine.
const LONG: Duration = Duration::from_secs(60);
pub(super) const QUERY_1: &[u8] = b"\0\x10QUERY_WINNERS|1\n";
pub(super) const QUERY_2: &[u8] = b"\0\x10QUERY_WINNERS|2\n";

/// Returns the document of a winner.
fn document(number: usize) -> String {
    format!("{number:0DOCUMENT_BYTES$}")
}

/// Returns the setup of a central with one worker and a draw that needs one agency.
fn before_the_draw(dialect: &str) -> Setup {
    Setup::new()
        .with("SERVER_PROTOCOL", dialect)
        .with("SERVER_AGENCIES", "1")
        .with("SERVER_WORKERS", "1")
}

/// Returns the setup of a central in `framed` before a draw that needs agency 3. The
/// first agencies have this many winners each.
pub(super) fn setup(winners: &[usize]) -> Setup {
    let setup = before_the_draw("framed");
    let row = |agency, number| format!("{agency},A,B,{},1999-03-17,7574\r\n", document(number));
    let rows = (1..)
        .zip(winners)
        .flat_map(|(agency, winners)| (0..*winners).map(move |number| row(agency, number)));
    setup.store_before(&rows.collect::<String>());
    setup
}

/// Returns the answer to an agency with this many winners.
pub(super) fn answer(winners: usize) -> Vec<u8> {
    let documents: Vec<_> = (0..winners).map(document).collect();
    format!("WINNERS|{}\n", documents.join("|")).into_bytes()
}

pub(super) fn hold_draw(central: &CentralProcess<'_>) {
    Participant::connect(central.port, "framed", 3).finish();
    central.until_drawn();
}

/// Connects a client whose kernel buffers little, and sends `query`.
fn ask_without_reading(central: &CentralProcess<'_>, query: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], central.port)).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(query).unwrap();
    stream
}

pub(super) fn ask(central: &CentralProcess<'_>, query: &[u8], bytes: usize) -> Vec<u8> {
    let mut agency = central.connect();
    agency.stream().set_read_timeout(Some(LONG)).unwrap();
    agency.send(query);
    agency.read_bytes(bytes)
}

#[test]
fn clients_that_do_not_read_a_large_answer_share_its_memory_and_delay_no_other_query() {
    const WINNERS: usize = 40_000;
    const CLIENTS: usize = 40;
    /// What the answers of all clients would take is more than 400 MB.
    const MOST: u64 = 100 << 20;
    let setup = setup(&[WINNERS]);
    let central = setup.start();
    let worker = central.worker_pids()[0];
    let expected = answer(WINNERS);
    hold_draw(&central);
    let mut unread: Vec<_> = (0..CLIENTS).map(|_| central.connect()).collect();
    unread.iter_mut().for_each(|agency| agency.send(QUERY_1));
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(ask(&central, QUERY_2, 9), b"WINNERS|\n");
        slowest = slowest.max(start.elapsed());
    }
    println!("slowest other query {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    for agency in &mut unread {
        assert!(agency.read_bytes(expected.len()) == expected, "every client gets the answer");
    }
    let peak = peak_bytes(worker);
    println!("peak of the worker's memory: {peak}");
    assert!(peak < MOST, "{peak} bytes");
    assert_eq!(central.number("worker_deaths"), 0);
}

#[test]
fn agencies_that_wait_for_the_draw_get_a_large_answer_too_and_ask_again_on_the_connection() {
    const WINNERS: usize = 3000;
    let setup = setup(&[WINNERS]).with("SERVER_WORKERS", "2");
    let central = setup.start();
    let mut waiting: Vec<_> = (0..10).map(|_| central.connect()).collect();
    waiting.iter_mut().for_each(|agency| agency.send(QUERY_1));
    central.until_waiting(10);
    hold_draw(&central);
    let expected = answer(WINNERS);
    for agency in &mut waiting {
        assert!(agency.read_bytes(expected.len()) == expected);
        agency.send(QUERY_2);
        assert_eq!(agency.read_bytes(9), b"WINNERS|\n");
    }
}

#[test]
fn a_client_that_does_not_read_gives_way_to_another_large_answer() {
    // Each answer is 18 MB, so the worker has memory for one of them.
    const WINNERS: usize = 70_000;
    let setup = setup(&[WINNERS, WINNERS]);
    let central = setup.start();
    hold_draw(&central);
    let _unread = ask_without_reading(&central, QUERY_1);
    let reading = central.program.count_lines_with("consulta_ganadores | result: success");
    let answered = || central.program.count_lines_with("consulta_ganadores | result: success");
    eventually_within(LONG, "the first answer under way", answered, |count| *count > reading);
    let expected = answer(WINNERS);
    assert!(ask(&central, QUERY_2, expected.len()) == expected);
    central.program.line_with("this client reads its answer most slowly");
    // Those that read get the first answer again.
    assert!(ask(&central, QUERY_1, expected.len()) == expected);
}

#[test]
fn the_final_byte_follows_a_large_answer_in_counted() {
    const WINNERS: usize = 20_000;
    let setup = before_the_draw("counted");
    let row = |number| format!("1,A,B,{number},1999-03-17,7574\r\n");
    setup.store_before(&(0..WINNERS).map(row).collect::<String>());
    let central = setup.start();
    for last in [1, 5] {
        let mut agency = AgencyConnection::open(central.port);
        agency.send(&[0, 0, 1]);
        let reply = agency.read_bytes(2 + 4 * WINNERS);
        assert_eq!(reply[..2], (WINNERS as u16).to_be_bytes());
        assert_eq!(reply[reply.len() - 4..], (WINNERS as u32 - 1).to_be_bytes());
        agency.send(&[last]);
        assert_eq!(agency.read_to_end(), if last == 1 { vec![] } else { vec![1] });
    }
}
