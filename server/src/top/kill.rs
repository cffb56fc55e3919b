//! Killing a worker, where the user may.

use std::fs;

use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

/// Returns true if this process may send a signal to a worker of the supervisor.
///
/// The parent is compared because a pid in another pid namespace may belong to any process here.
pub fn may_kill(pid: u32, supervisor: i32) -> bool {
    parent(pid) == Some(supervisor) && send(Pid::from_raw(pid.cast_signed()), None).is_ok()
}

/// Kills a worker of the supervisor with SIGKILL, or returns why not.
pub fn kill(pid: u32, supervisor: i32) -> Result<(), String> {
    // The worker may have died since it was shown, and its pid may be in use again.
    if parent(pid) != Some(supervisor) {
        return Err("it has exited".to_owned());
    }
    let pid = Pid::from_raw(pid.cast_signed());
    send(pid, Signal::SIGKILL).map_err(|errno| errno.desc().to_owned())
}

/// Returns the parent of a process, as the process id of this namespace.
fn parent(pid: u32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state and the parent follow the command in parentheses, which may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, id};

    use super::*;

    #[test]
    fn a_child_of_another_process_is_neither_offered_nor_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a child");
        let (own, other) = (id().cast_signed(), std::os::unix::process::parent_id().cast_signed());
        assert!(may_kill(child.id(), own) && !may_kill(child.id(), other));
        assert!(kill(child.id(), other).is_err());
        assert!(child.try_wait().expect("its state").is_none(), "it was killed");
        kill(child.id(), own).expect("the kill");
        assert_eq!(child.wait().expect("its end").signal(), Some(9));
    }
}
