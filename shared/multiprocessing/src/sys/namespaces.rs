//! The pid and time namespaces of this process. In others its pid and its start time are different
//! numbers, so processes of different namespaces cannot recognise each other.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::unistd::getpid;

/// A pair of namespaces, by the numbers of their files in `/proc/PID/ns`. 0 stands for an unknown
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespaces {
    pub(crate) pid: u64,
    pub(crate) time: u64,
}

/// The namespaces of this process, or of an ancestor until they are read again.
static KNOWN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// No namespace has this number.
const NOWHERE: u64 = u64::MAX;

/// True if this process is in other namespaces than an ancestor that used segments.
static MOVED: AtomicBool = AtomicBool::new(false);

impl Namespaces {
    pub(crate) const UNKNOWN: Self = Self { pid: 0, time: 0 };

    /// Reads the namespaces of this process.
    ///
    /// # Errors
    /// Also if `/proc` shows the processes of another pid namespace.
    pub(crate) fn read() -> io::Result<Self> {
        let number = |name: &str| -> io::Result<u64> {
            Ok(fs::metadata(format!("/proc/self/ns/{name}"))?.ino())
        };
        let time = match number("time") {
            // Linux before 5.6 has no time namespaces.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            time => time,
        };
        let own = Self { pid: number("pid")?, time: time? };
        if fs::read_link("/proc/self")?.to_str() != Some(&getpid().to_string()) {
            return Err(io::Error::other(
                "/proc shows the processes of another pid namespace; mount it again \
                 (mount -t proc proc /proc)",
            ));
        }
        KNOWN[0].store(own.pid, Ordering::Relaxed);
        KNOWN[1].store(own.time, Ordering::Relaxed);
        Ok(own)
    }

    fn known() -> Self {
        let [pid, time] = KNOWN.each_ref().map(|number| number.load(Ordering::Relaxed));
        Self { pid, time }
    }

    /// Returns the name of the first namespace that certainly differs.
    pub(crate) fn difference(self, other: Self) -> Option<&'static str> {
        let differ = |one, other| one != other && one != 0 && other != 0;
        let pid = differ(self.pid, other.pid).then_some("pid");
        pid.or_else(|| differ(self.time, other.time).then_some("time"))
    }
}

/// Finds out, in a child, whether it is in the namespaces of its parent. A process itself never
/// changes its namespaces; unshare(2) and setns(2) concern its children.
pub(super) fn compare_with_parent() {
    let parent = Namespaces::known();
    if parent == Namespaces::UNKNOWN || Namespaces::read().is_ok_and(|own| own == parent) {
        return;
    }
    // A child that cannot find out is treated as one that has moved.
    if Namespaces::known() == parent {
        KNOWN.iter().for_each(|number| number.store(NOWHERE, Ordering::Relaxed));
    }
    MOVED.store(true, Ordering::Relaxed);
}

/// Returns true if this process is in other namespaces than an ancestor that used segments.
pub(crate) fn has_moved() -> bool {
    MOVED.load(Ordering::Relaxed)
}

/// Returns true if processes of these namespaces and this process recognise each other.
pub(crate) fn is_reachable(namespaces: Namespaces) -> bool {
    !has_moved() || Namespaces::known().difference(namespaces).is_none()
}
