//! Processes are killed, one or all of them, at chosen and at random moments.

mod at_random;
mod crash_loop;
mod draw;
mod draw_at_random;
mod lock_holder;
mod supervisor;
mod worker;
