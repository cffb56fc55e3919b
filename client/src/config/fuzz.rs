//! Fuzz target: a configuration file with any content is read or refused, and what was read can be
//! written and read again.

#[path = "../../../fuzz/settings.rs"]
mod settings;

use self::settings::check_settings;
use super::Config;
use super::table::TABLE;

/// Resolves a file with this content, validates it, and reads back the effective configuration.
pub(crate) fn check(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    check_settings(&TABLE, text, |settings| {
        let config = Config::from_settings(settings, true, None).ok()?;
        Some(format!("{config:?}"))
    });
}

#[cfg(test)]
mod tests {
    use crate::fuzz_corpus::check_corpus;

    #[test]
    fn the_corpus_and_changes_of_it_are_read_or_refused() {
        check_corpus("client_settings", 5_000, super::check);
    }
}
