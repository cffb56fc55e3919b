//! Starts a central on the files that a power loss has left, and compares it with its promises.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::disk::{Disk, Files, Model};
use super::operations;
use super::promises::Promises;
use super::recording::{
    ANSWER, BETS_BEFORE, LINES_BEFORE, ROWS_BEFORE, Recording, WINNERS_BEFORE, setup,
};
use crate::harness::{CentralProcess, FileShim, Participant, Random, Setup, eventually};

/// Counts of the states that were checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// States.
    pub states: usize,
    /// States whose start was itself interrupted by a power loss, which led to other states.
    pub nested: usize,
    /// States that a start refused, as it may after a run with durability `process`.
    pub refused: usize,
    /// Batches that had to be stored, over all states.
    pub batches: usize,
}

/// Checks states one after the other, in one directory.
#[derive(Debug)]
pub struct Checker {
    setup: Setup,
    shim: FileShim,
    boots: usize,
    /// What has been checked.
    pub counts: Counts,
}

impl Checker {
    /// Returns a checker; `None` without a C compiler.
    pub fn new() -> Option<Self> {
        let setup = setup().with("SERVER_WORKERS", "1");
        let shim = FileShim::compile(&setup)?;
        Some(Self { setup, shim, boots: 0, counts: Counts::default() })
    }

    /// Checks a state. Sometimes also checks what a power loss during the start leaves, or what the
    /// next start finds after another batch.
    pub fn check(
        &mut self,
        state: &Files,
        model: Model,
        promises: &Promises,
        recording: &Recording,
        random: &mut Random,
    ) {
        let nested = random.below(16) == 0;
        let log = self.setup.directory().join("operations");
        let mut command = self.command();
        if nested {
            let _none = fs::remove_file(&log);
            self.shim.record(&mut command, &log);
        }
        self.write(state);
        let may_continue = random.below(8) == 0;
        match self.setup.try_start_by(&mut command) {
            Ok(central) => check_central(&self.setup, central, promises, recording, may_continue),
            Err(lines) => {
                assert!(promises.may_refuse, "refused: {}", lines.join("\n"));
                self.counts.refused += 1;
            }
        }
        self.counts.states += 1;
        self.counts.batches += promises.batches.len();
        if nested {
            self.counts.nested += 1;
            let operations = operations::read(&log);
            for _ in 0..3 {
                let mut disk = Disk::new(model, state);
                let some = random.below(operations.len() as u64 + 1) as usize;
                operations[..some].iter().for_each(|operation| disk.perform(operation, random));
                let (files, _) = disk.crash(random);
                self.write(&files);
                let mut command = self.command();
                let central = self.setup.try_start_by(&mut command);
                if promises.may_refuse && central.is_err() {
                    continue;
                }
                let central = central.unwrap_or_else(|lines| {
                    panic!("refused after a power loss in recovery: {}", lines.join("\n"))
                });
                check_central(&self.setup, central, promises, recording, false);
                self.counts.states += 1;
            }
        }
    }

    /// Returns the command of a central on a machine that has started again.
    fn command(&mut self) -> Command {
        let mut command = self.setup.command(&["run"]);
        self.boots += 1;
        self.shim.reboot(&mut command, self.boots);
        command
    }

    fn write(&self, files: &Files) {
        let directory = self.setup.stored("");
        let _none = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        for (name, content) in files {
            write_sparse(&directory.join(name), content);
        }
    }
}

/// Writes a file without the pages of zeros at its end, of which a journal mostly consists.
fn write_sparse(path: &Path, content: &[u8]) {
    const PAGE: usize = 4096;
    let used = content.chunks(PAGE).rposition(|page| page != &[0; PAGE][..page.len()]);
    let used = used.map_or(0, |page| content.len().min((page + 1) * PAGE));
    fs::write(path, &content[..used]).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
}

/// Checks a central that has recovered. If `may_continue`, it then stores another batch, is killed,
/// and the next start is checked.
fn check_central(
    setup: &Setup,
    central: CentralProcess<'_>,
    promises: &Promises,
    recording: &Recording,
    may_continue: bool,
) {
    let finished = check_totals(setup, &central, promises, recording);
    let (sessions, batches) = (&recording.sessions, &recording.batches);
    let rows = || setup.read_stored("bets.csv").split_off(ROWS_BEFORE.len());
    sessions.check(&central, batches, &rows(), finished == 2);
    if finished == 2 {
        central.until_drawn();
        let mut agency = Participant::connect(central.port_of("framed"), "framed", 1);
        agency.ask();
        assert_eq!(agency.winners().1, ANSWER.as_bytes());
        check_draw(setup, &central);
    } else if may_continue && !promises.may_refuse {
        let mut promises = promises.clone();
        promises.batches.insert(batches.send_acknowledged(central.port, 5, 2));
        promises.batches.extend(sessions.send_missing(&central, batches, &rows()));
        central.kill_all();
        let central = setup.start();
        check_totals(setup, &central, &promises, recording);
        sessions.check(&central, batches, &rows(), false);
    }
}

/// Checks files, counters and marks. With durability `disk`, no power loss takes an entry of the
/// index. Returns the number of agencies that have finished.
fn check_totals(
    setup: &Setup,
    central: &CentralProcess<'_>,
    promises: &Promises,
    recording: &Recording,
) -> u32 {
    let (rows, lines) = (setup.read_stored("bets.csv"), setup.read_stored("winners.log"));
    let rows = rows.strip_prefix(ROWS_BEFORE.as_bytes()).expect("the rows before the first start");
    let lines = lines.strip_prefix(LINES_BEFORE.as_bytes()).expect("their winners");
    let totals =
        recording.batches.check_stored(rows, lines, |batch| promises.batches.contains(&batch));
    if !promises.may_refuse {
        setup.assert_indexed();
    }
    let segment = central.segment();
    let bets = segment.raw_value::<u64>("bets").unwrap().load();
    let results = central.results();
    let counted = (bets, results.winners, results.in_flight);
    let expected = (totals.bets + BETS_BEFORE, totals.winners + WINNERS_BEFORE, 0);
    assert_eq!(counted, expected, "bets, winners and in flight");
    let finished = segment.raw_value::<u32>("finished").unwrap().load();
    let least = promises.finished.min(2);
    assert!((least..=2).contains(&finished), "{finished} agencies, {least} acknowledged");
    if promises.drawn {
        assert_eq!(segment.raw_value::<u8>("drawn").unwrap().load(), 1, "the draw is lost");
    }
    finished
}

/// Checks the result of the draw against the bets.
fn check_draw(setup: &Setup, central: &CentralProcess<'_>) {
    let bets = central.segment().raw_value::<u64>("bets").unwrap();
    let draw = eventually("the result", || setup.read_stored("draw.csv"), |draw| !draw.is_empty());
    let text = String::from_utf8(draw).unwrap();
    let title = format!("draw,{},", bets.load());
    assert!(text.starts_with(&title) && text.contains("\r\n1,11\r\n1,33\r\n"), "{text:?}");
}
