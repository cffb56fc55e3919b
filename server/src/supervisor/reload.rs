//! A reload: reads the settings again from the same sources, and says what changes.

use std::collections::BTreeMap;

use conventions::log_line::{Outcome, error, info, warn};
use conventions::logger;
use conventions::settings::{Settings, SettingsError};

use crate::central::Central;
use crate::config::{Config, Flags, TABLE};
use crate::worker::Store;

/// Settings that apply only at a start: the sockets, the storage and the log stay as they are.
pub const NEED_RESTART: [&str; 12] = [
    "SERVER_PORT",
    "SERVER_IP",
    "SERVER_LISTEN_BACKLOG",
    "SERVER_PROTOCOL",
    "SERVER_STORAGE",
    "SERVER_CENTRAL_NAME",
    "SERVER_LOTTERY",
    "SERVER_STORAGE_DIR",
    "SERVER_DURABILITY",
    "SERVER_LOG_FORMAT",
    "SERVER_LOG_FILE",
    "SERVER_MONITOR",
];

/// The values of all settings, as text, by key.
type Values = BTreeMap<&'static str, String>;

/// The settings of a running central, and their sources.
#[derive(Debug)]
pub struct Reloader<'a> {
    flags: &'a Flags,
    /// The values that apply.
    values: Values,
    /// What was read and is not applied yet.
    read: Option<(Values, Config)>,
}

impl<'a> Reloader<'a> {
    /// Returns the reloader of a central that starts with these settings.
    pub fn new(flags: &'a Flags, settings: &Settings) -> Self {
        Self { flags, values: values(settings), read: None }
    }

    /// Reads the settings again. Returns them if they are valid, and logs why not otherwise.
    pub fn read(&mut self) -> Option<&Config> {
        match read(self.flags) {
            Ok(read) => Some(&self.read.insert(read).1),
            Err(reason) => {
                error("reload", Outcome::Fail)
                    .with("error", reason)
                    .with("next", "keep the settings and the workers")
                    .write();
                None
            }
        }
    }

    /// Forgets what was read.
    pub fn discard(&mut self) {
        self.read = None;
    }

    /// Applies what was read to `config`, except for the settings that need a restart, and logs
    /// both. Does nothing if nothing was read.
    pub fn apply<S: Store>(
        &mut self,
        config: &mut Config,
        central: &mut Central<S>,
        generation: u32,
    ) {
        let Some((values, read)) = self.read.take() else { return };
        let changed = values.iter().filter(|(key, value)| self.values.get(*key) != Some(value));
        let (later, now): (Vec<&str>, Vec<&str>) =
            changed.map(|(key, _)| *key).partition(|key| NEED_RESTART.contains(key));
        info("reload", Outcome::InProgress)
            .with("generation", generation)
            .with("workers", read.workers)
            .with("changed", if now.is_empty() { "nothing".to_owned() } else { now.join(" ") })
            .write();
        if !later.is_empty() {
            warn("reload", Outcome::Fail)
                .with("settings", later.join(" "))
                .with("error", "these apply only at a start")
                .with("next", "keep their values; restart the central to change them")
                .write();
        }
        logger::set_level(read.log_level);
        let (mut agencies, mut roster) = (config.agencies, config.roster.take());
        let confirm = config.draw_needs_confirmation;
        let waits_for = (agencies, &roster, confirm);
        if (read.agencies, &read.roster, read.draw_needs_confirmation) != waits_for
            && expect(central, &read)
        {
            (agencies, roster) = (read.agencies, read.roster.clone());
        }
        central.shared().needs_confirmation.store(read.draw_needs_confirmation.into());
        central.shared().log_missing_confirmation();
        for key in now {
            self.values.insert(key, values[key].clone());
        }
        let started = config.clone();
        *config = Config {
            listen_addresses: started.listen_addresses,
            ip: started.ip,
            backlog: started.backlog,
            storage: started.storage,
            storage_dir: started.storage_dir,
            durability: started.durability,
            log_format: started.log_format,
            log_file: started.log_file,
            agencies,
            roster,
            ..read
        };
    }
}

/// Changes the agencies that the draw waits for. Returns false, and logs why, if that is not
/// possible.
fn expect<S: Store>(central: &mut Central<S>, read: &Config) -> bool {
    let reason = match S::expect(central, read) {
        Ok(true) => {
            let finished = central.shared().finished.load();
            info("agencies", Outcome::Success)
                .with("expected", read.agencies)
                .with("finished", finished)
                .with("roster", read.roster.is_some())
                .write();
            return true;
        }
        Ok(false) => "bets are closed".to_owned(),
        Err(reason) => reason.to_string(),
    };
    let settings = if read.roster.is_some() { "SERVER_ROSTER" } else { "SERVER_AGENCIES" };
    warn("reload", Outcome::Fail)
        .with("settings", settings)
        .with("error", reason)
        .with("next", "keep its value")
        .write();
    false
}

fn read(flags: &Flags) -> Result<(Values, Config), SettingsError> {
    let settings = flags.resolve()?;
    let config = Config::from_settings(&settings)?;
    Ok((values(&settings), config))
}

fn values(settings: &Settings) -> Values {
    let keys = TABLE.settings.iter().map(|setting| setting.key);
    keys.map(|key| (key, settings.text(key).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_need_a_restart_exist_and_readme_names_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operator.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let names = NEED_RESTART.map(|key| format!("`{key}`")).join(", ");
        assert!(
            readme.replace('\n', " ").contains(&names),
            "docs/operator.md needs the list {names}"
        );
        for key in NEED_RESTART {
            assert!(TABLE.settings.iter().any(|setting| setting.key == key), "{key}");
        }
    }
}
