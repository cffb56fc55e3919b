//! The files of the storage: their content, their recovery, and disks that are full or fail.

mod failing_disk;
mod files;
mod first_version;
mod full_disk;
mod power_loss;
mod recovery;
mod round;
