//! Dots over a logarithmic axis, in panels side by side. The values differ by a factor of a
//! thousand, so bars would hide all but the largest.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{drawing, lines};
use crate::results::{Spread, number};

/// Sizes in pixels.
const WIDTH: u32 = 1000;
const MARGIN: i32 = 16;
const LABELS: i32 = 190;
const TITLE: i32 = 44;
const HEADING: i32 = 34;
const ROW: i32 = 26;
const AXIS: i32 = 28;
/// Room at the right for the value of the last dot.
const VALUE: i32 = 74;

/// Half the height of the line that ends a spread.
const CAP: i32 = 4;

/// A dot with its label.
pub(super) struct Dot {
    pub(super) label: &'static str,
    pub(super) color: RGBColor,
    /// `None` if it was not measured.
    pub(super) spread: Option<Spread>,
}

/// Dots of one figure, under headings. All panels have the same labels.
pub(super) struct Panel {
    pub(super) title: &'static str,
    pub(super) decimals: usize,
    pub(super) groups: Vec<(&'static str, Vec<Dot>)>,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the panels. `heading` stands over the labels.
pub(super) fn draw(heading: &str, panels: &[Panel]) -> Result<String> {
    let groups = panels.first().map_or(&[][..], |panel| &panel.groups);
    let height: i32 = groups.iter().map(|(_, dots)| HEADING + ROW * dots.len() as i32).sum();
    let bottom = TITLE + height;
    let mut svg = String::new();
    {
        let size = (WIDTH, (bottom + AXIS + MARGIN) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        text(&area, heading, (MARGIN, TITLE / 2), 15, HPos::Left)?;
        let width = (WIDTH as i32 - LABELS - MARGIN) / panels.len().max(1) as i32;
        for (index, panel) in panels.iter().enumerate() {
            let scale = Scale::of(panel, LABELS + index as i32 * width, width - VALUE);
            draw_axis(&area, panel.title, &scale, bottom)?;
            draw_dots(&area, panel, &scale, index == 0)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}

/// The logarithmic axis of a panel.
struct Scale {
    /// Powers of ten at both ends.
    first: i32,
    last: i32,
    /// Pixels.
    left: i32,
    width: i32,
}

impl Scale {
    fn of(panel: &Panel, left: i32, width: i32) -> Self {
        let dots = panel.groups.iter().flat_map(|(_, dots)| dots);
        let spreads = || dots.clone().filter_map(|dot| dot.spread);
        let low = spreads().map(|spread| spread.min).fold(f64::MAX, f64::min);
        let high = spreads().map(|spread| spread.max).fold(f64::MIN_POSITIVE, f64::max);
        // A value of 0 has no place on the axis.
        let low = if low > 0.0 && low < f64::MAX { low } else { high / 10.0 };
        let first = low.log10().floor() as i32;
        Self { first, last: (high.log10().ceil() as i32).max(first + 1), left, width }
    }

    fn x(&self, value: f64) -> i32 {
        let powers = f64::from(self.last - self.first);
        let place = (value.max(f64::MIN_POSITIVE).log10() - f64::from(self.first)) / powers;
        self.left + (place.max(0.0) * f64::from(self.width)) as i32
    }
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, anchor: HPos) -> Result<()> {
    let style = lines::font(size).pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(drawing)
}

fn line(area: &Area<'_>, points: [(i32, i32); 2], style: impl Into<ShapeStyle>) -> Result<()> {
    area.draw(&PathElement::new(points, style)).map_err(drawing)
}

fn draw_axis(area: &Area<'_>, title: &str, scale: &Scale, bottom: i32) -> Result<()> {
    text(area, title, (scale.left, TITLE / 2), 15, HPos::Left)?;
    for power in scale.first..=scale.last {
        let value = 10f64.powi(power);
        let x = scale.x(value);
        line(area, [(x, TITLE), (x, bottom)], BLACK.mix(0.15))?;
        let label = number(value, (-power).max(0) as usize);
        text(area, &label, (x, bottom + AXIS / 2), 12, HPos::Center)?;
    }
    Ok(())
}

fn draw_dots(area: &Area<'_>, panel: &Panel, scale: &Scale, labelled: bool) -> Result<()> {
    let mut top = TITLE;
    for (heading, dots) in &panel.groups {
        if labelled {
            text(area, heading, (MARGIN, top + HEADING / 2), 14, HPos::Left)?;
        }
        top += HEADING;
        for dot in dots {
            let middle = top + ROW / 2;
            if labelled {
                text(area, dot.label, (scale.left - 10, middle), 13, HPos::Right)?;
            }
            top += ROW;
            let Some(Spread { min, median, max }) = dot.spread else {
                text(area, "not measured", (scale.left + 6, middle), 12, HPos::Left)?;
                continue;
            };
            let (from, to) = (scale.x(min), scale.x(max));
            line(area, [(from, middle), (to, middle)], dot.color.stroke_width(2))?;
            for end in [from, to] {
                line(area, [(end, middle - CAP), (end, middle + CAP)], dot.color.stroke_width(2))?;
            }
            let circle = Circle::new((scale.x(median), middle), 5, dot.color.filled());
            area.draw(&circle).map_err(drawing)?;
            let end = to.max(scale.x(median)) + 10;
            text(area, &number(median, panel.decimals), (end, middle), 13, HPos::Left)?;
        }
    }
    Ok(())
}
