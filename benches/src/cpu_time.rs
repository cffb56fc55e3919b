//! CPU time of a process and its descendants, read from `/proc`.

use std::collections::HashMap;
use std::time::Duration;
use std::{fs, io};

use nix::unistd::{SysconfVar, sysconf};

/// Returns the user and system time of process `root`, its living descendants and their reaped
/// children.
///
/// The times of reaped children have a resolution of one clock tick, 10 ms on most systems. Those
/// of living processes are exact where the kernel keeps them (`schedstat`): many processes that
/// each use less than a tick would otherwise seem to use nothing.
pub(crate) fn of_tree(root: u32) -> io::Result<Duration> {
    let processes = running()?;
    if !processes.contains_key(&root) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no process {root}")));
    }
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.ok_or(io::ErrorKind::Unsupported)?;
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
    let of_process = |(&pid, process): (&u32, &Process)| {
        time(process.reaped_ticks) + exact(pid).unwrap_or_else(|| time(process.ticks))
    };
    let tree = processes.iter().filter(|&(&pid, _)| descends_from(root, pid, &processes));
    Ok(tree.map(of_process).sum())
}

/// Returns the exact time of all threads of a process, if the kernel keeps it.
fn exact(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut nanoseconds = 0;
    for thread in threads.flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        nanoseconds += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

/// The relevant fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Process {
    parent: u32,
    /// User and system time of the process, in clock ticks.
    ticks: u64,
    /// That of its reaped children.
    reaped_ticks: u64,
}

fn running() -> io::Result<HashMap<u32, Process>> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The process may have ended after the directory was listed.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        processes.insert(pid, parse_stat(&stat).ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(processes)
}

/// Parses `/proc/PID/stat`. Its second field is the program's name in parentheses and may contain
/// any character, so the fields are counted after the last closing parenthesis, from field 3 of
/// proc(5).
fn parse_stat(line: &str) -> Option<Process> {
    let (_, rest) = line.rsplit_once(')')?;
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
    let parent = field(4)?.parse().ok()?;
    let sum = |numbers: [usize; 2]| {
        numbers.iter().map(|&number| field(number)?.parse::<u64>().ok()).sum::<Option<u64>>()
    };
    // utime and stime, cutime and cstime
    Some(Process { parent, ticks: sum([14, 15])?, reaped_ticks: sum([16, 17])? })
}

fn descends_from(root: u32, pid: u32, processes: &HashMap<u32, Process>) -> bool {
    let parent = |&pid: &u32| processes.get(&pid).map(|process| process.parent);
    std::iter::successors(Some(pid), parent).any(|ancestor| ancestor == root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 90 0 0 0 100 20 3 4 20 0 1 0 123 4096 1";
        assert_eq!(parse_stat(line), Some(Process { parent: 7, ticks: 120, reaped_ticks: 7 }));
    }

    #[test]
    fn descendants_are_found_over_several_generations() {
        let tree = [(1, 0), (2, 1), (3, 2), (9, 1)];
        let processes = tree
            .into_iter()
            .map(|(pid, parent)| (pid, Process { parent, ticks: 0, reaped_ticks: 0 }))
            .collect();
        assert!(descends_from(1, 3, &processes));
        assert!(descends_from(2, 2, &processes));
        assert!(!descends_from(2, 9, &processes));
    }

    #[test]
    fn the_exact_time_is_that_of_the_ticks() {
        let pid = std::process::id();
        let Some(before) = exact(pid) else { return };
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        let used = exact(pid).unwrap() - before;
        assert!(used > Duration::ZERO && used < Duration::from_secs(5), "{used:?}");
    }

    #[test]
    fn a_busy_process_uses_cpu_time() {
        let before = of_tree(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        assert!(of_tree(std::process::id()).unwrap() > before);
    }
}
