//! A sparkline in a frame: the history of one number.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, RenderDirection, Sparkline};

use super::format::duration;
use super::palette::Palette;

/// A number over time.
#[derive(Debug)]
pub struct Series {
    /// What the number is.
    pub title: &'static str,
    /// Its present value and its highest one, as text.
    pub values: String,
    /// The time that it covers.
    pub time: Duration,
    /// The values, oldest first.
    pub columns: Vec<u64>,
    /// The style of the bars.
    pub style: Style,
}

/// Draws a series, with the newest value at the right.
pub fn draw(frame: &mut Frame<'_>, area: Rect, palette: Palette, series: &Series) {
    let title = Line::from(vec![
        Span::styled(format!(" {} ", series.title), palette.strong()),
        Span::styled(format!("{} ", series.values), series.style),
    ]);
    let time = Line::styled(format!(" last {} ", duration(series.time)), palette.quiet());
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(palette.quiet())
        .title(title)
        .title_bottom(time.right_aligned());
    let bars = Sparkline::default()
        .block(block)
        .direction(RenderDirection::RightToLeft)
        .style(series.style)
        .data(series.columns.iter().rev().copied().collect::<Vec<u64>>());
    frame.render_widget(bars, area);
}
