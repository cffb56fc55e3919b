//! A round of the event loop: batches that arrive together are committed together, and one that
//! cannot be stored does not affect the others.

use std::fs;
use std::thread;
use std::time::Duration;

use lottery::protocol::{Answer, Push, Receipt, typed};
use nix::sys::signal::Signal;

use crate::harness::{
    AgencyConnection, BatchRecord, CentralProcess, Random, Setup, StoppedProcess, bet, bytes_read,
    codec, eventually, in_rounds, kill, large_packet, packet_in, packet_of,
};

fn setup(durability: &str) -> Setup {
    Setup::new()
        .with("SERVER_WORKERS", "1")
        .with("SERVER_DURABILITY", durability)
        .with("LOGGING_LEVEL", "INFO")
}

/// Connects one agency per packet, and sends all packets while the only worker is stopped, so that
/// they arrive in one round.
fn in_one_round(
    central: &CentralProcess<'_>,
    worker: u32,
    packets: &[Vec<u8>],
) -> Vec<AgencyConnection> {
    let mut agencies: Vec<AgencyConnection> = packets.iter().map(|_| central.connect()).collect();
    eventually(
        "accepted connections",
        || central.connections(),
        |count| *count == packets.len() as u64,
    );
    let stopped = StoppedProcess::new(worker);
    for (agency, packet) in agencies.iter_mut().zip(packets) {
        agency.send(packet);
    }
    drop(stopped);
    agencies
}

/// Returns everything that each agency receives until its connection ends.
fn replies(mut agencies: Vec<AgencyConnection>) -> Vec<Vec<u8>> {
    agencies.iter_mut().map(AgencyConnection::read_until_gone).collect()
}

/// Returns how many `write` calls a process has made, of any kind but to sockets.
fn writes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn batches_that_arrive_in_one_round_are_committed_together() {
    const BATCHES: usize = 16;
    for durability in ["process", "disk"] {
        let setup = setup(durability);
        let central = setup.start();
        let worker = central.worker_pids()[0];
        let packets: Vec<_> =
            (0..BATCHES).map(|batch| packet_of(&batch.to_string(), 10, 3)).collect();
        let before = writes(worker);
        let replies = replies(in_one_round(&central, worker, &packets));

        // Rows, winner lines, entries of the index, journal records and log lines: one write each.
        // The log comes last.
        let written = eventually("the log", || writes(worker) - before, |written| *written >= 5);
        assert_eq!(written, 5, "{durability}");
        let stored = || central.program.count_lines_with("apuesta_recibida | result: success");
        eventually("one log line per batch", stored, |count| *count == BATCHES);
        for (batch, reply) in replies.iter().enumerate() {
            let winners = typed::decode_winners(reply).unwrap().unwrap();
            let documents: Vec<_> = winners.iter().map(|bet| bet.document.to_string()).collect();
            let expected: Vec<_> = (0..3).map(|bet| format!("{batch}-{bet}")).collect();
            assert_eq!(documents, expected, "{durability}");
        }
        let counts = ["bets", "winners", "agencies_in_flight"].map(|key| central.number(key));
        assert_eq!(counts, [BATCHES as u64 * 10, BATCHES as u64 * 3, 0], "{durability}");
        let rows = setup.rows();
        assert_eq!(central.worker_numbers("batches"), [BATCHES as u64]);

        // Each batch has a journal record of its own.
        central.kill_all();
        let central = setup.start();
        central.program.line_with(&format!("journal_batches: {BATCHES}"));
        assert_eq!(setup.rows(), rows, "{durability}");
    }
}

#[test]
fn a_round_without_a_winner_writes_rows_records_and_log_lines_only() {
    for durability in ["process", "disk"] {
        let setup = setup(durability);
        let central = setup.start();
        let worker = central.worker_pids()[0];
        let packets: Vec<_> = (0..4).map(|batch| packet_of(&batch.to_string(), 10, 0)).collect();
        let before = writes(worker);
        assert_eq!(replies(in_one_round(&central, worker, &packets)), [[0, 0]; 4]);
        let written = eventually("the log", || writes(worker) - before, |written| *written >= 3);
        assert_eq!(written, 3, "{durability}");
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused_and_the_others_of_its_round_are_stored() {
    /// A limit on the size of files, in blocks of 512 bytes. The journal is smaller.
    const LIMIT_BLOCKS: usize = 69_632;
    const ROOM: usize = 60_000;
    for durability in ["process", "disk"] {
        let setup = setup(durability);
        fs::create_dir(setup.stored("")).unwrap();
        let row = b"0,Santiago Lionel,Lorca,0-0,1999-03-17,1033\r\n";
        let rows_before = (LIMIT_BLOCKS * 512 - ROOM) / row.len();
        fs::write(setup.stored("bets.csv"), row.repeat(rows_before)).unwrap();
        let script = format!("ulimit -S -f {LIMIT_BLOCKS} && exec \"$0\" run");
        let central = setup.start_by(&mut setup.shell(&[], &script));
        let worker = central.worker_pids()[0];

        let mut packets: Vec<_> =
            (0..6).map(|batch| packet_of(&batch.to_string(), 100, 2)).collect();
        packets.insert(3, large_packet("large", 3000, 1));
        let replies = replies(in_one_round(&central, worker, &packets));
        let winners = replies.iter().map(|reply| typed::decode_winners(reply).unwrap());
        let winners: Vec<_> = winners.map(|winners| winners.map(|winners| winners.len())).collect();
        let (stored, refused) = (Some(2), None);
        assert_eq!(winners, [stored, stored, stored, refused, stored, stored, stored]);
        let line = central.program.line_with("action: receive_message | result: fail");
        assert!(line.contains("File too large"), "{line}");

        let rows = setup.rows().split_off(rows_before);
        let documents: Vec<_> = rows.iter().map(|row| row.split(',').nth(3).unwrap()).collect();
        let expected = (0..6).flat_map(|batch| (0..100).map(move |bet| format!("{batch}-{bet}")));
        assert_eq!(documents, expected.collect::<Vec<_>>(), "{durability}");
        let counts = ["bets", "winners", "agencies_in_flight"].map(|key| central.number(key));
        assert_eq!(counts, [rows_before as u64 + 600, 12, 0], "{durability}");
        assert_eq!((central.worker_pids(), central.number("worker_deaths")), (vec![worker], 0));
        assert_eq!(central.stop().0, 0);
    }
}

#[test]
fn refused_batches_do_not_hold_the_lock_of_the_ledger_while_the_journal_is_read() {
    /// A limit on the size of files, in blocks of 512 bytes. The journal is smaller.
    const LIMIT_BLOCKS: usize = 69_632;
    let setup = setup("process");
    fs::create_dir(setup.stored("")).unwrap();
    let row = b"0,Santiago Lionel,Lorca,0-0,1999-03-17,1033\r\n";
    let rows_before = (LIMIT_BLOCKS * 512 - 30_000) / row.len();
    fs::write(setup.stored("bets.csv"), row.repeat(rows_before)).unwrap();
    let script = format!("ulimit -S -f {LIMIT_BLOCKS} && exec \"$0\" run");
    let central = setup.start_by(&mut setup.shell(&[], &script));
    let worker = central.worker_pids()[0];
    for batch in 0..200 {
        assert!(central.request(&packet_of(&batch.to_string(), 1, 0)).len() > 1);
    }
    let packets: Vec<_> =
        (0..30).map(|batch| large_packet(&format!("l{batch}"), 1500, 0)).collect();
    let before = bytes_read(worker);
    for reply in replies(in_one_round(&central, worker, &packets)) {
        assert_eq!(typed::decode_winners(&reply).unwrap(), None);
    }
    let read = bytes_read(worker) - before;
    assert!(read < 50_000, "{read} bytes");
    assert_eq!(central.number("bets"), rows_before as u64 + 200);
    assert_eq!(central.number("agencies_in_flight"), 0);
}

#[test]
fn every_request_that_arrives_in_one_piece_is_answered_even_after_refused_ones() {
    let setup = setup("process").with("SERVER_PROTOCOL", "framed");
    let central = setup.start();
    let mut codec = codec("framed", 1);
    let good = packet_in(&mut *codec, &[bet("good", false)]);
    // The codec compares a receipt with the batch that it holds.
    assert_eq!(codec.push(&bet("good", false)), Ok(Push::Added));
    // A refused message is answered at once, without a commit.
    let date = good.windows(10).position(|text| text == b"1999-03-17").unwrap();
    let mut bad = good.clone();
    bad[date + 5] = b'9';
    let mut agency = central.connect();
    agency.send(&[&bad[..], &bad, &bad, &good, &bad, &good].concat());
    let receipts = [(); 6].map(|()| agency.read_reply(|reply| codec.receipt(reply)));
    let (stored, refused) = (Receipt::Stored { winners: None }, Receipt::Refused);
    assert_eq!(receipts, [refused, refused, refused, stored, refused, stored]);
}

#[test]
fn a_batch_in_the_round_of_the_last_finish_mark_is_stored_before_bets_close() {
    let setup = setup("process").with("SERVER_PROTOCOL", "framed").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut codec = codec("framed", 1);
    let finish = codec.notification().unwrap();
    let batch = packet_in(&mut *codec, &[bet("last", true)]);
    assert_eq!(codec.push(&bet("last", true)), Ok(Push::Added));
    let mut agencies = in_one_round(&central, central.worker_pids()[0], &[finish, batch.clone()]);
    agencies[0].read_reply(|reply| codec.acknowledgement(reply));
    let stored = agencies[1].read_reply(|reply| codec.receipt(reply));
    assert_eq!(stored, Receipt::Stored { winners: None });
    agencies[0].send(&codec.question());
    assert_eq!(agencies[0].read_reply(|reply| codec.answer(reply)), Answer::Winners(1));
    agencies[1].send(&batch);
    assert_eq!(agencies[1].read_reply(|reply| codec.receipt(reply)), Receipt::Refused);
}

/// Kills the only worker at a random moment after several batches have arrived in one round.
fn kill_in_a_round(durability: &str, random: &mut Random) {
    const DEATHS: u32 = 40;
    const BATCHES: usize = 8;
    let setup = setup(durability);
    let central = setup.start();
    let segment = central.segment();
    let pids = segment.raw_array::<u32>("worker_pid").unwrap();
    let restarts = segment.raw_array::<u32>("worker_restarts").unwrap();
    let record = BatchRecord::default();
    for death in 1..=DEATHS {
        let stopped = StoppedProcess::new(pids.load(0));
        thread::scope(|scope| {
            for _ in 0..BATCHES {
                scope.spawn(|| record.send_batch(central.port, 20, 5));
            }
            thread::sleep(Duration::from_millis(10));
            let pid = stopped.pid();
            drop(stopped);
            random.pause(Duration::from_millis(2));
            kill(pid, Signal::SIGKILL);
        });
        eventually("a successor", || restarts.load(0), |count| *count == death);
    }
    central.none_in_flight_within_a_second();
    let totals = record.check(&setup, &central);
    println!("{totals:?}, {} batches acknowledged", record.acknowledged());
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_worker_killed_during_a_commit_leaves_each_batch_of_the_round_whole_or_absent() {
    in_rounds(1, |random| kill_in_a_round("process", random));
}

#[test]
fn a_worker_killed_during_a_commit_leaves_each_batch_of_the_round_whole_or_absent_with_durability_disk()
 {
    in_rounds(1, |random| kill_in_a_round("disk", random));
}
