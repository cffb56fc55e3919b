//! Atomics of loom that take turns.
//!
//! To find the orders worth trying, loom remembers the last access to an atomic only. A thread that
//! reads an atomic and then writes it hides its write from a reader before that. So every access
//! here also touches one common atomic, which makes loom try every order of all accesses. It does
//! so without synchronising the threads.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::{Ordering, fence};

loom::lazy_static! {
    static ref TURN: atomic::AtomicU32 = atomic::AtomicU32::new(0);
}

fn take_turn() {
    TURN.fetch_add(1, Ordering::Relaxed);
}

macro_rules! atomics {
    ($($name:ident: $number:ty),*) => {$(
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) fn new(value: $number) -> Self {
                Self(atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $number {
                take_turn();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $number, order: Ordering) {
                take_turn();
                self.0.store(value, order);
            }

            pub(crate) fn fetch_add(&self, value: $number, order: Ordering) -> $number {
                take_turn();
                self.0.fetch_add(value, order)
            }

            pub(crate) fn fetch_max(&self, value: $number, order: Ordering) -> $number {
                take_turn();
                self.0.fetch_max(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                old: $number,
                new: $number,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$number, $number> {
                take_turn();
                self.0.compare_exchange(old, new, success, failure)
            }
        }
    )*};
}

atomics!(AtomicU32: u32, AtomicU64: u64);
