//! Everything at once: agencies keep ledgers while processes are killed and stopped, writes and
//! syncs fail, files reach a limit, and the central ends in every way and starts again with another
//! durability.
//!
//! After each run of the central the files are compared with the ledgers: nothing acknowledged is
//! lost, nothing is stored twice or in part, and the totals are those of the files. The ledgers
//! check every answer when it arrives.

mod disturbance;
mod resumption;
mod summary;

use std::sync::Arc;

use nix::sys::signal::Signal;

use crate::harness::{BatchRecord, CentralProcess, FileShim, Load, Random, Setup, in_rounds, kill};
use disturbance::{Disturbed, Outcome, write_settings};
use summary::Summary;

/// Runs of the central in a round, on the same files.
const RUNS: u64 = 4;
/// Most disturbances in a run.
const DISTURBANCES: u64 = 12;
/// Agencies with a connection per request.
const AGENCIES: usize = 4;
/// Agencies with a kept connection: their numbers.
const KEPT: std::ops::Range<u16> = 1..3;

/// How a run of the central ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// SIGKILL of all processes.
    KillAll,
    /// SIGKILL of the supervisor, with which the workers end.
    KillSupervisor,
    /// SIGTERM.
    Stop,
    /// SIGQUIT.
    Quit,
}

const ENDS: [End; 4] = [End::KillAll, End::KillSupervisor, End::Stop, End::Quit];

#[test]
fn whatever_happens_to_the_processes_and_the_files_nothing_acknowledged_is_lost_or_doubled() {
    let mut summary = Summary::default();
    in_rounds(4, |random| round(random, &mut summary));
}

/// Starts and ends a central several times on one storage.
fn round(random: &mut Random, summary: &mut Summary) {
    summary.set_seed(random.seed());
    let mut setup = if random.below(2) == 0 { Setup::new() } else { Setup::in_memory() };
    let (typed, framed) = (setup.keep_port(), setup.keep_port());
    setup.set("SERVER_PROTOCOL", &format!("typed:{typed},framed:{framed}"));
    setup.set("LOGGING_LEVEL", "INFO");
    // The number of workers comes from the file, which a reload reads again.
    setup.set("SERVER_WORKERS", "");
    let shim = FileShim::compile(&setup);
    let record = Arc::new(BatchRecord::default());
    for _ in 0..RUNS {
        setup.set("SERVER_DURABILITY", random.pick(&["disk", "process"]));
        write_settings(&setup, random.pick(&["SERVER_WORKERS = 2", "SERVER_WORKERS = 4"]));
        let mut command = setup.command(&["run"]);
        if let Some(shim) = &shim {
            shim.preload(&mut command);
        }
        let central = setup.start_by(&mut command);
        summary.compare(&record, &setup, &central);
        let mut load = Load::start(AGENCIES, typed, &record, random);
        load.add_kept(KEPT, framed, &record, random);
        disturb_and_end(central, shim.as_ref(), random, summary);
        load.stop();
        if let Some(shim) = &shim {
            shim.cancel();
        }
        summary.runs += 1;
    }
    write_settings(&setup, "SERVER_WORKERS = 2");
    let central = setup.start();
    summary.compare(&record, &setup, &central);
    central.none_in_flight_within_a_second();
    assert_eq!(central.stop().0, 0);
    setup.assert_nothing_left(typed);
    summary.add_round(&record);
}

/// Disturbs a central under load, then ends it.
fn disturb_and_end(
    central: CentralProcess<'_>,
    shim: Option<&FileShim>,
    random: &mut Random,
    summary: &mut Summary,
) {
    let mut disturbed = Disturbed::new(central, shim);
    for _ in 0..=random.below(DISTURBANCES) {
        if let Outcome::Ended = disturbed.disturb(random, summary) {
            return;
        }
    }
    let mut central = disturbed.into_central();
    match random.pick(&ENDS) {
        End::KillAll => {
            summary.kills_of_all += 1;
            central.kill_all();
        }
        End::KillSupervisor => {
            summary.kills_of_supervisors += 1;
            kill(central.program.pid(), Signal::SIGKILL);
            assert_eq!(central.program.exit_code(), 128 + 9);
        }
        End::Stop => {
            summary.stops += 1;
            central.program.signal(Signal::SIGTERM);
            let code = central.program.exit_code();
            assert_eq!(code, 0, "after SIGTERM: {:#?}", central.program.lines());
        }
        End::Quit => {
            summary.stops += 1;
            central.program.signal(Signal::SIGQUIT);
            central.program.exit_code();
        }
    }
}
