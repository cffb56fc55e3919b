//! The supervisor's log lines: what it found, what it listens on, and how a worker ended.

use std::time::Duration;

use conventions::duration::GoDuration;
use conventions::log_line::{Line, Outcome, debug, error, info};
use multiprocessing::{Exit, Next};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::config::Config;
use crate::listener::Listener;
use crate::storage::Recovery;

/// Logs what a recovery found, unless there was nothing to recover.
pub fn log_recovery(recovery: &Recovery) {
    let Recovery { ledger, cut, replayed, counted, .. } = *recovery;
    if ledger.bets == 0 && cut == 0 {
        return;
    }
    info("recovery", Outcome::Success)
        .with("bets", ledger.bets)
        .with("winners", ledger.winners)
        .with("journal_batches", replayed)
        .with("discarded_bytes", cut)
        .with("counted_from_bets_csv", counted)
        .write();
}

/// Logs where a worker was when the watchdog ended it.
pub fn log_backtrace(slot: usize, pid: Pid, calls: &[String]) {
    error("backtrace", Outcome::Fail)
        .with("worker", slot)
        .with("pid", pid)
        .with("calls", calls.join(" "))
        .write();
}

/// Logs the settings of a start.
pub fn log_config(config: &Config, port: u16) {
    debug("config", Outcome::Success)
        .with("port", port)
        .with("listen_backlog", config.backlog)
        .with("logging_level", &config.log_level_text)
        .with("workers", config.workers)
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

/// Describes how a worker died, with the likely cause.
pub fn describe(exit: Exit) -> String {
    let hint = if exit.is_signal(Signal::SIGKILL) { " (out of memory, or a kill -9?)" } else { "" };
    format!("{exit}{hint}")
}

/// Describes what the pool does about a death.
pub fn follow_up(next: Next) -> String {
    match next {
        Next::Restart => "start a replacement".to_owned(),
        Next::RestartAfter(pause) => format!("start a replacement in {}", GoDuration(pause)),
        Next::GiveUp | Next::CannotServe => "stop the central".to_owned(),
        Next::Stay => "none, the central is stopping".to_owned(),
    }
}

/// Cuts a duration to the precision that is useful in a log.
pub fn whole_milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
