//! The box of one worker.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};

use super::format::{count, duration};
use super::model::Worker;
use super::palette::Palette;
use crate::central::WorkerState;

/// Narrowest box.
pub const WIDTH: u16 = 20;
/// Height of a box.
pub const HEIGHT: u16 = 6;
/// How long a box says that its worker is a replacement.
const NEW: Duration = Duration::from_secs(10);

/// Draws a worker.
pub fn draw(frame: &mut Frame<'_>, area: Rect, palette: Palette, worker: &Worker, selected: bool) {
    let is_replacement = worker.restarts > 0 && worker.uptime < NEW;
    let style = match worker.state {
        WorkerState::Ready if is_replacement => palette.changing(),
        WorkerState::Ready => palette.quiet(),
        state => palette.state(state),
    };
    let (border, style) = match selected {
        true => (BorderType::Thick, palette.selected()),
        false => (BorderType::Rounded, style),
    };
    let block = Block::bordered().border_type(border).border_style(style).title(Line::from(vec![
        Span::styled(format!(" {} ", worker.slot), palette.strong()),
        Span::styled(format!("pid {} ", worker.pid), palette.quiet()),
    ]));
    let state = Span::styled(format!("● {}", name(worker.state)), palette.state(worker.state));
    let restarts = match is_replacement {
        true => palette.changing(),
        false if worker.restarts > 0 => palette.strong(),
        false => palette.quiet(),
    };
    let label = |text: &'static str| Span::styled(text, palette.quiet());
    let width = usize::from(area.width.saturating_sub(2));
    let row = |left: Span<'static>, right: Span<'static>| {
        let gap = width.saturating_sub(left.width() + right.width());
        Line::from(vec![left, Span::raw(" ".repeat(gap)), right])
    };
    let lines = vec![
        row(state, Span::styled(duration(worker.uptime), palette.quiet())),
        row(label("restarts"), Span::styled(worker.restarts.to_string(), restarts)),
        row(label("batches"), Span::raw(count(worker.batches))),
        row(
            label("in flight"),
            Span::raw(format!("{} of {}", worker.in_flight, worker.connections)),
        ),
    ];
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn name(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Dead => "dead",
        WorkerState::Starting => "starting",
        WorkerState::Ready => "ready",
        WorkerState::Draining => "draining",
        WorkerState::Retiring => "retiring",
    }
}
