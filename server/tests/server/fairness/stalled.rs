//! Clients that stall, or are too many, delay no other client and are closed.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, Setup, cpu_time, eventually, eventually_within, left_out, packet_of,
    packet_of_records, refusals,
};
use lottery::Results;
use socket2::{Domain, Socket, Type};

/// Stalled clients, a third in each way.
const STALLED: usize = 500;
/// Request timeout, long enough for a busy machine to connect them all and to serve the honest
/// client at the same time.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Delay that is allowed after a deadline: the central checks deadlines a few times per second, and
/// the machine may be busy.
const LATE: Duration = Duration::from_secs(4);
const DRIBBLE: Duration = Duration::from_millis(100);
const TRIES: usize = 20;

fn setup() -> Setup {
    Setup::new()
}

/// Sends a batch to each agency, one byte per `DRIBBLE`, until the central must have closed them.
fn dribble(agencies: &mut [AgencyConnection], batch: &[u8], stop: &AtomicBool) {
    let end = Instant::now() + TIMEOUT + LATE;
    for byte in batch {
        if stop.load(Ordering::SeqCst) || Instant::now() > end {
            return;
        }
        for agency in &mut *agencies {
            // Fails once the central has closed the connection.
            agency.try_send(&[*byte]);
        }
        sleep(DRIBBLE);
    }
}

/// Asserts that the log has one refusal per port and no other.
fn assert_one_refusal_each(log: &[String], ports: &[u16]) {
    let failures = log.iter().filter(|line| line.contains("receive_message | result: fail"));
    assert_eq!(failures.count(), ports.len());
    for port in ports {
        assert_eq!(refusals(log, *port).len(), 1, "lines about port {port}");
    }
}

#[test]
fn five_hundred_stalled_clients_do_not_delay_an_honest_one_and_are_closed_in_time() {
    let setup = setup().with("SERVER_REQUEST_TIMEOUT", &format!("{}s", TIMEOUT.as_secs()));
    let central = setup.start();
    let batch = packet_of("stalled", 100, 0);
    let mut silent: Vec<_> = (0..STALLED / 3).map(|_| central.connect()).collect();
    let mut halves: Vec<_> = (0..STALLED / 3).map(|_| central.connect()).collect();
    let mut dribbling: Vec<_> =
        (0..STALLED - 2 * (STALLED / 3)).map(|_| central.connect()).collect();
    let last_connected = Instant::now();
    halves.iter_mut().for_each(|agency| agency.send(&batch[..batch.len() / 2]));
    let begun = (halves.len() + dribbling.len()) as u32;
    let all = silent.iter().chain(&halves).chain(&dribbling);
    let ports: Vec<_> = all.map(AgencyConnection::port).collect();
    let (stop, mut times) = (AtomicBool::new(false), Vec::new());

    scope(|scope| {
        scope.spawn(|| dribble(&mut dribbling, &batch, &stop));
        eventually(
            "all begun batches in flight",
            || central.results().in_flight,
            |count| *count == begun,
        );
        assert_eq!(central.connections(), STALLED as u64);
        for number in 0..TRIES {
            let packet = packet_of(&format!("honest{number}"), 100, 1);
            let start = Instant::now();
            assert_eq!(central.request(&packet)[..2], [0, 1]);
            times.push(start.elapsed());
        }
        assert_eq!(central.results(), Results { winners: TRIES as u64, in_flight: begun });
        // The connection of the query may still count for a moment. A lower number would mean that
        // stalled clients were closed during the measurement.
        eventually("all stalled", || central.connections(), |count| *count == STALLED as u64);

        let closed = || central.program.count_lines_with("error: not done within 4s");
        let rest = (TIMEOUT + LATE).saturating_sub(last_connected.elapsed());
        eventually_within(rest, "the stalled closed", closed, |lines| *lines == STALLED);
        assert!(last_connected.elapsed() >= TIMEOUT, "closed too early");
        stop.store(true, Ordering::SeqCst);
    });

    // The rule is about the median. A busy machine may delay a single try.
    times.sort_unstable();
    println!("median {:?}, longest {:?}", times[TRIES / 2], times[TRIES - 1]);
    assert!(times[TRIES / 2] < Duration::from_millis(50), "{times:?}");
    assert!(times[TRIES - 1] < Duration::from_millis(500), "{times:?}");
    for agency in silent.iter_mut().chain(&mut halves) {
        assert!(agency.read_to_end().is_empty());
    }
    for agency in &mut dribbling {
        // A reset is allowed here: the last byte may arrive after the end.
        assert!(agency.read_until_gone().is_empty());
    }
    central.none_in_flight_within_a_second();
    assert_eq!(central.connections(), 0);
    assert_eq!(setup.rows().len(), TRIES * 100);
    assert_one_refusal_each(&central.stop_and_read_log(), &ports);
}

/// Returns the most bytes that the kernel may buffer for a sender, overhead included.
fn longest_send_buffer() -> usize {
    let sizes = fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    sizes.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn a_reply_that_the_client_does_not_read_is_given_up_in_time_and_its_batch_stays_stored() {
    // Long enough that a busy machine stores the batch before the timeout.
    let setup = setup().with("SERVER_REQUEST_TIMEOUT", "5s").with("SERVER_WORKERS", "1");
    let central = setup.start();
    // Nearly the largest request. Every bet wins, so the reply repeats all of them.
    let record = format!("{};Lorca;30904465;1999-03-17;7574", "x".repeat(31));
    let batch = packet_of_records(&vec![record; 65_535]);
    if longest_send_buffer() > batch.len() * 3 / 2 {
        left_out("the kernel of this machine buffers even the largest reply");
        return;
    }
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], central.port)).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(&batch).unwrap();
    eventually(
        "the batch counted",
        || central.results(),
        |now| *now == Results { winners: 65_535, in_flight: 0 },
    );
    assert_eq!(central.connections(), 1);
    assert_eq!(central.request(&packet_of("honest", 1, 1))[..2], [0, 1]);
    central.program.line_with("error: not done within 5s");
    eventually("the connection closed", || central.connections(), |count| *count == 0);
    assert_eq!(setup.rows().len(), 65_536);
}

/// Descriptors that each process of the central may open, for itself and for connections.
const DESCRIPTORS: u32 = 48;
/// More connections than both workers together can open.
const CROWD: usize = 120;
/// Processor time that a worker may use in a second in which it can do nothing.
const IDLE: Duration = Duration::from_millis(100);

#[test]
fn a_central_without_free_descriptors_stays_idle_logs_it_once_and_serves_again() {
    let setup = setup();
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" run");
    let central = setup.start_by(&mut setup.shell(&[], &script));
    let pids = central.worker_pids();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| central.connect()).collect();
    let failure = "accept_connections | result: fail";
    eventually(
        "both workers full",
        || central.program.count_lines_with(failure),
        |lines| *lines == 2,
    );
    let accepted = central.connections() as usize;
    assert!(accepted > 20 && accepted < CROWD, "{accepted} of {CROWD} accepted");

    // Longer than the longest pause between two attempts, so that the measurement includes
    // attempts.
    let before: Vec<_> = pids.iter().map(|pid| cpu_time(*pid)).collect();
    sleep(Duration::from_secs(1));
    for (pid, before) in pids.iter().zip(before) {
        let used = cpu_time(*pid) - before;
        assert!(used < IDLE, "an idle worker used {used:?} in a second");
    }
    assert_eq!(
        central.program.count_lines_with(failure),
        2,
        "logged more than once in ten seconds"
    );

    // Once the accepted connections close, the waiting ones are served.
    let late = crowd.split_off(CROWD - 20);
    drop(crowd);
    for (number, mut agency) in late.into_iter().enumerate() {
        agency.send(&packet_of(&number.to_string(), 1, 1));
        assert_eq!(agency.read_to_end()[..2], [0, 1], "agency {number} of the waiting ones");
    }
    assert_eq!(central.results(), Results { winners: 20, in_flight: 0 });
    assert_eq!(central.worker_pids(), pids);
}
