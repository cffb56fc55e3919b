//! The styles of the view, with colours or without.

use ratatui::style::{Color, Modifier, Style};

use crate::central::WorkerState;

/// The styles. Without colours, bold, dim and reversed text carry the same meaning.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    colours: bool,
}

impl Palette {
    /// Returns the palette for a terminal: without colours if NO_COLOR is set and not empty.
    pub fn of_environment() -> Self {
        Self::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    /// Returns the palette with or without colours.
    pub fn new(colours: bool) -> Self {
        Self { colours }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// Headings and totals.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Labels and frames.
    pub fn quiet(self) -> Style {
        if self.colours {
            self.colour(Color::DarkGray)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    /// The frame of the selected worker.
    pub fn selected(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is wrong.
    pub fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What changes.
    pub fn changing(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// What works.
    pub fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// The bars of the first sparkline.
    pub fn rate(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// The bars of the second sparkline.
    pub fn latency(self) -> Style {
        self.colour(Color::Magenta)
    }

    /// The state of a worker.
    pub fn state(self, state: WorkerState) -> Style {
        match state {
            WorkerState::Ready => self.good(),
            WorkerState::Dead => self.bad(),
            WorkerState::Starting | WorkerState::Draining | WorkerState::Retiring => {
                self.changing()
            }
        }
    }
}
