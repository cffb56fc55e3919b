//! Ending together with the supervisor that has executed this program.

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

/// Lets the kernel end this process when the supervisor ends, even by SIGKILL. Returns false if it
/// has ended already. Otherwise the monitor would keep its port from that of the next central.
pub fn follow(supervisor: i32) -> bool {
    // The supervisor blocks signals, and a program inherits that.
    let unblocked = SigSet::empty().thread_set_mask();
    unblocked.and_then(|()| set_pdeathsig(Signal::SIGKILL)).is_ok()
        && getppid().as_raw() == supervisor
}
