//! The value of the initializer of a worker, which its tasks share.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use super::TaskPool;

thread_local! {
    /// What the initializer of this worker returned. A worker runs its tasks in one thread.
    static CONTEXT: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

/// Runs `body` with this context.
pub(super) fn with_context<R>(context: Rc<dyn Any>, body: impl FnOnce() -> R) -> R {
    CONTEXT.set(Some(context));
    let result = body();
    CONTEXT.take();
    result
}

impl TaskPool {
    /// Returns the value that the [initializer](super::TaskPoolBuilder::initializer) returned in
    /// this worker, for the task that calls this. All tasks of a worker get the same value, and
    /// different workers have different ones.
    ///
    /// Returns `None` outside of a task, in another thread than that of the task, and if the value
    /// has another type.
    pub fn context<C: 'static>() -> Option<Rc<C>> {
        CONTEXT.with_borrow(Clone::clone)?.downcast().ok()
    }
}
