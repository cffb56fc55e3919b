//! The machine that the benches run on, and what else runs there.

use std::error::Error;
use std::fs::read_to_string;
use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

/// Returns processors, kernel, versions of the other sides, and the date.
pub fn described() -> Result<String, Box<dyn Error>> {
    let processors = read_to_string("/proc/cpuinfo")?;
    let model =
        processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    Ok(format!(
        "{}, {} processors; Linux {}; {}; {}; {}",
        model.trim_start_matches([' ', '\t', ':']),
        count(),
        read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        first_line("cc", "--version")?,
        first_line("python3", "--version")?,
        first_line("date", "+%Y-%m-%d")?,
    ))
}

fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn first_line(program: &str, argument: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new(program).arg(argument).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().next().unwrap_or_default().to_owned())
}

/// Measures how much processor time other programs use.
pub struct Others {
    begun: Instant,
    /// Processor seconds at the start that other programs had not used.
    left: f64,
}

impl Others {
    pub fn watch() -> Result<Self, Box<dyn Error>> {
        Ok(Self { begun: Instant::now(), left: left_by_others()? })
    }

    /// Returns the share of all processors that other programs have used since then, in percent.
    pub fn share(&self) -> Result<f64, Box<dyn Error>> {
        let all = self.begun.elapsed().as_secs_f64() * count() as f64;
        Ok((100.0 - 100.0 * (left_by_others()? - self.left) / all).max(0.0))
    }
}

/// Returns the idle processor seconds since the machine started, plus those of this process and of
/// its joined children.
fn left_by_others() -> Result<f64, Box<dyn Error>> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
    let statistics = read_to_string("/proc/stat")?;
    let all = statistics.lines().next().unwrap_or_default().split_whitespace().skip(1);
    // The first columns are user, nice, system, idle and iowait. Idle time is measured exactly, the
    // others only sampled.
    let idle = all
        .skip(3)
        .take(2)
        .try_fold(0.0, |sum, ticks| ticks.parse::<f64>().map(|ticks| sum + ticks))?;
    let mut own = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        own += usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    }
    Ok(idle / ticks + own as f64 / 1e6)
}
