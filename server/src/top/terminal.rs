//! The terminal: entered, drawn on, read from, and always restored.

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::keys::{Action, action};
use super::layout;
use super::model::View;

/// What came from the user or the system.
#[derive(Debug)]
pub enum Input {
    /// Nothing that matters.
    None,
    /// A key of the view.
    Key(Action),
    /// A signal to end.
    Stop,
}

/// A terminal in raw mode that shows the alternate screen. Dropping it restores the terminal; a
/// panic restores it before its message is printed.
#[derive(Debug)]
pub struct Terminal {
    terminal: DefaultTerminal,
    signals: SignalFd,
}

impl Terminal {
    /// Takes over the terminal.
    pub fn open() -> io::Result<Self> {
        let ends = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
        let ends = SigSet::from_iter(ends);
        // As a handler could not restore the terminal, the loop reads these signals.
        ends.thread_block()?;
        let signals = SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        Ok(Self { terminal, signals })
    }

    /// Draws the view. Returns the width of the screen.
    pub fn draw(&mut self, view: &View) -> io::Result<u16> {
        let drawn = self.terminal.draw(|frame| layout::draw(frame, view))?;
        Ok(drawn.area.width)
    }

    /// Waits for input for at most this time.
    pub fn input(&mut self, limit: Duration) -> io::Result<Input> {
        if self.signals.read_signal()?.is_some() {
            return Ok(Input::Stop);
        }
        if !event::poll(limit)? {
            return Ok(Input::None);
        }
        Ok(match event::read()? {
            Event::Key(key) => action(&key).map_or(Input::None, Input::Key),
            _ => Input::None,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only if the terminal is gone, and then there is nothing to restore.
        let _ = ratatui::try_restore();
    }
}
