//! A file system that only the processes of one test see.

use std::path::PathBuf;
use std::process::Command;

use super::deadline::eventually;
use super::left_out::{can_mount, left_out};
use super::program::Program;
use super::setup::Setup;

/// A mounted file system. It ends with the last process that uses it.
#[derive(Debug)]
pub struct Mounted {
    /// Keeps the mount between two centrals.
    holder: Program,
    /// Where its processes see it.
    directory: PathBuf,
}

impl Mounted {
    /// Mounts a file system on an empty directory of the setup with shell commands, which find the
    /// directory in `$D`. If this machine cannot do that, reports `kind` as left out.
    pub fn new(setup: &Setup, kind: &str, commands: &str) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let directory = setup.directory().join("mounted");
        std::fs::create_dir(&directory).unwrap();
        let script = format!("cd / && {commands} && echo mounted && exec sleep 600");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]).env("D", &directory);
        let mut holder = Program::start(command.current_dir(setup.directory()));
        let look = || (holder.count_lines_with("mounted") > 0, holder.is_running());
        if !eventually("the mount", look, |(mounted, runs)| *mounted || !runs).0 {
            left_out(&format!("this machine cannot mount {kind}: {:?}", holder.lines().last()));
            return None;
        }
        Some(Self { holder, directory })
    }

    /// Returns a command for a central that sees the file system in its working directory.
    pub fn command(&self, setup: &Setup) -> Command {
        let pid = self.holder.pid().to_string();
        let script = format!("cd '{}' && exec \"$0\" run", self.directory.display());
        setup.shell(&["nsenter", "-t", &pid, "-m"], &script)
    }

    /// Returns the path under which this test reaches a file of the file system.
    pub fn path(&self, name: &str) -> PathBuf {
        let seen = self.directory.join(name);
        PathBuf::from(format!("/proc/{}/root{}", self.holder.pid(), seen.display()))
    }
}
