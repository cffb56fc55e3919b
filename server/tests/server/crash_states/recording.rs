//! A recorded history of one storage: several runs of a central under load, with the operations on
//! its files in their order.

use std::fs;
use std::sync::Arc;
use std::thread;

use super::disk::{Disk, Files, Model};
use super::operations::{self, Operation};
use super::sessions::Sessions;
use crate::harness::{BatchRecord, CentralProcess, FileShim, Participant, Random, Setup};

/// Rows that are in `bets.csv` before the first start, as from a program without a journal. They
/// are of the agencies that take part in the draw.
pub const ROWS_BEFORE: &str = "1,Ana,Paz,11,1999-03-17,7574\r\n2,Eva,Sol,22,1999-03-17,1033\r\n\
                               1,\"Leo, hijo\",Rey,33,1999-03-17,7574\r\n";
/// The lines of `winners.log` for them.
pub const LINES_BEFORE: &str = "Full name: Ana Paz | Document: 11 | Date of Birth: 17/03/1999\n\
                                Full name: Leo, hijo Rey | Document: 33 | Date of Birth: 17/03/1999\n";
/// Number of these rows.
pub const BETS_BEFORE: u64 = 3;
/// Number of these lines.
pub const WINNERS_BEFORE: u64 = 2;
/// The agencies that finish. Their marks are on different pages of the file, so that writing one
/// does not write the other again.
const AGENCIES: [u16; 2] = [1, 5000];
/// The answer to the first of them after the draw.
pub const ANSWER: &str = "WINNERS|11|33\n";

/// Files of which a sync fails.
const FAILING: [&str; 6] =
    ["journal", "bets.csv", "winners.log", "winners.idx", "finished", "sessions"];
const CLIENTS: usize = 3;
/// Bets of the largest ordinary batch: about 5 kB.
const MAX_BETS: u64 = 100;
/// Bets of a batch of which nine fill the journal.
const LARGE_BETS: usize = 20_000;

/// What a recording is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Runs with durability `disk` that are killed or stopped.
    Disk,
    /// The first run has durability `disk`, later ones any.
    ChangedDurability,
    /// A sync fails in some of the runs.
    FailedSync,
    /// The journal becomes full in the first run.
    FullJournal,
}

/// All subjects.
pub const SUBJECTS: [Subject; 4] =
    [Subject::Disk, Subject::ChangedDurability, Subject::FailedSync, Subject::FullJournal];

/// One run of a central.
#[derive(Debug)]
pub struct Run {
    /// Position of its first operation.
    pub first: usize,
    /// Position of the first operation after it was ready.
    pub ready: usize,
    /// True with durability `disk`.
    pub durable: bool,
}

/// The recorded history.
#[derive(Debug)]
pub struct Recording {
    /// The files before the first run.
    pub before: Files,
    /// What the central did.
    pub operations: Vec<Operation>,
    /// The runs.
    pub runs: Vec<Run>,
    /// What the agencies sent.
    pub batches: Arc<BatchRecord>,
    /// The sessions of some of them.
    pub sessions: Sessions,
}

impl Recording {
    /// Records the history of a new storage. `None` without a C compiler.
    pub fn new(subject: Subject, random: &mut Random) -> Option<Self> {
        let setup = setup();
        let shim = FileShim::compile(&setup)?;
        fs::create_dir(setup.stored("")).unwrap();
        fs::write(setup.stored("bets.csv"), ROWS_BEFORE).unwrap();
        let before = Files::from([("bets.csv".to_owned(), ROWS_BEFORE.into())]);
        let (log, batches) = (setup.directory().join("operations"), Arc::default());
        let (operations, runs, sessions) = (Vec::new(), Vec::new(), Sessions::new());
        let mut recording = Self { before, operations, runs, batches, sessions };
        let count = 2 + random.below(2);
        for run in 0..count {
            let changes = subject == Subject::ChangedDurability && run > 0;
            let durable = !changes || random.below(2) == 0;
            let durability = if durable { "disk" } else { "process" };
            let mut command = setup.command(&["run", "--durability", durability]);
            shim.record(&mut command, &log);
            let first = recording.operations.len();
            let central = setup.start_by(&mut command);
            let ready = operations::read(&log).len();
            recording.runs.push(Run { first, ready, durable });
            if subject == Subject::FullJournal && run == 0 {
                recording.load_sessions(central.port_of("keyed"), random);
                for _ in 0..10 {
                    recording.batches.send_batch(central.port, LARGE_BETS, 1);
                }
            }
            let failing = subject == Subject::FailedSync && run + 1 < count;
            let failure = failing.then(|| random.pick(&FAILING));
            let ports = [central.port, central.port_of("framed"), central.port_of("keyed")];
            recording.load(ports, &shim, failure, random);
            if run + 1 == count {
                hold_draw(&central);
            }
            let code = recording.end(central, failing, random);
            shim.cancel();
            recording.operations = operations::read(&log);
            assert!(failing || code.unwrap_or(0) == 0, "the central failed");
        }
        recording.check_completeness(&setup, random);
        Some(recording)
    }

    /// Lets clients send batches. If a sync is to fail, the failure comes in the middle, or, for a
    /// file that only a checkpoint syncs, when the central stops.
    fn load(
        &self,
        [port, framed, keyed]: [u16; 3],
        shim: &FileShim,
        failure: Option<&str>,
        random: &mut Random,
    ) {
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (batches, mut random) = (Arc::clone(&self.batches), random.split());
                thread::spawn(move || {
                    for _ in 0..random.below(8) {
                        let bets = 1 + random.below(MAX_BETS);
                        let winners = 1 + random.below(bets.min(3));
                        batches.send_batch(port, bets as usize, winners as usize);
                    }
                })
            })
            .collect();
        let agencies = self.sessions.agencies(keyed, &self.batches, random);
        clients.extend(agencies.into_iter().map(thread::spawn));
        if let Some(file) = failure {
            shim.fail_next(&format!("sync {file} error"));
            let agency = Participant::try_connect(framed, "framed", AGENCIES[0]);
            // The mark may not be acknowledged.
            let _refused = agency.and_then(|mut agency| agency.try_notify());
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
    }

    /// Lets only the agencies with sessions send batches.
    fn load_sessions(&self, port: u16, random: &mut Random) {
        let agencies = self.sessions.agencies(port, &self.batches, random);
        let agencies: Vec<_> = agencies.into_iter().map(thread::spawn).collect();
        agencies.into_iter().for_each(|agency| agency.join().unwrap());
    }

    /// Ends a run, and returns the exit code unless it was killed. All clients have ended, so every
    /// operation is in the record.
    fn end(&self, central: CentralProcess<'_>, failing: bool, random: &mut Random) -> Option<i32> {
        let mut central = central;
        if !failing && random.below(2) == 0 {
            central.kill_all();
            return None;
        }
        central.program.signal(nix::sys::signal::Signal::SIGTERM);
        Some(central.program.exit_code())
    }

    /// Checks that the record has every change: the simulated cache holds what the files hold.
    fn check_completeness(&self, setup: &Setup, random: &mut Random) {
        let mut disk = Disk::new(Model::Ordered, &self.before);
        self.operations.iter().for_each(|operation| disk.perform(operation, random));
        let seen = disk.seen();
        let entries = fs::read_dir(setup.stored("")).unwrap().flatten();
        let stored: Files = entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name.clone(), setup.read_stored(&name))
            })
            .collect();
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&seen), names(&stored), "the record lacks a change of a name");
        for (name, content) in &stored {
            assert!(seen[name] == *content, "the record lacks a change of {name}");
        }
    }
}

/// Lets the two agencies finish, and one ask for its winners.
fn hold_draw(central: &CentralProcess<'_>) {
    let port = central.port_of("framed");
    let mut agencies = AGENCIES.map(|number| Participant::connect(port, "framed", number));
    agencies.iter_mut().for_each(|agency| agency.try_notify().unwrap());
    agencies[0].ask();
    assert_eq!(agencies[0].winners().1, ANSWER.as_bytes());
}

/// Returns the setup of a recorded central and of those that recover from it.
pub fn setup() -> Setup {
    Setup::in_memory()
        .with("SERVER_PROTOCOL", "typed:0,framed:0,keyed:0")
        .with("SERVER_WORKERS", "2")
        .with("SERVER_AGENCIES", "2")
        .with("SERVER_DURABILITY", "disk")
        .with("LOGGING_LEVEL", "INFO")
}
