//! The arrangement of the screen.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Wrap};

use super::boxes;
use super::format::{count, duration};
use super::history::Sample;
use super::model::{Central, View};
use super::palette::Palette;
use super::sparkline::{self, Series};

/// Least and greatest height of the sparklines, which take the rows that the boxes leave.
const SPARKLINES: (u16, u16) = (5, 10);
/// Columns of the bar of finished agencies.
const BAR: u32 = 40;

/// Returns how many boxes of workers fit beside each other.
pub fn boxes_per_row(width: u16) -> usize {
    usize::from(width / boxes::WIDTH).max(1)
}

/// Draws the view.
pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let [body, footer] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    match &view.central {
        Ok(central) => draw_central(frame, body, view, central),
        Err(reason) => {
            let lines = vec![
                Line::styled(format!("{reason}."), view.palette.bad()),
                Line::raw("This view shows the central as soon as it runs."),
            ];
            frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), body);
        }
    }
    draw_footer(frame, footer, view);
}

fn draw_central(frame: &mut Frame<'_>, area: Rect, view: &View, central: &Central) {
    let palette = view.palette;
    let draw = draw_lines(central, palette);
    let heights = [1, u16::from(!central.unhealthy.is_empty()), draw.len() as u16 + 2];
    let rows = central.workers.len().div_ceil(boxes_per_row(area.width)) as u16;
    let others = heights.iter().sum::<u16>() + rows.saturating_mul(boxes::HEIGHT);
    let sparklines = area.height.saturating_sub(others).clamp(SPARKLINES.0, SPARKLINES.1);
    let [head, health, rates, draw_area, workers] = Layout::vertical([
        Constraint::Length(heights[0]),
        Constraint::Length(heights[1]),
        Constraint::Length(sparklines),
        Constraint::Length(heights[2]),
        Constraint::Min(0),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head_line(central, palette)), head);
    let reasons = format!("NOT HEALTHY: {}", central.unhealthy.join("; "));
    frame.render_widget(Paragraph::new(Line::styled(reasons, palette.bad())), health);
    draw_rates(frame, rates, view);
    let title = Line::from(vec![
        Span::styled(" draw ", palette.strong()),
        Span::styled(format!("{} winners ", count(central.winners)), palette.good()),
        Span::raw(format!("among {} bets ", count(central.bets))),
    ]);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(palette.quiet())
        .title(title);
    frame.render_widget(Paragraph::new(draw).block(block), draw_area);
    draw_workers(frame, workers, view, central);
}

fn head_line(central: &Central, palette: Palette) -> Line<'static> {
    let phase = if central.phase == "serving" { palette.good() } else { palette.changing() };
    let deaths = match central.deaths {
        0 => Span::raw("no worker deaths"),
        1 => Span::styled("1 worker death", palette.changing()),
        deaths => Span::styled(format!("{} worker deaths", count(deaths)), palette.changing()),
    };
    let generation = match central.generation {
        0 | 1 => String::new(),
        generation => format!("generation {generation}, "),
    };
    Line::from(vec![
        Span::styled(format!("central on port {} ", central.port), palette.strong()),
        Span::styled(central.phase, phase),
        Span::raw(format!(
            ", up {}, {generation}supervisor {}, ",
            duration(central.uptime),
            central.supervisor,
        )),
        deaths,
    ])
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let (history, palette) = (&view.history, view.palette);
    let halves: [Rect; 2] = Layout::horizontal([Constraint::Fill(1); 2]).areas(area);
    let recent = history.recent();
    let columns = history.columns(usize::from(halves[0].width.saturating_sub(2)));
    let series = |value: fn(&Sample) -> u64| columns.iter().map(value).collect::<Vec<u64>>();
    let rates = series(Sample::rate);
    let highest = rates.iter().copied().max().unwrap_or(0);
    let rate = Series {
        title: "batches/s",
        values: format!("{} now, {} highest", count(recent.rate()), count(highest)),
        time: history.time(),
        columns: rates,
        style: palette.rate(),
    };
    sparkline::draw(frame, halves[0], palette, &rate);
    let measured = columns.iter().any(|sample| sample.latency.is_some());
    let second = if measured {
        let latencies = series(|sample| microseconds(sample.latency.unwrap_or_default()));
        let highest = Duration::from_micros(latencies.iter().copied().max().unwrap_or(0));
        Series {
            title: "p99 latency",
            values: format!(
                "{} now, {} highest",
                duration(recent.latency.unwrap_or_default()),
                duration(highest),
            ),
            time: history.time(),
            columns: latencies,
            style: palette.latency(),
        }
    } else {
        let in_flight = series(|sample| u64::from(sample.in_flight));
        let highest = in_flight.iter().copied().max().unwrap_or(0);
        Series {
            title: "agencies in flight",
            values: format!("{} now, {} highest", recent.in_flight, highest),
            time: history.time(),
            columns: in_flight,
            style: palette.latency(),
        }
    };
    sparkline::draw(frame, halves[1], palette, &second);
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the agencies on the way to the draw: a bar, and the lines of `loteria-central draw`.
fn draw_lines(central: &Central, palette: Palette) -> Vec<Line<'static>> {
    let draw = &central.draw;
    let expected = draw.expected.max(1);
    let cells = expected.min(BAR);
    let finished = (draw.finished.len() as u64).min(u64::from(expected));
    let full = (finished * u64::from(cells) / u64::from(expected)) as usize;
    let text = draw.text(None);
    let mut lines = text.lines();
    let waiting = match central.waiting {
        0 => String::new(),
        1 => ", 1 connection waits".to_owned(),
        waiting => format!(", {} connections wait", count(u64::from(waiting))),
    };
    let first = Line::from(vec![
        Span::styled("■".repeat(full), palette.good()),
        Span::styled("□".repeat(cells as usize - full), palette.quiet()),
        Span::raw(format!(" {}{waiting}", lines.next().unwrap_or_default())),
    ]);
    let style = if draw.is_drawn { palette.good() } else { palette.quiet() };
    let others = lines.map(|line| Line::styled(line.to_owned(), style));
    std::iter::once(first).chain(others).collect()
}

/// Draws as many rows of boxes as fit, among them that of the selected worker.
fn draw_workers(frame: &mut Frame<'_>, area: Rect, view: &View, central: &Central) {
    let per_row = boxes_per_row(area.width);
    let rows = central.workers.len().div_ceil(per_row);
    let fitting = usize::from(area.height / boxes::HEIGHT).max(1);
    let first = (view.selected / per_row + 1).saturating_sub(fitting);
    let across = per_row.min(central.workers.len().max(2)).max(1) as u16;
    // On a wide screen, a few boxes do not become wider than their text is legible.
    let width = (area.width / across).min(2 * boxes::WIDTH);
    for row in first..rows.min(first + fitting) {
        let workers = central.workers.iter().enumerate().skip(row * per_row).take(per_row);
        for (column, (position, worker)) in workers.enumerate() {
            let place = Rect {
                x: area.x + column as u16 * width,
                y: area.y + (row - first) as u16 * boxes::HEIGHT,
                width,
                height: boxes::HEIGHT,
            };
            let selected = position == view.selected;
            boxes::draw(frame, place.intersection(area), view.palette, worker, selected);
        }
    }
}

fn draw_footer(frame: &mut Frame<'_>, area: Rect, view: &View) {
    let palette = view.palette;
    let mut spans = Vec::new();
    let mut key = |key: &'static str, text: &'static str| {
        spans.push(Span::styled(key, palette.strong()));
        spans.push(Span::styled(format!(" {text}  "), palette.quiet()));
    };
    key("q", "leave");
    if view.central.is_ok() {
        key("arrows", "select");
    }
    if view.killable().is_some() {
        key("k", "kill");
    }
    if let Some(notice) = view.notice() {
        spans.push(Span::styled(notice.to_owned(), palette.changing()));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

#[cfg(test)]
pub mod tests;
