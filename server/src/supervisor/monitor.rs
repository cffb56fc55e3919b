//! The monitor as a child of the supervisor: it is executed, restarted when it ends, and ended with
//! the central. It only reads the shared memory, so nothing else of the central depends on it.

use std::env::current_exe;
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio, id};
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::{Outcome, error, info};

/// Name of the program. It is in the directory of the central's program.
const PROGRAM: &str = "loteria-monitor";
/// Pause before the first restart. Each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A monitor that has run for this long starts the pauses again.
const STEADY: Duration = Duration::from_secs(60);

/// The monitor of a central.
#[derive(Debug)]
pub struct Monitor {
    /// Where it listens.
    listen: SocketAddr,
    /// First port of the central.
    port: u16,
    child: Option<Child>,
    started: Instant,
    /// When it is started next, if it does not run.
    due: Instant,
    /// Pause after its next end.
    pause: Duration,
}

impl Monitor {
    /// Returns the monitor of the central whose first port is `port`. The first
    /// [`tick`](Self::tick) starts it.
    pub fn new(listen: SocketAddr, port: u16) -> Self {
        let now = Instant::now();
        Self { listen, port, child: None, started: now, due: now, pause: FIRST_PAUSE }
    }

    /// Starts the monitor if that is due, and notes whether it has ended.
    pub fn tick(&mut self) {
        let now = Instant::now();
        let Some(child) = &mut self.child else {
            if now >= self.due {
                self.start(now);
            }
            return;
        };
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => self.note_end(now, &describe(status)),
            // As the first process of a container, the pool reaps every child that it does not
            // know.
            Err(_) => self.note_end(now, "unknown exit"),
        }
    }

    /// Ends the monitor. It holds nothing that needs a graceful end.
    pub fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // An error means that it has ended already.
        if matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn start(&mut self, now: Instant) {
        self.started = now;
        match self.spawn() {
            Ok(child) => {
                info("monitor", Outcome::InProgress)
                    .with("pid", child.id())
                    .with("address", self.listen)
                    .write();
                self.child = Some(child);
            }
            Err(reason) => self.note_end(now, &format!("{PROGRAM}: {reason}")),
        }
    }

    /// Executes the program, which closes every descriptor of the central but the standard streams.
    /// It inherits the blocked signals of the supervisor, and unblocks them itself.
    fn spawn(&self) -> io::Result<Child> {
        let program = current_exe()?.with_file_name(PROGRAM);
        let mut command = Command::new(program);
        command.args(["--port", &self.port.to_string()]);
        command.args(["--listen", &self.listen.to_string()]);
        command.args(["--supervisor", &id().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    }

    fn note_end(&mut self, now: Instant, reason: &str) {
        self.child = None;
        if now.saturating_duration_since(self.started) >= STEADY {
            self.pause = FIRST_PAUSE;
        }
        self.due = now + self.pause;
        error("monitor", Outcome::Fail)
            .with("error", reason)
            .with("next", format!("start it again in {}", GoDuration(self.pause)))
            .write();
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

fn describe(status: ExitStatus) -> String {
    format!("the monitor has ended: {status}")
}
