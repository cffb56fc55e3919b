//! A library that is preloaded into a central. It records what the central does to its files, or
//! makes one operation fail. Written in C, because only C libraries can be preloaded; compiled when
//! a test needs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::preloaded::compile_library;
use super::setup::Setup;

const SOURCE: &str = include_str!("file_shim.c");

/// The compiled library, for the storage of one setup.
#[derive(Debug)]
pub struct FileShim {
    library: PathBuf,
    storage: PathBuf,
    fault: PathBuf,
    boot: PathBuf,
}

impl FileShim {
    /// Compiles the library into the directory of a setup. Without a C compiler, reports the test
    /// as left out.
    pub fn compile(setup: &Setup) -> Option<Self> {
        let library = compile_library(setup, "file_shim", SOURCE)?;
        let [fault, boot] = ["fault", "boot"].map(|name| setup.directory().join(name));
        Some(Self { library, storage: setup.stored(""), fault, boot })
    }

    /// Preloads the library into a central.
    pub fn preload(&self, command: &mut Command) {
        // The library compares absolute paths.
        let storage = self.storage.to_str().unwrap().trim_end_matches('/');
        command.env("LD_PRELOAD", &self.library).env("SERVER_STORAGE_DIR", storage);
        command.env("SHIM_DIRECTORY", storage).env("SHIM_FAULT", &self.fault);
    }

    /// Preloads the library into a central that must believe that the machine has started again:
    /// `boot` identifies the start.
    pub fn reboot(&self, command: &mut Command, boot: usize) {
        self.preload(command);
        fs::write(&self.boot, format!("{boot}\n")).unwrap();
        command.env("SHIM_BOOT", &self.boot);
    }

    /// Preloads the library into a central, to record into `log`.
    pub fn record(&self, command: &mut Command, log: &Path) {
        self.preload(command);
        command.env("SHIM_LOG", log);
    }

    /// Makes the next operation of one kind fail, once. `order` names the operation, the file and
    /// how it fails, as in `sync journal error`; `file_shim.c` lists the words.
    pub fn fail_next(&self, order: &str) {
        // Renamed into place, so that a central never reads half of the order.
        let unfinished = self.fault.with_extension("new");
        fs::write(&unfinished, order).unwrap();
        fs::rename(unfinished, &self.fault).unwrap();
    }

    /// Returns true if the failure that was asked for has not happened yet.
    pub fn is_pending(&self) -> bool {
        self.fault.exists()
    }

    /// Returns true once a page is lost, after an order to lose one.
    pub fn has_lost(&self) -> bool {
        self.fault.with_extension("lost").exists()
    }

    /// Returns true while a sync hangs, after an order to let one hang.
    pub fn hangs(&self) -> bool {
        self.fault.with_extension("hung").exists()
    }

    /// Ends the sync that hangs.
    pub fn release(&self) {
        fs::remove_file(self.fault.with_extension("hung")).unwrap();
    }

    /// Takes back a failure. Returns true if it has not happened yet.
    pub fn cancel(&self) -> bool {
        fs::remove_file(&self.fault).is_ok()
    }
}
