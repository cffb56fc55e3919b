//! The dispositions of signals that run no code of this library.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Ignores a signal, or restores its default action.
pub(crate) fn set_disposition(signal: Signal, handler: SigHandler) -> Result<(), Errno> {
    debug_assert!(
        !matches!(handler, SigHandler::Handler(_) | SigHandler::SigAction(_)),
        "no handlers here"
    );
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal and its default action run no code of this process.
    unsafe { sigaction(signal, &action) }.map(drop)
}
