//! Screens of a terminal as an animated SVG. A row that is the same in several frames is in the
//! file once. Lines and bars are drawn as shapes, because fonts leave gaps between them.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use vt100::{Cell, Color, Screen};

/// Size of a cell in pixels. The width is that of most monospaced fonts at 14 pixels.
const WIDTH: f32 = 8.4;
const HEIGHT: f32 = 18.0;
/// Space around the screen.
const MARGIN: f32 = 12.0;
/// Height of the bar with the title.
const TITLE: f32 = 30.0;
/// From this length on, the width of a text is fixed, so that no font moves its end much.
const LONG: usize = 8;

/// Colours on a dark background and on a light one: background, text, frames, red, green, yellow,
/// magenta and cyan.
const STYLE: &str = "\
.w{fill:#0d1117;stroke:#30363d}
.d{color:#c9d1d9}.g{color:#8b949e}.r{color:#ff7b72}.n{color:#3fb950}.y{color:#e3b341}.m{color:#bc8cff}.c{color:#39c5cf}
@media(prefers-color-scheme:light){.w{fill:#fff;stroke:#d0d7de}
.d{color:#1f2328}.g{color:#6e7781}.r{color:#cf222e}.n{color:#1a7f37}.y{color:#9a6700}.m{color:#8250df}.c{color:#1b7c83}}
text{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:currentColor;white-space:pre}
.b{font-weight:bold}
path{fill:none;stroke:currentColor;stroke-width:1.2}.t{stroke-width:2.4}.v{fill:currentColor;stroke:none}
";

/// Returns an animation of screens of the same size. `still` is the number of the frame that a
/// viewer without animation shows.
pub(crate) fn animation(frames: &[Screen], time: Duration, still: usize) -> String {
    let Some(first) = frames.first() else { return String::new() };
    let (rows, columns) = (first.size().0.get(), first.size().1.get());
    let still = still.min(frames.len() - 1);
    let mut known = HashMap::new();
    let (mut rows_of_all, mut shown) = (String::new(), String::new());
    for (number, screen) in frames.iter().enumerate() {
        let delay = (number as f32 - frames.len() as f32) * time.as_secs_f32();
        let class = if number == still { "f s" } else { "f" };
        // Writing into a String cannot fail.
        let _ = write!(shown, "<g class=\"{class}\" style=\"animation-delay:{delay:.1}s\">");
        for row in 0..rows {
            let shapes = shapes(screen, row, columns);
            if shapes.is_empty() {
                continue;
            }
            let next = known.len();
            let id = *known.entry(shapes).or_insert_with_key(|shapes| {
                let _ = writeln!(rows_of_all, "<g id=\"r{next}\">{shapes}</g>");
                next
            });
            let _ = write!(shown, "<use href=\"#r{id}\" y=\"{}\"/>", f32::from(row) * HEIGHT);
        }
        shown += "</g>\n";
    }
    let (width, height) = (f32::from(columns) * WIDTH, f32::from(rows) * HEIGHT);
    let (full_width, full_height) = (width + 2.0 * MARGIN, height + TITLE + MARGIN);
    let total = time.as_secs_f32() * frames.len() as f32;
    let share = 100.0 / frames.len() as f32;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full_width:.0} {full_height:.0}\" \
         width=\"{full_width:.0}\" height=\"{full_height:.0}\">\n<style>\n{STYLE}\
         .f{{visibility:hidden;animation:f {total:.1}s step-end infinite}}.s{{visibility:visible}}\n\
         @keyframes f{{0%{{visibility:visible}}{share:.3}%,100%{{visibility:hidden}}}}\n\
         @media(prefers-reduced-motion:reduce){{.f{{animation:none}}}}\n</style>\n\
         <defs>\n{rows_of_all}</defs>\n\
         <rect width=\"{full_width:.0}\" height=\"{full_height:.0}\" rx=\"8\" class=\"w\"/>\n\
         <text x=\"{middle:.0}\" y=\"20\" text-anchor=\"middle\" class=\"g\">loteria-central top</text>\n\
         <g transform=\"translate({MARGIN} {TITLE})\">\n{shown}</g>\n</svg>\n",
        middle = full_width / 2.0,
    )
}

/// What a cell is drawn as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Line,
    ThickLine,
    Bar,
}

/// Returns the shapes of a row at the height 0.
fn shapes(screen: &Screen, row: u16, columns: u16) -> String {
    let mut shapes = String::new();
    let mut column = 0;
    while column < columns {
        let Some((kind, class, _)) = glyph(screen, row, column) else {
            column += 1;
            continue;
        };
        let mut text = String::new();
        let start = column;
        let mut spaces = 0;
        while column < columns {
            match glyph(screen, row, column) {
                Some((next, style, character)) if next == kind && style == class => {
                    text.extend(std::iter::repeat_n(' ', std::mem::take(&mut spaces)));
                    text.push(character);
                }
                // One space inside a text does not end it.
                None if kind == Kind::Text && spaces == 0 => spaces += 1,
                _ => break,
            }
            column += 1;
        }
        let x = f32::from(start) * WIDTH;
        match kind {
            Kind::Text => write_text(&mut shapes, x, &class, &text),
            Kind::Bar => write_bars(&mut shapes, x, &class, &text),
            Kind::Line => write_lines(&mut shapes, x, &class, &text),
            Kind::ThickLine => write_lines(&mut shapes, x, &format!("{class} t"), &text),
        }
    }
    shapes
}

/// Returns how a cell is drawn; `None` if it is empty.
fn glyph(screen: &Screen, row: u16, column: u16) -> Option<(Kind, String, char)> {
    let cell = screen.cell(row, column)?;
    let character = cell.contents().chars().next().filter(|character| *character != ' ')?;
    let kind = match character {
        '─' | '│' | '╭' | '╮' | '╰' | '╯' => Kind::Line,
        '━' | '┃' | '┏' | '┓' | '┗' | '┛' => Kind::ThickLine,
        '▁'..='█' => Kind::Bar,
        _ => Kind::Text,
    };
    Some((kind, class(cell, kind), character))
}

fn class(cell: &Cell, kind: Kind) -> String {
    let colour = match cell.fgcolor() {
        Color::Idx(8) => "g",
        Color::Idx(1 | 9) => "r",
        Color::Idx(2 | 10) => "n",
        Color::Idx(3 | 11) => "y",
        Color::Idx(5 | 13) => "m",
        Color::Idx(6 | 14) => "c",
        _ => "d",
    };
    let bold = cell.bold() && kind == Kind::Text;
    format!("{colour}{}", if bold { " b" } else { "" })
}

fn write_text(shapes: &mut String, x: f32, class: &str, text: &str) {
    let length = text.chars().count();
    let fixed = match length >= LONG {
        true => format!(" textLength=\"{:.1}\"", length as f32 * WIDTH),
        false => String::new(),
    };
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = write!(shapes, "<text x=\"{x:.1}\" y=\"13.5\" class=\"{class}\"{fixed}>{text}</text>");
}

/// Writes bars of eighths of a cell, as one shape.
fn write_bars(shapes: &mut String, x: f32, class: &str, text: &str) {
    let mut path = String::new();
    for (position, character) in text.chars().enumerate() {
        let eighths = u32::from(character) - u32::from('▁') + 1;
        let height = eighths as f32 / 8.0 * HEIGHT;
        let left = x + position as f32 * WIDTH;
        let top = HEIGHT - height;
        let _ = write!(path, "M{left:.1} {top:.2}h{:.1}V{HEIGHT}H{left:.1}z", WIDTH - 0.4);
    }
    let _ = write!(shapes, "<path class=\"{class} v\" d=\"{path}\"/>");
}

/// Writes the lines of frames, as one shape.
fn write_lines(shapes: &mut String, x: f32, class: &str, text: &str) {
    let (middle, half) = (HEIGHT / 2.0, WIDTH / 2.0);
    let mut path = String::new();
    let mut level = 0;
    let characters: Vec<char> = text.chars().chain([' ']).collect();
    for (position, character) in characters.into_iter().enumerate() {
        let left = x + position as f32 * WIDTH;
        if matches!(character, '─' | '━') {
            level += 1;
            continue;
        }
        if level > 0 {
            let length = std::mem::take(&mut level) as f32 * WIDTH;
            let _ = write!(path, "M{:.1} {middle}h{length:.1}", left - length);
        }
        let (centre, right) = (left + half, left + WIDTH);
        let _ = match character {
            '│' | '┃' => write!(path, "M{centre:.1} 0V{HEIGHT}"),
            '╭' | '┏' => {
                write!(path, "M{centre:.1} {HEIGHT}Q{centre:.1} {middle} {right:.1} {middle}")
            }
            '╮' | '┓' => {
                write!(path, "M{left:.1} {middle}Q{centre:.1} {middle} {centre:.1} {HEIGHT}")
            }
            '╰' | '┗' => {
                write!(path, "M{centre:.1} 0Q{centre:.1} {middle} {right:.1} {middle}")
            }
            '╯' | '┛' => write!(path, "M{left:.1} {middle}Q{centre:.1} {middle} {centre:.1} 0"),
            _ => Ok(()),
        };
    }
    let _ = write!(shapes, "<path class=\"{class}\" d=\"{path}\"/>");
}
