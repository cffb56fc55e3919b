//! What the view shows: the state of a central, its history, and what the user has selected.

use std::time::{Duration, Instant};

use super::format::duration;
use super::history::History;
use super::keys::Step;
use super::palette::Palette;
use crate::central::WorkerState;
use crate::inspect::DrawState;

/// How long a notice stays on the screen.
const NOTICE: Duration = Duration::from_secs(15);

/// One slot of the pool that has a worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The slot.
    pub slot: usize,
    /// Process id of the worker.
    pub pid: u32,
    /// What it is doing.
    pub state: WorkerState,
    /// Time since its start.
    pub uptime: Duration,
    /// Workers started in the slot after the first one.
    pub restarts: u32,
    /// Open connections.
    pub connections: u32,
    /// Batches in flight.
    pub in_flight: u16,
    /// Batches stored in the slot.
    pub batches: u64,
    /// True if this user may kill it from here.
    pub may_kill: bool,
}

/// The state of a central at one moment.
#[derive(Debug)]
pub struct Central {
    /// Distinguishes this central from an earlier one on the same port.
    pub segment: u64,
    /// First port that it listens on.
    pub port: u16,
    /// `starting`, `serving` or `draining`.
    pub phase: &'static str,
    /// Process id of its supervisor.
    pub supervisor: i32,
    /// Time since its start.
    pub uptime: Duration,
    /// Newest generation of workers.
    pub generation: u32,
    /// Stored bets.
    pub bets: u64,
    /// Winners among them.
    pub winners: u64,
    /// Agencies with a batch in flight.
    pub in_flight: u32,
    /// Time from the begin of a commit within which 99 of 100 commits since the start may be
    /// acknowledged, if there was one.
    pub latency: Option<Duration>,
    /// Workers that died without being asked to stop.
    pub deaths: u64,
    /// Connections that wait for the draw.
    pub waiting: u32,
    /// What the draw waits for.
    pub draw: DrawState,
    /// Reasons why a batch would not be served now.
    pub unhealthy: Vec<String>,
    /// The workers, by slot.
    pub workers: Vec<Worker>,
}

/// A worker that the user has killed and that is not replaced yet.
#[derive(Debug)]
struct Killed {
    slot: usize,
    pid: u32,
    at: Instant,
}

/// All that is on the screen.
#[derive(Debug)]
pub struct View {
    /// The central, or why there is none.
    pub central: Result<Central, String>,
    /// Its recent rates.
    pub history: History,
    /// Colours and marks.
    pub palette: Palette,
    /// Position of the selected worker.
    pub selected: usize,
    /// The last event, and when it happened.
    notice: Option<(String, Instant)>,
    killed: Option<Killed>,
    segment: Option<u64>,
}

impl View {
    /// Returns a view before the first read.
    pub fn new(palette: Palette) -> Self {
        Self {
            central: Err(String::new()),
            history: History::default(),
            palette,
            selected: 0,
            notice: None,
            killed: None,
            segment: None,
        }
    }

    /// Takes in what was read at a moment.
    pub fn update(&mut self, read: Result<Central, String>, now: Instant) {
        if self.notice.as_ref().is_some_and(|(_, since)| now.duration_since(*since) > NOTICE) {
            self.notice = None;
        }
        match &read {
            Ok(central) => {
                if self.segment.replace(central.segment).is_some_and(|old| old != central.segment) {
                    self.history = History::default();
                    self.killed = None;
                    let text = format!("a new central, supervisor {}", central.supervisor);
                    self.notice = Some((text, now));
                }
                self.history.record(central, now);
                self.selected = self.selected.min(central.workers.len().saturating_sub(1));
                self.check_replacement(&central.workers, now);
            }
            Err(_) => self.killed = None,
        }
        self.central = read;
    }

    /// Notes how long the replacement of the killed worker took, once it accepts.
    fn check_replacement(&mut self, workers: &[Worker], now: Instant) {
        let Some(Killed { slot, pid, at }) = self.killed else { return };
        let replacement = workers.iter().find(|worker| {
            worker.slot == slot && worker.pid != pid && worker.state == WorkerState::Ready
        });
        if let Some(worker) = replacement {
            let text = format!(
                "worker {slot} killed; pid {} accepts after {}",
                worker.pid,
                duration(now.duration_since(at)),
            );
            self.notice = Some((text, now));
            self.killed = None;
        }
    }

    /// Moves the selection.
    pub fn select(&mut self, step: Step, per_row: usize) {
        let Ok(central) = &self.central else { return };
        let last = central.workers.len().saturating_sub(1);
        let target = match step {
            Step::Next => self.selected.checked_add(1),
            Step::Previous => self.selected.checked_sub(1),
            Step::Down => self.selected.checked_add(per_row),
            Step::Up => self.selected.checked_sub(per_row),
        };
        self.selected = target.filter(|target| *target <= last).unwrap_or(self.selected);
    }

    /// Returns the selected worker and the supervisor, if the user may kill that worker.
    pub fn killable(&self) -> Option<(Worker, i32)> {
        let central = self.central.as_ref().ok()?;
        let worker = central.workers.get(self.selected)?;
        worker.may_kill.then(|| (worker.clone(), central.supervisor))
    }

    /// Notes that a worker was killed, or why not.
    pub fn record_kill(&mut self, slot: usize, pid: u32, killed: Result<(), String>, now: Instant) {
        let text = match killed {
            Ok(()) => {
                self.killed = Some(Killed { slot, pid, at: now });
                format!("worker {slot} killed")
            }
            Err(reason) => format!("worker {slot} not killed: {reason}"),
        };
        self.notice = Some((text, now));
    }

    /// Returns true while a killed worker has not been replaced.
    pub fn awaits_replacement(&self) -> bool {
        self.killed.is_some()
    }

    /// Returns the last event, while it is recent.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_ref().map(|(text, _)| text.as_str())
    }
}
