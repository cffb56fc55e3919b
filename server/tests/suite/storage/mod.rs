//! TODO storage

mod failing_disk;
mod files;
mod full_disk;
mod power_loss;
mod recovery;
