//! The single bet from the environment, which the agency sends instead of a file.

use std::ffi::OsString;

use lottery::{Bet, Birthdate, InvalidBet};

use crate::dataset::decimal;

/// The course's variables, in the order of the columns of a file of bets.
const VARIABLES: [&str; 5] = ["NOMBRE", "APELLIDO", "DOCUMENTO", "NACIMIENTO", "NUMERO"];

/// The single bet.
#[derive(Clone, Debug)]
pub(crate) struct SingleBet {
    first_name: String,
    last_name: String,
    /// Identity document.
    pub(crate) document: String,
    birthdate: Birthdate,
    /// Number of the bet.
    pub(crate) number: u32,
}

/// Why the bet from the environment cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SingleBetError {
    /// Some variables are set, others are not.
    #[error("the bet from the environment is incomplete: {missing} not set, of {}", VARIABLES.join(", "))]
    Incomplete {
        /// Variables that are not set, separated by commas.
        missing: String,
    },
    /// A variable is not UTF-8.
    #[error("the bet from the environment is not accepted: {0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A field breaks a rule of bets.
    #[error("the bet from the environment is not accepted: {0}")]
    Invalid(#[from] InvalidBet),
}

impl SingleBet {
    /// Reads the variables; `None` if none of them is set. An empty variable counts as not set, as
    /// it does for settings.
    pub(crate) fn from_environment(
        read: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<Self>, SingleBetError> {
        let values = VARIABLES.map(|name| read(name).filter(|value| !value.is_empty()));
        if values.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut fields: [String; 5] = Default::default();
        let mut missing = Vec::new();
        for ((field, value), name) in fields.iter_mut().zip(values).zip(VARIABLES) {
            match value.map(OsString::into_string) {
                Some(Ok(text)) => *field = text,
                Some(Err(_)) => return Err(SingleBetError::NotUtf8(name)),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            return Err(SingleBetError::Incomplete { missing: missing.join(", ") });
        }
        let [first_name, last_name, document, birthdate, number] = fields;
        let birthdate = Birthdate::from_unpadded(&birthdate)
            .ok_or_else(|| InvalidBet::birthdate(&birthdate))?;
        let number = decimal(&number).ok_or_else(|| InvalidBet::number(&number))?;
        let single = Self { first_name, last_name, document, birthdate, number };
        single.bet(0).validate()?;
        Ok(Some(single))
    }

    /// Returns the bet as one of agency `agency`.
    pub(crate) fn bet(&self, agency: u16) -> Bet<'_> {
        Bet {
            agency,
            first_name: &self.first_name,
            last_name: &self.last_name,
            document: self.document.as_str().into(),
            birthdate: self.birthdate,
            number: Some(self.number),
        }
    }
}
