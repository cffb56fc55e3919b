//! Bets that are stored before a test begins.

use std::fs;

use super::setup::Setup;

/// Most bytes of a batch of `framed`, with room for the line that counts its bets.
const BATCH_BYTES: usize = 60_000;

impl Setup {
    /// Stores these rows of `bets.csv` before the first start. With an engine, an earlier run of a
    /// central stores them.
    pub fn store_before(&self, rows: &str) {
        if self.database.is_none() {
            fs::create_dir(self.stored("")).unwrap();
            fs::write(self.stored("bets.csv"), rows).unwrap();
            return;
        }
        let mut command = self.command(&["run", "--protocol", "framed", "--agencies", "65535"]);
        let central = self.start_by(&mut command);
        let mut agency = central.connect();
        let mut lines: Vec<_> = rows.lines().map(|row| row.replace(',', "|")).collect();
        while !lines.is_empty() {
            let mut bytes = 0;
            let fits = lines.iter().take_while(|line| {
                bytes += line.len() + 1;
                bytes <= BATCH_BYTES
            });
            let batch: Vec<_> = lines.drain(..fits.count()).collect();
            let text = format!("{}\n{}\n", batch.len(), batch.join("\n"));
            agency.send(&(text.len() as u16).to_be_bytes());
            agency.send(text.as_bytes());
            let stored = format!("SUCCESS|{}\n", batch.len());
            assert_eq!(agency.read_bytes(stored.len()), stored.as_bytes());
        }
        assert_eq!(central.stop().0, 0);
    }
}
