//! What the draw waits for. It is the same for all centrals of a lottery.

use std::fmt::Display;

use postgres_link::Param;

use crate::config::Config;

/// What the draw waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Number of agencies.
    pub agencies: i32,
    /// The agencies that count, in ascending order; `None` if all do.
    pub roster: Option<Vec<i32>>,
    /// True if the draw waits for an operator.
    pub needs_confirmation: bool,
}

impl Expected {
    /// Returns what the settings say.
    pub fn of(config: &Config) -> Self {
        let roster = config.roster.as_ref();
        Self {
            agencies: config.agencies.into(),
            roster: roster.map(|roster| roster.numbers().map(i32::from).collect()),
            needs_confirmation: config.draw_needs_confirmation,
        }
    }

    /// Returns the parameters of a statement: the number, the roster, and the confirmation.
    pub fn params(&self) -> [Param<'_>; 3] {
        const NONE: Param<'_> = Param::Null(&Param::I32s(&[]));
        [
            Param::I32(self.agencies),
            self.roster.as_deref().map_or(NONE, Param::I32s),
            Param::Bool(self.needs_confirmation),
        ]
    }

    /// Returns the settings that differ from those of other centrals, with both values.
    pub fn differences(&self, theirs: &Self) -> Vec<String> {
        let agencies = [self, theirs].map(|it| it.agencies.to_string());
        let rosters = [self, theirs].map(|it| {
            it.roster.as_deref().map_or_else(
                || "none".to_owned(),
                |numbers| format!("a list of {}", listed(numbers)),
            )
        });
        let draws = [self, theirs].map(|it| match it.needs_confirmation {
            true => "confirm".to_owned(),
            false => "automatic".to_owned(),
        });
        let settings =
            [("SERVER_AGENCIES", agencies), ("SERVER_ROSTER", rosters), ("SERVER_DRAW", draws)];
        let differ = settings.into_iter().filter(|(_, [here, there])| here != there);
        differ.map(|(key, [here, there])| format!("{key} is {here} here, {there} there")).collect()
    }
}

fn listed(numbers: &[impl Display]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
