//! The supervisor's log lines: what it found, what it listens on, and how a worker ended.

use std::path::Path;
use std::time::Duration;

use conventions::duration::GoDuration;
use conventions::log_line::{Line, Outcome, debug, error, info, warn};
use multiprocessing::{Exit, Next, PoolEvent};
use nix::sys::signal::Signal;

use super::watchdog::Watchdog;
use crate::central::Shared;
use crate::config::Config;
use crate::listener::Listener;
use crate::log_file::log_to;
use crate::storage::Recovery;

/// Logs what a recovery found, unless there was nothing to recover.
pub fn log_recovery(recovery: &Recovery) {
    let Recovery { ledger, cut, kept_in, replayed, lost, counted, .. } = recovery;
    if ledger.bets == 0 && *cut == 0 && kept_in.is_empty() {
        return;
    }
    let line = if *lost == 0 { info } else { warn };
    let mut line = line("recovery", Outcome::Success)
        .with("bets", ledger.bets)
        .with("winners", ledger.winners)
        .with("journal_batches", replayed)
        .with("discarded_bytes", cut)
        .with("counted_from_bets_csv", counted);
    if !kept_in.is_empty() {
        line = line.with("kept_in", kept_in.join(" "));
    }
    if *lost > 0 {
        let reason = "the machine restarted, and SERVER_DURABILITY was process";
        line = line.with("lost_records", lost).with("reason", reason);
    }
    line.write();
}

/// Logs the settings of a start.
pub fn log_config(config: &Config, port: u16) {
    debug("config", Outcome::Success)
        .with("port", port)
        .with("listen_backlog", config.backlog)
        .with("logging_level", &config.log_level_text)
        .with("workers", config.workers)
        .with("storage", config.storage.description())
        .with("storage_dir", config.storage_dir.display())
        .with("durability", config.durability)
        .with("grace", GoDuration(config.grace))
        .with("request_timeout", GoDuration(config.request_timeout))
        .with("agencies", config.agencies)
        .write();
}

/// Returns the lines that report readiness: one per listening socket.
pub fn ready_lines(config: &Config, listeners: &[Listener]) -> Vec<Line> {
    let line = |listener: &Listener| {
        info("listen", Outcome::Success)
            .with("ip", listener.address.ip())
            .with("port", listener.address.port())
            .with("protocol", listener.dialect.name)
            .with("workers", config.workers)
            .with("backlog", listener.backlog)
            .with("requested_backlog", config.backlog)
    };
    listeners.iter().map(line).collect()
}

/// Opens the log file again, after it was renamed. The workers do the same.
pub fn reopen_log(path: Option<&Path>) {
    let Some(path) = path else {
        warn("reopen_log", Outcome::Fail)
            .with("error", "the log goes to standard error")
            .with("next", "none; set SERVER_LOG_FILE to log to a file")
            .write();
        return;
    };
    match log_to(path) {
        Ok(()) => info("reopen_log", Outcome::Success).with("file", path.display()).write(),
        Err(reason) => error("reopen_log", Outcome::Fail)
            .with("error", reason)
            .with("next", "keep the old file")
            .write(),
    }
}

/// Logs an event of the pool. `generation` is the newest one.
pub fn log_event(event: &PoolEvent, generation: u32, watchdog: &mut Watchdog, shared: &Shared) {
    let line = match event {
        PoolEvent::Started { slot, pid } => {
            debug("worker", Outcome::InProgress).with("worker", slot).with("pid", pid)
        }
        PoolEvent::Died { slot, pid, exit, uptime, next } => warn("worker", Outcome::Fail)
            .with("worker", slot)
            .with("pid", pid)
            .with("error", watchdog.describe(*pid, *exit))
            .with("uptime", GoDuration(whole_milliseconds(*uptime)))
            .with("next", follow_up(*next)),
        PoolEvent::Stuck { slot, pid, silent, state, signal } => {
            let held = shared.locks_of(*pid);
            watchdog.log_stuck(*slot, *pid, *silent, *state, *signal, &held);
            return;
        }
        PoolEvent::Backtrace { slot, pid, calls } => error("backtrace", Outcome::Fail)
            .with("worker", slot)
            .with("pid", pid)
            .with("calls", calls.join(" ")),
        PoolEvent::SpawnFailed { slot, reason } => {
            error("worker", Outcome::Fail).with("worker", slot).with("error", reason)
        }
        PoolEvent::AllReady if generation > 1 => {
            info("reload", Outcome::Success).with("generation", generation)
        }
        PoolEvent::Retired { slot, pid, uptime } => info("worker", Outcome::Success)
            .with("worker", slot)
            .with("pid", pid)
            .with("uptime", GoDuration(whole_milliseconds(*uptime)))
            .with("reason", "newer workers have replaced it"),
        PoolEvent::NotReplaced { slot } => info("worker", Outcome::Success)
            .with("worker", slot)
            .with("reason", "newer workers have replaced the dead one"),
        PoolEvent::Resized { workers } => {
            info("workers", Outcome::Success).with("workers", workers)
        }
        PoolEvent::Refused { signal, reason } => {
            warn("signal", Outcome::Fail).with("signal", signal).with("error", reason).with(
                "next",
                "change nothing; loteria-central status shows the workers that still finish",
            )
        }
        PoolEvent::Stopping { signal } => {
            let why = signal.map_or("worker", Signal::as_str);
            info("shutdown", Outcome::InProgress).with("reason", why)
        }
        PoolEvent::StopRepeated { signal } => info("signal", Outcome::InProgress)
            .with("signal", signal)
            .with("reason", "the central is stopping already"),
        PoolEvent::Killed { workers } => {
            warn("shutdown", Outcome::InProgress).with("killed_workers", workers)
        }
        PoolEvent::Ignored { signal } => warn("signal", Outcome::Fail)
            .with("signal", signal)
            .with("error", "not supported, ignored"),
        // One worker is ready, or an event that a later version of the library adds.
        _ => return,
    };
    line.write();
}

/// Describes how a worker died, with the likely cause.
pub fn describe(exit: Exit) -> String {
    let hint = if exit.is_signal(Signal::SIGKILL) { " (out of memory, or a kill -9?)" } else { "" };
    format!("{exit}{hint}")
}

/// Describes what the pool does about a death.
fn follow_up(next: Next) -> String {
    match next {
        Next::Restart => "start a replacement".to_owned(),
        Next::RestartAfter(pause) => format!("start a replacement in {}", GoDuration(pause)),
        Next::GiveUp | Next::CannotServe => "stop the central".to_owned(),
        Next::Stay => "none, the central is stopping".to_owned(),
        Next::Replaced => "none, newer workers have replaced it".to_owned(),
    }
}

/// Cuts a duration to the precision that is useful in a log.
pub fn whole_milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
