//! Curves over one axis.

use std::ops::Range;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::drawing;

/// Size in pixels.
const SIZE: (u32, u32) = (1000, 460);

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
    let x = -0.2..names.len() as f64 - 0.8;
    let name = |x: &f64| {
        let nearest = x.round();
        let is_near = (x - nearest).abs() < 0.01 && nearest >= 0.0;
        is_near.then(|| names.get(nearest as usize).copied()).flatten().unwrap_or("").to_owned()
    };
    draw(x.step(1.0).use_round(), y.log_scale(), curves, &name)
}

/// Draws curves over a logarithmic x axis.
pub(super) fn draw_logarithmic(x: Range<f64>, curves: &Curves) -> Result<String> {
    let y = 0.0..extent(curves).1 * 1.1;
    draw(x.log_scale(), y, curves, &|x| crate::results::number(*x, 0))
}

/// Draws curves over a linear x axis.
pub(super) fn draw_linear(x: Range<f64>, curves: &Curves) -> Result<String> {
    let y = 0.0..extent(curves).1 * 1.3;
    draw(x, y, curves, &|x| crate::results::number(*x, 0))
}

/// Returns the smallest and the largest y.
fn extent(curves: &Curves) -> (f64, f64) {
    let points = || curves.curves.iter().flat_map(|curve| &curve.points).map(|&(_, y)| y);
    let (low, high) = (points().fold(f64::MAX, f64::min), points().fold(0.0, f64::max));
    if high > 0.0 { (low, high) } else { (0.1, 1.0) }
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
        let area: DrawingArea<_, Shift> =
            SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let mut chart = ChartBuilder::on(&area)
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
            .x_desc(curves.x)
            .y_desc(curves.y)
            .x_label_formatter(name)
            .draw()
            .map_err(drawing)?;
        for Curve { label, color, points } in &curves.curves {
            let color = *color;
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let line = chart.draw_series(line).map_err(drawing)?;
            line.label(*label).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 22, y)], color.stroke_width(3))
            });
            let dots = points.iter().map(|&point| Circle::new(point, 3, color.filled()));
            chart.draw_series(dots).map_err(drawing)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(font(14))
            .draw()
            .map_err(drawing)?;
        area.present().map_err(drawing)?;
    }
    Ok(svg)
}
