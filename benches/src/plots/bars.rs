//! Horizontal bars in panels side by side.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{drawing, lines};
use crate::results::Spread;

/// Sizes in pixels.
const WIDTH: u32 = 1000;
const MARGIN: i32 = 16;
const LABELS: i32 = 190;
const TITLE: i32 = 44;
const HEADING: i32 = 34;
const ROW: i32 = 26;
const BAR: i32 = 16;
/// Room at the right for the value.
const VALUE: i32 = 70;

/// Half the width of the line that ends a spread.
const CAP: i32 = 4;

/// A bar with its label.
pub(super) struct Bar {
    pub(super) label: &'static str,
    pub(super) color: RGBColor,
    /// `None` if it was not measured.
    pub(super) spread: Option<Spread>,
}

/// Bars of one figure, under headings. All panels have the same labels.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) decimals: usize,
    pub(super) groups: Vec<(&'static str, Vec<Bar>)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the panels.
pub(super) fn draw(panels: &[Panel]) -> Result<String> {
    let groups = panels.first().map_or(&[][..], |panel| &panel.groups);
    let height: i32 = groups.iter().map(|(_, bars)| HEADING + ROW * bars.len() as i32).sum();
    let size = (WIDTH, (TITLE + height + MARGIN) as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let width = (WIDTH as i32 - LABELS - MARGIN) / panels.len().max(1) as i32;
        for (index, panel) in panels.iter().enumerate() {
            let left = LABELS + index as i32 * width;
            draw_panel(&area, panel, left, width, index == 0)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

fn draw_panel(area: &Area<'_>, panel: &Panel, left: i32, width: i32, first: bool) -> Result<()> {
    let text = |text: &str, at: (i32, i32), size: i32, h: HPos| {
        let style = lines::font(size).pos(Pos::new(h, VPos::Center));
        area.draw(&Text::new(text.to_owned(), at, style)).map_err(drawing)
    };
    text(panel.title, (left, TITLE / 2), 15, HPos::Left)?;
    let bars = || panel.groups.iter().flat_map(|(_, bars)| bars);
    let largest = bars().filter_map(|bar| bar.spread).map(|spread| spread.max).fold(0.0, f64::max);
    let length = |value: f64| (value / largest * f64::from(width - VALUE - MARGIN)) as i32;
    let mut top = TITLE;
    for (heading, bars) in &panel.groups {
        if first {
            text(heading, (MARGIN, top + HEADING / 2), 14, HPos::Left)?;
        }
        top += HEADING;
        for bar in bars {
            let middle = top + ROW / 2;
            if first {
                text(bar.label, (left - 8, middle), 13, HPos::Right)?;
            }
            top += ROW;
            let Some(Spread { min, median, max }) = bar.spread else {
                text("not measured", (left + 4, middle), 12, HPos::Left)?;
                continue;
            };
            let filled = bar.color.filled();
            let corners =
                [(left, middle - BAR / 2), (left + length(median).max(1), middle + BAR / 2)];
            area.draw(&Rectangle::new(corners, filled)).map_err(drawing)?;
            draw_spread(area, left + length(min), left + length(max), middle)?;
            let value = crate::results::number(median, panel.decimals);
            let end = left + length(median).max(length(max));
            text(&value, (end + 8, middle), 13, HPos::Left)?;
        }
    }
    Ok(())
}

/// Draws a line from the smallest to the largest value.
fn draw_spread(area: &Area<'_>, from: i32, to: i32, middle: i32) -> Result<()> {
    if to - from < 2 {
        return Ok(());
    }
    for points in [
        [(from, middle), (to, middle)],
        [(from, middle - CAP), (from, middle + CAP)],
        [(to, middle - CAP), (to, middle + CAP)],
    ] {
        area.draw(&PathElement::new(points, BLACK.stroke_width(1))).map_err(drawing)?;
    }
    Ok(())
}
