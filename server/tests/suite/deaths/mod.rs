//! TODO deaths

mod at_random;
mod draw;
mod draw_at_random;
mod lock_holder;
mod supervisor;
mod worker;
