//! The keys of the view.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// A move of the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the next worker.
    Next,
    /// To the previous worker.
    Previous,
    /// To the worker below.
    Down,
    /// To the worker above.
    Up,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave.
    Quit,
    /// Kill the selected worker.
    Kill,
    /// Select another worker.
    Select(Step),
}

/// Returns what a key asks for, if anything.
pub fn action(key: &KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => Some(Action::Quit),
        _ if control => None,
        KeyCode::Char('q') | KeyCode::Esc => Some(Action::Quit),
        // A key that is held down must not kill one worker after another.
        KeyCode::Char('k') if key.kind == KeyEventKind::Press => Some(Action::Kill),
        KeyCode::Right | KeyCode::Tab => Some(Action::Select(Step::Next)),
        KeyCode::Left | KeyCode::BackTab => Some(Action::Select(Step::Previous)),
        KeyCode::Down => Some(Action::Select(Step::Down)),
        KeyCode::Up => Some(Action::Select(Step::Up)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode, modifiers: KeyModifiers) -> Option<Action> {
        action(&KeyEvent::new(code, modifiers))
    }

    #[test]
    fn q_escape_and_control_c_leave() {
        assert_eq!(pressed(KeyCode::Char('q'), KeyModifiers::NONE), Some(Action::Quit));
        assert_eq!(pressed(KeyCode::Esc, KeyModifiers::NONE), Some(Action::Quit));
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(pressed(KeyCode::Char('c'), KeyModifiers::NONE), None);
    }

    #[test]
    fn only_a_fresh_press_of_plain_k_kills() {
        assert_eq!(pressed(KeyCode::Char('k'), KeyModifiers::NONE), Some(Action::Kill));
        assert_eq!(pressed(KeyCode::Char('k'), KeyModifiers::CONTROL), None);
        let mut held = KeyEvent::new(KeyCode::Char('k'), KeyModifiers::NONE);
        for kind in [KeyEventKind::Repeat, KeyEventKind::Release] {
            held.kind = kind;
            assert_eq!(action(&held), None);
        }
    }
}
