//! The Markdown table that a bench prints. The sides run alternately, turn by turn.

use std::error::Error;

use super::machine::{Others, described};
use super::{Figure, Outcome};

/// Number of turns of each side.
const TURNS: usize = 9;

/// One side, which runs for a turn.
type Side<'a> = Option<&'a dyn Fn() -> Figure>;

/// The sides that do the same. `None` for a side that has nothing comparable.
pub struct Sides<'a> {
    pub ours: &'a dyn Fn() -> Figure,
    pub c: Side<'a>,
    pub python: Side<'a>,
    pub raw_sync: Side<'a>,
}

/// A table that is being printed.
pub struct Table {
    others: Others,
}

impl Table {
    /// Prints the head of a table of rates per second.
    pub fn begin(title: &str) -> Result<Self, Box<dyn Error>> {
        println!(
            "### {title}\n\n{}. Per second, medians (least to most) of {TURNS} turns.\n",
            described()?
        );
        println!("| what | ours | C | Python | raw_sync | ours / C | ours / Python |");
        println!("|---|---:|---:|---:|---:|---:|---:|");
        Ok(Self { others: Others::watch()? })
    }

    /// Measures and prints a row.
    pub fn row(&self, what: &str, sides: &Sides) -> Outcome {
        let sides = [Some(sides.ours), sides.c, sides.python, sides.raw_sync];
        let mut figures = [const { Vec::new() }; 4];
        for turn in 0..TURNS {
            // The order changes, so that no side always follows the same one.
            for side in (0..sides.len()).map(|index| (index + turn) % sides.len()) {
                if let Some(run) = sides[side] {
                    figures[side].push(run()?);
                }
            }
        }
        let [ours, c, python, raw_sync] = &figures;
        let cells = [
            figures_cell(ours),
            figures_cell(c),
            figures_cell(python),
            figures_cell(raw_sync),
            ratio_cell(ours, c),
            ratio_cell(ours, python),
        ];
        println!("| {what} | {} |", cells.join(" | "));
        Ok(())
    }

    /// Prints how quiet the machine was.
    pub fn end(self) -> Outcome {
        println!(
            "\nOther programs used {:.0} % of the processors meanwhile.\n",
            self.others.share()?
        );
        Ok(())
    }
}

fn figures_cell(figures: &[f64]) -> String {
    cell(figures, |figure| match figure {
        1e6.. => format!("{:.2} M", figure / 1e6),
        1e4.. => format!("{:.0} k", figure / 1e3),
        1e3.. => format!("{:.1} k", figure / 1e3),
        _ => format!("{figure:.0}"),
    })
}

/// Returns the ratio of our rate to that of another side, turn by turn, because a disturbance
/// affects both sides of a turn.
fn ratio_cell(ours: &[f64], other: &[f64]) -> String {
    let ratios: Vec<f64> = ours.iter().zip(other).map(|(ours, other)| ours / other).collect();
    cell(&ratios, |ratio| if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") })
}

/// Returns median, minimum and maximum, or `None` without values.
fn cell(figures: &[f64], shown: impl Fn(f64) -> String) -> String {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else { return String::new() };
    format!("{} ({} to {})", shown(sorted[sorted.len() / 2]), shown(least), shown(most))
}
