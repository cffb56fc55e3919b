//! Processes are killed, one or all of them, at chosen moments, or at random during a draw.

mod crash_loop;
mod draw;
mod draw_at_random;
mod lock_holder;
mod session;
mod stopped;
mod supervisor;
mod worker;
