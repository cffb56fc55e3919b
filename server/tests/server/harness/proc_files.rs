//! What `/proc` and `/dev/shm` say about processes and shared memory.

use std::path::Path;
use std::time::Duration;

/// Fields of `/proc/PID/stat`, counted from the state, the first after the command.
const STATE: usize = 0;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;

/// Returns a field of `/proc/PID/stat`; `None` if there is no such process.
fn stat_field(pid: u32, field: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(field).map(str::to_owned)
}

/// Returns the state of a process as one letter, `T` for stopped; `None` if there is no such
/// process.
pub(super) fn state(pid: u32) -> Option<char> {
    stat_field(pid, STATE)?.chars().next()
}

/// Returns true if a process exists and is not a zombie.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// Returns the processor time that a process has used since its start, in steps of 10 ms.
pub fn cpu_time(pid: u32) -> Duration {
    let ticks = |field| -> u64 { stat_field(pid, field).unwrap().parse().unwrap() };
    // Linux reports in units of USER_HZ, which is 100 on every machine.
    Duration::from_millis(10) * u32::try_from(ticks(USER_TICKS) + ticks(SYSTEM_TICKS)).unwrap()
}

/// Returns the memory that a process shares with no other.
pub fn private_bytes(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = rollup.lines().filter_map(|line| line.strip_prefix("Private_")?.split_once(':'));
    let kilobytes = private.filter(|(kind, _)| matches!(*kind, "Clean" | "Dirty"));
    kilobytes
        .map(|(_, size)| size.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
        .sum()
}

/// Returns the most memory that a process has used so far.
pub fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Returns how many bytes a process has read from files since its start. Bytes received from
/// sockets do not count.
pub fn bytes_read(pid: u32) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Returns the processes whose working directory is `directory`.
pub(super) fn processes_in(directory: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| works_in(*pid, directory) && is_alive(*pid)).collect()
}

/// Returns true if a process exists and its working directory is `directory`.
pub fn works_in(pid: u32, directory: &Path) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == directory)
}

/// Returns the names in `/dev/shm` that contain `part`.
pub fn shared_memory_entries(part: &str) -> Vec<String> {
    let names = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains(part)).collect()
}
