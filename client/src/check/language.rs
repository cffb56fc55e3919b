//! The language of a diagnosis, which follows the locale.

/// A language of the diagnoses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Spanish,
}

impl Language {
    /// Returns Spanish if the locale of messages is Spanish. `variable` returns the value of an
    /// environment variable. As in POSIX, the first one that is set and not empty decides.
    pub(super) fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
        let locale = names.iter().find_map(|name| variable(name).filter(|it| !it.is_empty()));
        let locale = locale.unwrap_or_default();
        let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
        if language == "es" { Self::Spanish } else { Self::English }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let of = |set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|it| it.0 == name).map(|it| it.1.to_owned());
            Language::of_locale(value)
        };
        for spanish in ["es", "es_AR.UTF-8", "es_ES@euro", "es.UTF-8"] {
            assert_eq!(of(&[("LANG", spanish)]), Language::Spanish, "{spanish}");
        }
        for other in ["", "C", "en_US.UTF-8", "est_EE"] {
            assert_eq!(of(&[("LANG", other)]), Language::English, "{other}");
        }
        assert_eq!(of(&[("LC_ALL", "C"), ("LANG", "es_AR")]), Language::English);
        assert_eq!(of(&[("LC_ALL", ""), ("LC_MESSAGES", "es")]), Language::Spanish);
        assert_eq!(of(&[]), Language::English);
    }
}
