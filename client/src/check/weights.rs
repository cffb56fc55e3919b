//! The points of each rule: those of its group, unless the user gives others.

use clap::ValueEnum;

use super::rule::{Group, Planned};

/// Weights of the command line, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights(pub(super) Vec<Weight>);

/// One `--weight NAME=POINTS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    /// A group or the whole identifier of a rule.
    pub(super) name: String,
    /// Points of each rule that it names.
    pub(super) points: u32,
}

/// Parses `NAME=POINTS`.
pub(super) fn parse(text: &str) -> Result<Weight, String> {
    let expected = "expected NAME=POINTS, such as draw=20 or typed/batch-split=5";
    let (name, points) = text.split_once('=').ok_or(expected)?;
    let points = points.parse().map_err(|_| expected)?;
    let is_known =
        name.contains('/') || Group::value_variants().iter().any(|group| group.name() == name);
    if !is_known {
        let groups: Vec<_> = Group::value_variants().iter().map(|group| group.name()).collect();
        return Err(format!(
            "{name:?} is neither a group ({}) nor the identifier of a rule (see --list)",
            groups.join(", ")
        ));
    }
    Ok(Weight { name: name.to_owned(), points })
}

impl Weights {
    /// Returns the points of a rule. The last weight that names it counts, and one that names the
    /// rule counts before one that names its group.
    pub(super) fn of(&self, planned: &Planned, dialect: &str) -> u32 {
        let id = planned.full_id(dialect);
        let given = |name: &str| self.0.iter().rev().find(|weight| weight.name == name);
        let weight = given(&id).or_else(|| given(planned.group.name()));
        weight.map_or(planned.group.weight(), |weight| weight.points)
    }

    /// Returns the first weight that names a rule which is not planned.
    pub(super) fn unknown(&self, plan: &[Planned], dialect: &str) -> Option<&str> {
        let is_planned = |name: &str| plan.iter().any(|planned| planned.full_id(dialect) == name);
        let names = self.0.iter().map(|weight| &*weight.name);
        names.into_iter().find(|name| name.contains('/') && !is_planned(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::Method;
    use super::*;

    const RULE: Planned = Planned::draw("waits", "a rule");

    #[test]
    fn a_weight_of_the_rule_counts_before_that_of_its_group_and_the_last_one_counts() {
        let points = |given: &[&str]| {
            let given = given.iter().map(|text| parse(text).unwrap()).collect();
            Weights(given).of(&RULE, "framed")
        };
        assert_eq!(points(&[]), Group::Draw.weight());
        assert_eq!(points(&["draw=7", "framing=3"]), 7);
        assert_eq!(points(&["framed/waits=2", "draw=7"]), 2);
        assert_eq!(points(&["draw=7", "draw=0"]), 0);
    }

    #[test]
    fn a_weight_that_names_nothing_is_refused() {
        for text in ["draw", "draw=", "draw=-1", "draws=1", "=1"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let split = Planned { method: Method::Bytewise, ..RULE };
        let weights = Weights(vec![parse("line/waits-split=1").unwrap(), parse("draw=1").unwrap()]);
        assert_eq!(weights.unknown(&[RULE, split], "line"), None);
        assert_eq!(weights.unknown(&[RULE], "line"), Some("line/waits-split"));
    }
}
