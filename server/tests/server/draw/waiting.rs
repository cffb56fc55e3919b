//! Many agencies that wait for the draw cost little memory and no processor time, delay no other
//! client, and all get an answer.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, Participant, Setup, StoppedProcess, WINNERS_BY_AGENCY, bets_with,
    count_draws, cpu_time, eventually, eventually_within, has_descriptors, large_packet,
    numbered_bet, packet_of, private_bytes, vector, winners_reply,
};

fn setup(protocol: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", protocol)
}

#[test]
fn a_query_split_in_two_right_behind_the_notification_waits_like_any_other() {
    let setup = setup("framed:0,typed:0").with("SERVER_AGENCIES", "2").with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&bets_with(WINNERS_BY_AGENCY[0]));
    let mut agency = agency.into_connection();
    // The worker is busy long enough that the second piece arrives in the loop round that reads the
    // first.
    let typed = central.port_of("typed");
    let mut others: Vec<_> = (0..100).map(|_| AgencyConnection::open(typed)).collect();
    let connections = central.segment().raw_array::<u32>("worker_connections").unwrap();
    eventually("all accepted", || connections.load(0), |count| *count == 101);
    let (finished, query) = (vector("framed", "finished_1"), vector("framed", "query_1"));
    let (half, rest) = query.split_at(5);
    let worker = StoppedProcess::new(central.worker_pids()[0]);
    agency.send(&[&finished, half].concat());
    others.iter_mut().for_each(|other| other.send(&large_packet("b", 1000, 0)));
    drop(worker);
    let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
    eventually("the other batches in flight", || processing.load(0), |count| *count > 0);
    agency.send(rest);

    assert_eq!(agency.read_bytes(4), vector("framed", "ack"));
    central.until_waiting(1);
    others.iter_mut().for_each(|other| assert_eq!(other.read_to_end(), [0, 0]));
    assert!(agency.is_quiet(), "it waits");
    let mut last = Participant::connect(central.port, "framed", 2);
    last.finish();
    assert_eq!(last.winners().1, winners_reply("framed", &[]));
    assert_eq!(agency.read_to_end(), vector("framed", "winners_L"));
}

/// The most agencies that a byte can number.
const NUMBERED: u16 = 255;

#[test]
fn all_255_agencies_of_a_one_byte_number_wait_on_two_workers_and_get_an_answer() {
    for dialect in ["counted", "counted-u8", "sentinel"] {
        let setup = setup(dialect).with("SERVER_AGENCIES", &NUMBERED.to_string());
        let central = setup.start();
        let mut agencies: Vec<_> = (1..=NUMBERED)
            .map(|number| {
                let mut agency = Participant::connect(central.port, dialect, number);
                agency.store(&[numbered_bet(number.into(), true)]);
                agency
            })
            .collect();
        let (last, others) = agencies.split_last_mut().unwrap();
        others.iter_mut().for_each(Participant::finish);
        central.until_waiting(u32::from(NUMBERED) - 1);
        let waiting = central.segment().raw_array::<u32>("worker_waiting").unwrap();
        println!("{dialect}: {:?} wait on each worker", waiting.iter().collect::<Vec<_>>());
        last.finish();
        for (number, agency) in (1..).zip(&mut agencies) {
            assert_eq!(
                agency.winners().1,
                winners_reply(dialect, &[number]),
                "{dialect}, agency {number}"
            );
        }
        drop(agencies);
        assert_eq!(count_draws(&central.stop_and_read_log()), 1, "{dialect}");
    }
}

/// Agencies that wait at once.
const CROWD: u16 = 5000;
/// Descriptors for the crowd and for the tests that run beside this one.
const DESCRIPTORS: u64 = 6000;
/// Private memory that a waiting connection may cost.
const EACH: u64 = 20_000;
/// Processor time that a worker may use in a second in which it only waits.
const IDLE: Duration = Duration::from_millis(100);
const TRIES: usize = 20;
/// Time within which the whole crowd must have its answers.
const SOON: Duration = Duration::from_secs(5);

/// Returns the setup of a central with one winning bet per agency. Each agency has another winner,
/// so that no answer can be mistaken for another.
fn before_the_draw_of_a_crowd() -> Setup {
    let setup = setup("framed:0,typed:0")
        .with("SERVER_AGENCIES", &(CROWD + 1).to_string())
        .with("LOGGING_LEVEL", "INFO");
    let row =
        |number| format!("{number},A,B,{},1999-03-17,7574\r\n", 1_000_000 + u32::from(number));
    setup.store_before(&(1..=CROWD).map(row).collect::<String>());
    setup
}

/// Sends batches one after the other. Returns how long the replies took, sorted.
fn times_of_an_honest_client(port: u16) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..TRIES {
        let start = Instant::now();
        let mut honest = AgencyConnection::open(port);
        honest.send(&packet_of(&number.to_string(), 100, 0));
        assert_eq!(honest.read_to_end(), [0, 0]);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times
}

#[test]
fn five_thousand_waiting_agencies_cost_little_delay_no_client_and_all_get_an_answer() {
    if !has_descriptors(DESCRIPTORS) {
        return;
    }
    let setup = before_the_draw_of_a_crowd();
    let central = setup.start();
    let (workers, typed) = (central.worker_pids(), central.port_of("typed"));
    let private = || workers.iter().copied().map(private_bytes).sum::<u64>();
    let before = private();

    let framed = |text: String| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let mut crowd: Vec<_> = (1..=CROWD)
        .map(|number| {
            let mut agency = central.connect();
            agency.send(&framed(format!("FINISHED|{number}\n")));
            agency.send(&framed(format!("QUERY_WINNERS|{number}\n")));
            agency
        })
        .collect();
    central.until_waiting(CROWD.into());

    let each = private().saturating_sub(before) / u64::from(CROWD);
    println!("{each} bytes of private memory per waiting connection");
    assert!(each < EACH, "{each}");
    let busiest = || {
        let before: Vec<_> = workers.iter().map(|pid| cpu_time(*pid)).collect();
        sleep(Duration::from_secs(1));
        workers.iter().zip(before).map(|(pid, before)| cpu_time(*pid) - before).max().unwrap()
    };
    // The workers may still read from an engine who has finished.
    eventually_within(Duration::from_secs(5), "an idle second", busiest, |used| *used < IDLE);
    let times = times_of_an_honest_client(typed);
    let (median, longest) = (times[TRIES / 2], times[TRIES - 1]);
    println!("an honest client was served in {median:?}, at most {longest:?}");
    assert!(median < Duration::from_millis(50), "{times:?}");

    let mut last = Participant::connect(central.port, "framed", CROWD + 1);
    last.finish();
    let start = Instant::now();
    for (number, agency) in (1_000_001..).zip(&mut crowd) {
        let winners = winners_reply("framed", &[number]);
        assert_eq!(agency.read_to_end(), [b"ACK\n", &winners[..]].concat());
    }
    let took = start.elapsed();
    println!("all answers within {took:?}");
    assert!(took < SOON, "{took:?}");
    assert_eq!(last.winners().1, winners_reply("framed", &[]));
    assert_eq!(central.worker_pids(), workers);
    drop((crowd, last));
    assert_eq!(count_draws(&central.stop_and_read_log()), 1);
}
