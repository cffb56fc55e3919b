//! The lock of the library: a mutex whose next holder learns that the last one has died.

use std::sync::Arc;

use loom::sync::{Mutex, MutexGuard};
pub(crate) use multiprocessing::LockFailure;

use crate::sys::atomic::AtomicU64;
use crate::sys::mapping::Place;

pub(crate) struct LockBlock {
    pub(crate) version: AtomicU64,
}

/// Holds true if the last holder has died.
#[derive(Clone)]
pub(crate) struct Lock {
    mutex: Arc<Mutex<bool>>,
    block: Arc<LockBlock>,
}

pub(crate) type LockGuard<'a> = MutexGuard<'a, bool>;

pub(crate) enum LockError<G> {
    OwnerDied(Inherited<G>),
    Failed(LockFailure),
}

pub(crate) struct Inherited<G>(G);

impl<G> Inherited<G> {
    pub(crate) fn repaired(self) -> G {
        self.0
    }
}

impl Lock {
    pub(crate) fn at(_: Place) -> Self {
        let block = Arc::new(LockBlock { version: AtomicU64::new(0) });
        Self { mutex: Arc::new(Mutex::new(false)), block }
    }

    pub(crate) fn block(&self) -> &LockBlock {
        &self.block
    }

    pub(crate) fn lock_briefly(&self) -> Result<LockGuard<'_>, LockError<LockGuard<'_>>> {
        let mut guard = self.mutex.lock().unwrap();
        match std::mem::replace(&mut *guard, false) {
            true => Err(LockError::OwnerDied(Inherited(guard))),
            false => Ok(guard),
        }
    }

    /// Frees the lock as the kernel does when its holder has died.
    pub(crate) fn free_of_dead(mut guard: LockGuard<'_>) {
        *guard = true;
    }
}
