//! A pseudo-terminal with a program on it: what it shows, and keys for it.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{Termios, tcgetattr};

use super::deadline::eventually;
use super::program::kill;

/// A terminal of 80 columns and 24 rows, and the program on it. Dropping it kills the program.
pub struct PseudoTerminal {
    child: Child,
    keyboard: File,
    /// Kept open, so that the state of the terminal can be read after the end of the program.
    device: OwnedFd,
    before: Termios,
    parser: Arc<Mutex<vt100::Parser>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl PseudoTerminal {
    /// Starts a program on a new terminal.
    pub fn start(command: &mut Command) -> Self {
        let size = (NonZero::new(24).unwrap(), NonZero::new(80).unwrap());
        let window =
            Winsize { ws_row: size.0.get(), ws_col: size.1.get(), ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&window), None).unwrap();
        let device = || Stdio::from(pair.slave.try_clone().unwrap());
        let before = tcgetattr(&pair.slave).unwrap();
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = command.stdin(device()).stdout(device()).stderr(device()).spawn().unwrap();
        let keyboard = File::from(pair.master);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(size.0, size.1, 0)));
        let written = Arc::new(Mutex::new(Vec::new()));
        let mut output = keyboard.try_clone().unwrap();
        let (screen, bytes) = (Arc::clone(&parser), Arc::clone(&written));
        spawn(move || {
            let mut buffer = [0; 4096];
            // Fails once nothing has the terminal open any more.
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                screen.lock().unwrap().process(&buffer[..length]);
                bytes.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { child, keyboard, device: pair.slave, before, parser, written }
    }

    /// Returns the text on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Returns everything that was written, with its escape sequences.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits until the screen has a text.
    pub fn until_shown(&self, part: &str) -> String {
        eventually(&format!("{part:?} on the screen"), || self.text(), |text| text.contains(part))
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        kill(self.child.id(), signal);
    }

    /// Waits for the end and returns the exit code, or 128 plus the signal.
    pub fn exit_code(&mut self) -> i32 {
        let status = eventually(
            "the end of the program",
            || self.child.try_wait().unwrap(),
            Option::is_some,
        );
        let status = status.unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Asserts that the terminal is as it was before the program: the line discipline, the main
    /// screen and a visible cursor.
    pub fn assert_restored(&self) {
        assert_eq!(tcgetattr(&self.device).unwrap(), self.before);
        let state = || {
            let parser = self.parser.lock().unwrap();
            (parser.screen().alternate_screen(), parser.screen().hide_cursor())
        };
        eventually("the main screen with a cursor", state, |state| *state == (false, false));
    }
}

impl Drop for PseudoTerminal {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
