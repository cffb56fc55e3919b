//! Processes of a central are killed in the middle of a load.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{BatchRecord, Load, Random, Setup, kill};

#[test]
fn killed_workers_lose_nothing_acknowledged_and_store_nothing_twice() {
    let mut setup = Setup::new().with("LOGGING_LEVEL", "INFO");
    let (typed, framed) = (setup.keep_port(), setup.keep_port());
    setup.set("SERVER_PROTOCOL", &format!("typed:{typed},framed:{framed}"));
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let mut load = Load::start(4, typed, &record, &mut random);
    load.add_kept(1..3, framed, &record, &mut random);
    for _ in 0..6 {
        random.pause(Duration::from_millis(400));
        let slot = random.below(2) as usize;
        let pid = central.worker_pids()[slot];
        if pid != 0 {
            kill(pid, Signal::SIGKILL);
        }
    }
    load.stop();
    record.check(&setup, &central);
    assert!(record.acknowledged() > 0);
    central.none_in_flight_within_a_second();
}

#[test]
fn a_central_that_is_killed_whole_starts_again_at_once_and_has_everything_acknowledged() {
    let mut setup = Setup::new().with("LOGGING_LEVEL", "INFO");
    let port = setup.keep_port();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    for round in 0..3 {
        let mut central = setup.start();
        if round > 0 {
            record.check(&setup, &central);
        }
        let load = Load::start(4, port, &record, &mut random);
        random.pause(Duration::from_millis(600));
        std::thread::sleep(Duration::from_millis(200));
        if round % 2 == 0 {
            central.kill_all();
        } else {
            // The workers end with it.
            central.program.signal(Signal::SIGKILL);
            central.program.exit_code();
        }
        load.stop();
    }
    let central = setup.start();
    record.check(&setup, &central);
    assert!(record.acknowledged() > 0);
}
