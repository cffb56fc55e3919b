//! Agencies that wait for the draw, many of them: they cost little memory and no processor time, delay nobody, and are all answered.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::{
    Agency, FIVE, Participant, Setup, Stopped, allow_descriptors, bets_with, cpu_time, draws,
    eventually, large_packet, numbered_bet, packet_of, private_bytes, vector, winners_reply,
};

fn setup(protocol: &str) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_server")).with("SERVER_PROTOCOL", protocol)
}

#[test]
fn a_question_that_arrives_in_two_pieces_right_behind_the_notification_waits_like_any_other() {
    let setup = setup("framed:0,typed:0").with("SERVER_AGENCIES", "2").with("SERVER_WORKERS", "1");
    let central = setup.start();
    let mut agency = Participant::connect(central.port, "framed", 1);
    agency.store(&bets_with(FIVE[0]));
    let mut agency = agency.into_connection();
    // Busy for long enough that the second piece arrives in the same round in which the first was read.
    let busy = central.port_of("typed");
    let mut others: Vec<_> = (0..100).map(|_| Agency::connect(busy)).collect();
    let connections = central.segment().raw_array::<u32>("worker_connections").unwrap();
    eventually("all are accepted", || connections.load(0), |count| *count == 101);
    let (finished, query) = (vector("framed", "finished_1"), vector("framed", "query_1"));
    let (half, rest) = query.split_at(5);
    let worker = Stopped::new(central.worker_pids()[0]);
    agency.send(&[&finished, half].concat());
    others.iter_mut().for_each(|other| other.send(&large_packet("b", 1000, 0)));
    drop(worker);
    let processing = central.segment().raw_array::<u16>("in_flight").unwrap();
    eventually("the others begun", || processing.load(0), |count| *count > 0);
    agency.send(rest);

    assert_eq!(agency.read_bytes(4), vector("framed", "ack"));
    central.agencies_wait(1);
    others.iter_mut().for_each(|other| assert_eq!(other.read_to_end(), [0, 0]));
    assert!(agency.hears_nothing(), "it waits");
    let mut last = Participant::connect(central.port, "framed", 2);
    last.finish();
    assert_eq!(last.winners().1, winners_reply("framed", &[]));
    assert_eq!(agency.read_to_end(), vector("framed", "winners_L"));
}

/// Agencies as far as a byte can number them.
const NUMBERED: u16 = 255;

#[test]
fn every_agency_that_a_byte_can_number_waits_on_two_workers_and_is_answered() {
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
        central.agencies_wait(u32::from(NUMBERED) - 1);
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
        assert_eq!(draws(&central.stop_and_read_log()), 1, "{dialect}");
    }
}

/// A crowd, and descriptors for it and the test.
const CROWD: u16 = 5000;
const DESCRIPTORS: u64 = 5500;
/// Private memory a waiting connection may cost.
const EACH: u64 = 20_000;
/// Processor time a worker may use in a second in which it only waits: a tenth of it.
const IDLE: Duration = Duration::from_millis(100);
const TRIES: usize = 20;
/// In which the whole crowd has its answers.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn five_thousand_agencies_wait_cheaply_delay_nobody_and_are_all_answered() {
    if !allow_descriptors(DESCRIPTORS) {
        println!("SKIPPED: this system does not allow {DESCRIPTORS} descriptors");
        return;
    }
    let setup = setup("framed:0,typed:0")
        .with("SERVER_AGENCIES", &(CROWD + 1).to_string())
        .with("LOGGING_LEVEL", "INFO");
    fs::create_dir(setup.stored("")).unwrap();
    // Each has a winner of its own, so that no answer can be taken for another's.
    let row =
        |number| format!("{number},A,B,{},1999-03-17,7574\r\n", 1_000_000 + u32::from(number));
    fs::write(setup.stored("bets.csv"), (1..=CROWD).map(row).collect::<String>()).unwrap();
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
    central.agencies_wait(CROWD.into());

    let each = private().saturating_sub(before) / u64::from(CROWD);
    println!("{each} bytes of private memory for each that waits");
    assert!(each < EACH, "{each}");
    let used: Vec<_> = workers.iter().map(|pid| cpu_time(*pid)).collect();
    sleep(Duration::from_secs(1));
    for (pid, before) in workers.iter().zip(used) {
        let used = cpu_time(*pid) - before;
        assert!(used < IDLE, "a worker with nothing to do used {used:?} in a second");
    }
    let mut times = Vec::new();
    for number in 0..TRIES {
        let start = Instant::now();
        let mut honest = Agency::connect(typed);
        honest.send(&packet_of(&number.to_string(), 100, 0));
        assert_eq!(honest.read_to_end(), [0, 0]);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("served among them in {:?}, at most {:?}", times[TRIES / 2], times[TRIES - 1]);
    assert!(times[TRIES / 2] < Duration::from_millis(50), "{times:?}");

    let mut last = Participant::connect(central.port, "framed", CROWD + 1);
    last.finish();
    let start = Instant::now();
    for (number, agency) in (1_000_001..).zip(&mut crowd) {
        let winners = winners_reply("framed", &[number]);
        assert_eq!(agency.read_to_end(), [b"ACK\n", &winners[..]].concat());
    }
    let took = start.elapsed();
    println!("all were answered in {took:?}");
    assert!(took < SOON, "{took:?}");
    assert_eq!(last.winners().1, winners_reply("framed", &[]));
    assert_eq!(central.worker_pids(), workers);
    drop((crowd, last));
    assert_eq!(draws(&central.stop_and_read_log()), 1);
}
