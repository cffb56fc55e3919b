//! What a run has done and found, as a table.

use crate::harness::{BatchRecord, CentralProcess, Setup};

/// Counts over all rounds. Printed when it is dropped, also if a check has failed.
#[derive(Debug, Default)]
pub struct Summary {
    seed: u64,
    rounds: usize,
    batches: usize,
    answers: u64,
    rows: usize,
    lost: usize,
    doubled: usize,
    torn: usize,
    /// Runs of a central.
    pub runs: usize,
    /// Workers killed, lock holders included.
    pub kills_of_workers: usize,
    /// Workers killed while they held a lock.
    pub kills_of_lock_holders: usize,
    /// Supervisors killed alone.
    pub kills_of_supervisors: usize,
    /// Centrals killed as a whole.
    pub kills_of_all: usize,
    /// Clients killed.
    pub kills_of_clients: usize,
    /// Times when processes were stopped and continued.
    pub pauses: usize,
    /// Centrals asked to stop.
    pub stops: usize,
    /// Reloads of the settings, and changes of the number of workers.
    pub reloads: usize,
    /// Writes that failed, or wrote a part.
    pub failed_writes: usize,
    /// Syncs that failed.
    pub failed_syncs: usize,
    /// Times when files reached a limit.
    pub full_disks: usize,
}

impl Summary {
    /// Compares the files of an idle central with the record.
    pub fn compare(&mut self, record: &BatchRecord, setup: &Setup, central: &CentralProcess<'_>) {
        let differences = record.compare(setup, central);
        self.lost += differences.lost;
        self.doubled += differences.doubled;
        self.torn += differences.torn;
        differences.none();
    }

    /// Sets the seed of the run.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Adds rows of files that are stored once and in order.
    pub fn add_rows(&mut self, rows: usize) {
        self.rounds += 1;
        self.rows += rows;
    }

    /// Adds a round that has ended.
    pub fn add_round(&mut self, record: &BatchRecord) {
        self.rounds += 1;
        self.batches += record.acknowledged();
        self.answers += record.answers();
    }
}

impl Drop for Summary {
    fn drop(&mut self) {
        let kills = self.kills_of_workers + self.kills_of_supervisors + self.kills_of_all;
        let of = format!(
            "{} workers ({} with a lock), {} supervisors, {} times everything",
            self.kills_of_workers,
            self.kills_of_lock_holders,
            self.kills_of_supervisors,
            self.kills_of_all
        );
        let lines = [
            ("seed", self.seed, String::new()),
            ("rounds", self.rounds as u64, format!("{} runs of a central", self.runs)),
            ("kills", kills as u64, of),
            ("killed clients", self.kills_of_clients as u64, "they resume".to_owned()),
            ("pauses", self.pauses as u64, "SIGSTOP, then SIGCONT".to_owned()),
            ("stops", self.stops as u64, "SIGTERM or SIGQUIT".to_owned()),
            ("reloads", self.reloads as u64, "SIGHUP, SIGTTIN or SIGTTOU".to_owned()),
            ("failed writes", self.failed_writes as u64, "error, short or torn".to_owned()),
            ("failed syncs", self.failed_syncs as u64, String::new()),
            ("full disks", self.full_disks as u64, "limits of file sizes".to_owned()),
            ("batches", self.batches as u64, "acknowledged".to_owned()),
            ("answers", self.answers, "explained by an order of the batches".to_owned()),
            ("rows", self.rows as u64, "of files, stored once and in order".to_owned()),
            ("lost", self.lost as u64, String::new()),
            ("doubled", self.doubled as u64, String::new()),
            ("torn", self.torn as u64, String::new()),
        ];
        // Some tests have no such clients, and others nothing else.
        let optional = ["killed clients", "batches", "answers", "rows"];
        for (what, count, details) in lines {
            if count == 0 && optional.contains(&what) {
                continue;
            }
            println!("{}", format!("{what:<14}{count:>20}  {details}").trim_end());
        }
    }
}
