//! Tests of the storage as a whole, in one process: what a start makes of damaged, older and torn
//! files, and of failed operations.

mod damage;
mod draws;
mod failures;
mod keys;
mod killed_reopening;
mod power_loss;
mod reopening;
mod restarts;
mod scratch;
mod session_damage;
mod session_deaths;
mod session_states;
mod sessions;
mod upgrade;
mod winner_index;
mod write_back;
