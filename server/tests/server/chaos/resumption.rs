//! Agencies that resume: the real clients send files in `keyed` while they, the workers and the
//! central are killed, and every row is stored once, in the order of its file.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;

use super::disturb_and_end;
use super::disturbance::write_settings;
use super::summary::Summary;
use crate::harness::{FileShim, Random, ResumingClient, Setup, client_program, in_rounds};

/// Runs of the central in a round, on the same files.
const RUNS: u64 = 4;
/// Rows of each file: more than the clients send in the runs that are disturbed.
const ROWS: usize = 20_000;
/// Numbers of the agencies.
const AGENCIES: std::ops::Range<u16> = 1..4;

#[test]
fn whatever_is_killed_every_row_of_a_file_is_stored_once_in_order() {
    let Some(program) = client_program() else { return };
    let (mut summary, kills) = (Summary::default(), AtomicUsize::new(0));
    in_rounds(2, |random| {
        summary.set_seed(random.seed());
        let mut setup = if random.below(2) == 0 { Setup::new() } else { Setup::in_memory() };
        let port = setup.keep_port();
        for (key, value) in [
            ("SERVER_PROTOCOL", "keyed"),
            ("SERVER_AGENCIES", "3"),
            ("LOGGING_LEVEL", "INFO"),
            ("SERVER_WORKERS", ""),
        ] {
            setup.set(key, value);
        }
        let shim = FileShim::compile(&setup);
        let clients: Vec<_> = AGENCIES
            .map(|number| ResumingClient::new(&program, setup.directory(), number, ROWS))
            .collect();
        for _ in 0..RUNS {
            disturbed_run(&mut setup, port, &clients, shim.as_ref(), random, &mut summary, &kills);
        }
        finish(&setup, port, &clients);
        summary.add_rows(ROWS * clients.len());
    });
    summary.kills_of_clients = kills.into_inner();
}

/// Sets a flag when it is dropped.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Starts the central, and disturbs and ends it while the clients work.
fn disturbed_run(
    setup: &mut Setup,
    port: u16,
    clients: &[ResumingClient],
    shim: Option<&FileShim>,
    random: &mut Random,
    summary: &mut Summary,
    kills: &AtomicUsize,
) {
    setup.set("SERVER_DURABILITY", random.pick(&["disk", "process"]));
    write_settings(setup, random.pick(&["SERVER_WORKERS = 2", "SERVER_WORKERS = 4"]));
    let mut command = setup.command(&["run"]);
    if let Some(shim) = shim {
        shim.preload(&mut command);
    }
    let central = setup.start_by(&mut command);
    let stop = AtomicBool::new(false);
    scope(|scope| {
        // Also after a panic, or the scope would wait for the clients for ever.
        let stopping = SetOnDrop(&stop);
        for client in clients {
            let (stop, random) = (&stop, random.split());
            scope.spawn(move || {
                let killed = client.run_and_kill(port, stop, random);
                kills.fetch_add(killed, Ordering::SeqCst);
            });
        }
        disturb_and_end(central, shim, random, summary);
        drop(stopping);
    });
    if let Some(shim) = shim {
        shim.cancel();
    }
    summary.runs += 1;
}

/// Lets the clients send the rest, and compares the files of the central with theirs.
fn finish(setup: &Setup, port: u16, clients: &[ResumingClient]) {
    write_settings(setup, "SERVER_WORKERS = 2");
    let central = setup.start();
    scope(|scope| {
        for client in clients {
            scope.spawn(move || client.run_to_the_end(port));
        }
    });
    let rows = setup.rows();
    for client in clients {
        client.assert_stored_once(&rows);
        client.assert_has_its_winners();
    }
    let winners: usize = clients.iter().map(ResumingClient::winners).sum();
    assert_eq!(rows.len(), ROWS * clients.len());
    assert_eq!(central.number("winners"), winners as u64);
    central.none_in_flight_within_a_second();
    assert_eq!(central.stop().0, 0);
    setup.assert_nothing_left(port);
}
