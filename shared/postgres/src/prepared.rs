//! The prepared statements of a connection.

use std::rc::Rc;

use bytes::BytesMut;
use postgres_protocol::Oid;
use postgres_protocol::message::frontend;

use crate::reply::Column;
use crate::request::statement_name;

/// Statements that the server has prepared, or is about to.
#[derive(Default)]
pub(crate) struct Prepared {
    statements: Vec<Statement>,
    /// The next number. Numbers are not used again: the server may have prepared a statement
    /// although it reported an error.
    next: u32,
}

/// A prepared statement.
struct Statement {
    sql: &'static str,
    types: Vec<Oid>,
    number: u32,
    /// Its columns, once the server has described it.
    columns: Option<Rc<[Column]>>,
}

impl Prepared {
    /// Returns the index of a statement, and true if the caller has to prepare it.
    pub(crate) fn find_or_add(&mut self, sql: &'static str, types: &[Oid]) -> (usize, bool) {
        let known =
            self.statements.iter().position(|known| known.sql == sql && known.types == types);
        if let Some(index) = known {
            return (index, false);
        }
        let number = self.next;
        self.next += 1;
        self.statements.push(Statement { sql, types: types.to_vec(), number, columns: None });
        (self.statements.len() - 1, true)
    }

    /// Returns the number of a statement.
    pub(crate) fn number(&self, index: usize) -> u32 {
        self.statements[index].number
    }

    /// Appends the messages that prepare a statement.
    pub(crate) fn write(&self, index: usize, out: &mut BytesMut) {
        let statement = &self.statements[index];
        let name = statement_name(statement.number);
        let parsed = frontend::parse(&name, statement.sql, statement.types.iter().copied(), out);
        let described = frontend::describe(b'S', &name, out);
        debug_assert!(parsed.is_ok() && described.is_ok(), "the request was checked");
    }

    /// Sets the columns of a statement, which the server has prepared.
    pub(crate) fn set_columns(&mut self, index: usize, columns: Rc<[Column]>) {
        self.statements[index].columns = Some(columns);
    }

    /// Returns the columns of a statement.
    pub(crate) fn columns(&self, index: usize) -> Rc<[Column]> {
        self.statements[index].columns.clone().unwrap_or_default()
    }

    /// Forgets the statements that the server did not prepare because of an error.
    pub(crate) fn forget_failed(&mut self) {
        self.statements.retain(|statement| statement.columns.is_some());
    }

    /// Forgets all statements, so that they are prepared anew.
    pub(crate) fn forget_all(&mut self) {
        self.statements.clear();
    }
}
