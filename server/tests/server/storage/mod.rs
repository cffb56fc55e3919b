//! The files of the storage: their content, their recovery, and disks that are full or fail.

mod access;
mod backup;
mod checkpoint;
mod failing_disk;
mod file_systems;
mod files;
mod first_version;
mod full_disk;
mod group_commit;
mod lost_files;
mod lost_page;
mod lotteries;
mod next_number;
mod power_loss;
mod recovery;
mod round;
mod session_limit;
mod unsupported;
mod verify;
