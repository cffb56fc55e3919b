//! Records the live view of a real central: starts the central and its agencies, presses keys in
//! `loteria-central top` on a pseudo-terminal, and writes what it shows as an animated SVG.

mod run;
mod screen;
mod svg;

use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use self::run::Lottery;
use self::screen::Recorder;
use crate::run::eprint_line;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(500);
/// The recording ends at the latest after this time.
const LONGEST: Duration = Duration::from_secs(18);
/// Frames after the draw.
const LAST_FRAMES: usize = 5;
/// Frames at which keys are pressed. The right arrow selects the next worker.
const KEYS: [(usize, &str); 5] =
    [(6, "\x1b[C"), (8, "k"), (12, "\x1b[C"), (13, "\x1b[C"), (14, "k")];
/// The frame that a viewer without animation shows: soon after the second kill.
const STILL: usize = 16;

#[derive(Args)]
pub(crate) struct RecordArgs {
    /// Directory with the programs loteria-central and loteria-agency
    #[arg(long)]
    programs: PathBuf,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// Width of the terminal
    #[arg(long, default_value = "100")]
    columns: NonZero<u16>,
    /// Height of the terminal
    #[arg(long, default_value = "22")]
    rows: NonZero<u16>,
}

/// Makes a recording.
pub(crate) fn record(arguments: &RecordArgs) -> Result<()> {
    let mut lottery = Lottery::start(&arguments.programs)?;
    let mut recorder = Recorder::start(&mut lottery.top(), arguments.columns, arguments.rows)?;
    let (start, mut frames, mut after_draw) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < LONGEST && after_draw < LAST_FRAMES {
        sleep(FRAME);
        frames.push(recorder.screen());
        for (_, keys) in KEYS.iter().filter(|(frame, _)| *frame == frames.len()) {
            recorder.press(keys)?;
        }
        lottery.start_agencies(frames.len())?;
        if lottery.is_drawn()? {
            after_draw += 1;
        }
    }
    recorder.press("q")?;
    recorder.end()?;
    let picture = svg::animation(&frames, FRAME, STILL);
    if let Some(directory) = arguments.out.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(&arguments.out, &picture)
        .with_context(|| format!("writing {}", arguments.out.display()))?;
    eprint_line(&format!(
        "wrote {}: {} frames, {} kB",
        arguments.out.display(),
        frames.len(),
        picture.len() / 1000
    ));
    Ok(())
}
