//! The diagnosis of a broken rule: its probable cause, and the bytes that were sent and received.

use super::cause::Cause;
use super::language::Language;
use super::row::{Exchange, Row};
use crate::hexdump;

/// Largest number of lines of a hexdump.
const LINES: usize = 5;
/// Largest number of characters per line of text.
const COLUMNS: usize = 78;

/// Why a rule is broken.
#[derive(Debug)]
pub(super) struct Diagnosis {
    /// The probable cause.
    pub(super) cause: Cause,
    /// Its explanation.
    pub(super) text: &'static str,
    /// What was sent, and the heading of it.
    sent: Vec<String>,
    /// What was received around the first wrong byte, and the heading of it.
    received: Vec<String>,
}

impl Diagnosis {
    /// Returns the diagnosis of a row, if it is broken. `earlier` are the rows before it.
    pub(super) fn of(row: &Row, earlier: &[Row], language: Language) -> Option<Self> {
        let cause = Cause::of(row, earlier)?;
        let exchange = &row.violation.as_ref()?.received.exchange;
        let [sent, received] = headings(exchange, language);
        let dump_sent = hexdump::start(&exchange.sent, LINES);
        let dump_received = hexdump::around(&exchange.received, exchange.wrong_at, LINES);
        Some(Self {
            cause,
            text: cause.text(language),
            sent: [vec![sent], dump_sent].concat(),
            received: [vec![received], dump_received].concat(),
        })
    }

    /// Returns what was sent, as lines.
    pub(super) fn sent(&self) -> String {
        self.sent.join("\n")
    }

    /// Returns what was received, as lines.
    pub(super) fn received(&self) -> String {
        self.received.join("\n")
    }

    /// Returns all of it as lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let bytes = self.sent.iter().chain(&self.received).cloned();
        bytes.chain(wrapped(self.text)).collect()
    }
}

fn headings(exchange: &Exchange, language: Language) -> [String; 2] {
    let Exchange { sent, received, wrong_at } = exchange;
    let is_missing = *wrong_at >= received.len();
    match language {
        Language::English => [
            format!("sent on this connection, {} bytes:", sent.len()),
            match is_missing {
                true => format!("received, {} bytes, and more expected:", received.len()),
                false => format!("received, {} bytes, wrong from byte {wrong_at}:", received.len()),
            },
        ],
        Language::Spanish => [
            format!("enviado en esta conexión, {} bytes:", sent.len()),
            match is_missing {
                true => format!("recibido, {} bytes, y se esperaban más:", received.len()),
                false => {
                    format!(
                        "recibido, {} bytes, incorrecto desde el byte {wrong_at}:",
                        received.len()
                    )
                }
            },
        ],
    }
}

/// Returns the text in lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
