//! The dialects whose agencies seem to open a connection per request, where they have the choice.
//! No such connection is worth an effort to distribute them among the workers.

use lottery::protocol::Dialect;

/// Value from which on the connections of a dialect count as brief.
const BRIEF: u8 = 4;

/// How often connections of each dialect have been brief lately.
///
/// A connection that ends after one reply adds 1 for its dialect, and one that gets a second reply
/// subtracts 2. A connection that has just begun does not count: many may begin at once, before one
/// of them ends.
#[derive(Debug, Default)]
pub struct Brief(Vec<(&'static Dialect, u8)>);

impl Brief {
    /// Returns true if most connections of a dialect end after one reply.
    pub fn contains(&self, dialect: &'static Dialect) -> bool {
        self.0.iter().any(|(known, value)| *known == dialect && *value >= BRIEF)
    }

    /// Counts what has become of a connection that had `before` replies and has `after`.
    pub fn count(&mut self, dialect: &'static Dialect, before: u32, after: u32, ended: bool) {
        let is_brief = ended && after == 1;
        let stays = before == 1 && after > 1;
        if !dialect.keeps_connections() || !is_brief && !stays {
            return;
        }
        let found = self.0.iter().position(|(known, _)| *known == dialect);
        let index = found.unwrap_or(self.0.len());
        if found.is_none() {
            self.0.push((dialect, 0));
        }
        let value = &mut self.0[index].1;
        *value = if is_brief { (*value + 1).min(2 * BRIEF) } else { value.saturating_sub(2) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(name: &str) -> &'static Dialect {
        Dialect::named(name).unwrap()
    }

    fn serve(brief: &mut Brief, name: &str, replies: u32) {
        for before in 0..replies {
            brief.count(dialect(name), before, before + 1, false);
        }
        brief.count(dialect(name), replies, replies, true);
    }

    #[test]
    fn connections_are_brief_while_most_end_after_one_reply() {
        let mut brief = Brief::default();
        (0..2 * BRIEF).for_each(|_| serve(&mut brief, "keyed", 1));
        assert!(brief.contains(dialect("keyed")));
        (0..BRIEF).for_each(|_| serve(&mut brief, "keyed", 3));
        assert!(!brief.contains(dialect("keyed")));
    }

    #[test]
    fn a_connection_that_ends_together_with_its_only_reply_is_brief() {
        let mut brief = Brief::default();
        (0..BRIEF).for_each(|_| brief.count(dialect("keyed"), 0, 1, true));
        assert!(brief.contains(dialect("keyed")));
    }

    #[test]
    fn a_dialect_is_not_brief_because_of_another_one() {
        let mut brief = Brief::default();
        (0..2 * BRIEF).for_each(|_| serve(&mut brief, "keyed", 1));
        (0..2 * BRIEF).for_each(|_| serve(&mut brief, "typed", 1));
        assert!(!brief.contains(dialect("sentinel")) && !brief.contains(dialect("typed")));
        (0..2 * BRIEF).for_each(|_| serve(&mut brief, "sentinel", 3));
        assert!(brief.contains(dialect("keyed")));
    }
}
