//! A table row per side: its rate, and the ratio of this library to it.

use crate::{Failure, Side};

/// Measures the sides in turns and prints the table. The first side is this library.
pub fn print(what: &str, count: u64, turns: usize, sides: &[Side]) -> Result<(), Failure> {
    let mut rates = vec![Vec::new(); sides.len()];
    for _turn in 0..turns {
        for ((_, measure), rates) in sides.iter().zip(&mut rates) {
            rates.push(count as f64 / measure(count)?.as_secs_f64());
        }
    }
    println!("\n### {}\n", capitalized(what));
    println!("Per second, medians (least to most) of {turns} turns of {count}.\n");
    println!("| side | per second | this library ÷ side |\n|---|---:|---:|");
    for ((name, _), side) in sides.iter().zip(&rates) {
        let ratios: Vec<_> = rates[0].iter().zip(side).map(|(ours, side)| ours / side).collect();
        println!("| {name} | {} | {} |", spread(side, 0, 1e-3, " k"), spread(&ratios, 2, 1.0, ""));
    }
    Ok(())
}

fn spread(numbers: &[f64], digits: usize, factor: f64, unit: &str) -> String {
    let mut sorted: Vec<_> = numbers.iter().map(|number| number * factor).collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
    let median = sorted[sorted.len() / 2];
    format!("{median:.digits$}{unit} ({least:.digits$} to {most:.digits$})")
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}
