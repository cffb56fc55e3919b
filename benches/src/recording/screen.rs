//! A program on a pseudo-terminal, and the screen that it draws.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::spawn;

use anyhow::{Context, Result, ensure};
use nix::pty::{Winsize, openpty};
use vt100::{Parser, Screen};

/// A program whose screen is recorded.
pub(crate) struct Recorder {
    child: Child,
    keyboard: File,
    parser: Arc<Mutex<Parser>>,
}

impl Recorder {
    /// Starts a program on a terminal of this size.
    pub(crate) fn start(
        command: &mut Command,
        columns: NonZero<u16>,
        rows: NonZero<u16>,
    ) -> Result<Self> {
        let size =
            Winsize { ws_row: rows.get(), ws_col: columns.get(), ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None)?;
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(Stdio::from(pair.slave.try_clone()?));
        command.stdout(Stdio::from(pair.slave));
        let child = command.spawn().context("starting the program on a terminal")?;
        let keyboard = File::from(pair.master);
        let mut output = keyboard.try_clone()?;
        let parser = Arc::new(Mutex::new(Parser::new(rows, columns, 0)));
        let shown = Arc::clone(&parser);
        spawn(move || {
            let mut buffer = [0; 4096];
            // Fails once the program has ended.
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let mut parser = shown.lock().unwrap_or_else(PoisonError::into_inner);
                parser.process(&buffer[..length]);
            }
        });
        Ok(Self { child, keyboard, parser })
    }

    /// Returns what is on the screen now.
    pub(crate) fn screen(&self) -> Screen {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner).screen().clone()
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("pressing a key")
    }

    /// Waits for the end of the program.
    pub(crate) fn end(mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the program on the terminal: {status}");
        Ok(())
    }
}
