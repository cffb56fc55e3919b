//! Curves over one axis, with their names at the right.

use std::ops::Range;

use anyhow::Result;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::drawing;
use crate::results::number;

/// Sizes in pixels.
const SIZE: (u32, u32) = (1000, 420);
const LEGEND: i32 = 290;
const LEGEND_TOP: i32 = 60;
const LEGEND_ROW: i32 = 26;

/// A curve with its name.
pub(super) struct Curve {
    pub(super) label: &'static str,
    pub(super) color: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
}

/// Curves and what the axes mean.
pub(super) struct Curves {
    pub(super) title: &'static str,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) curves: Vec<Curve>,
}

/// Returns the style of texts of this size.
pub(super) fn font(size: i32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size)).color(&BLACK)
}

/// Draws curves over named values of x, with a logarithmic y axis.
pub(super) fn draw_named(names: &[&str], curves: &Curves) -> Result<String> {
    let (low, high) = extent(curves);
    // Whole powers of ten, so that the axis ends at a label.
    let y = 10f64.powf(low.log10().floor())..10f64.powf(high.log10().ceil());
    let name = |x: &f64| {
        let nearest = x.round();
        let is_near = (x - nearest).abs() < 0.01 && nearest >= 0.0;
        is_near.then(|| names.get(nearest as usize).copied()).flatten().unwrap_or("").to_owned()
    };
    draw(-0.25..names.len() as f64 - 0.75, y.log_scale(), curves, &name)
}

/// Draws curves over a logarithmic x axis.
pub(super) fn draw_logarithmic(x: Range<f64>, curves: &Curves) -> Result<String> {
    draw(x.log_scale(), 0.0..extent(curves).1 * 1.1, curves, &shortest)
}

/// Draws curves over a linear x axis.
pub(super) fn draw_linear(x: Range<f64>, curves: &Curves) -> Result<String> {
    draw(x, 0.0..extent(curves).1 * 1.3, curves, &shortest)
}

/// Returns the smallest and the largest y.
fn extent(curves: &Curves) -> (f64, f64) {
    let points = || curves.curves.iter().flat_map(|curve| &curve.points).map(|&(_, y)| y);
    let (low, high) = (points().fold(f64::MAX, f64::min), points().fold(0.0, f64::max));
    if low > 0.0 && high > low { (low, high) } else { (high.max(1.0) / 10.0, high.max(1.0)) }
}

/// Writes a number of an axis without zeros at the end.
fn shortest(value: &f64) -> String {
    let text = number(*value, 3);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn draw<X, Y>(x: X, y: Y, curves: &Curves, name: &dyn Fn(&f64) -> String) -> Result<String>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let (left, legend) = area.split_horizontally(SIZE.0 as i32 - LEGEND);
        let mut chart = ChartBuilder::on(&left)
            .caption(curves.title, font(18))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .label_style(font(14))
            .axis_desc_style(font(15))
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.12))
            .x_labels(6)
            .x_desc(curves.x)
            .y_desc(curves.y)
            .x_label_formatter(name)
            .y_label_formatter(&shortest)
            .draw()
            .map_err(drawing)?;
        for (index, Curve { label, color, points }) in curves.curves.iter().enumerate() {
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            chart.draw_series(line).map_err(drawing)?;
            let dots = points.iter().map(|&point| Circle::new(point, 3, color.filled()));
            chart.draw_series(dots).map_err(drawing)?;
            let y = LEGEND_TOP + index as i32 * LEGEND_ROW;
            let sample = PathElement::new([(0, y), (24, y)], color.stroke_width(3));
            legend.draw(&sample).map_err(drawing)?;
            let style = font(13).pos(Pos::new(HPos::Left, VPos::Center));
            let text = Text::new(*label, (32, y), style);
            legend.draw(&text).map_err(drawing)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}
