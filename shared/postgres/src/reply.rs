//! The reply to a request: for each statement its rows and the number of rows it changed.

use postgres_protocol::Oid;
use postgres_protocol::message::backend::DataRowBody;

use crate::error::ServerError;
use crate::value::{FromValue, ValueError};
use std::rc::Rc;

/// A column of the rows of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name of the column.
    pub name: String,
    /// Object identifier of the type.
    pub oid: Oid,
    /// True if the values are in the binary format, as all are that a pipeline returns.
    pub is_binary: bool,
}

/// The replies to the statements of a request, in their order.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    pub(crate) replies: Vec<Reply>,
    pub(crate) warnings: Vec<ServerError>,
}

impl Replies {
    /// Returns the replies. A script has one for each of its statements.
    pub fn all(&self) -> &[Reply] {
        &self.replies
    }

    /// Returns the reply to a statement of the pipeline; the first has the index 0.
    ///
    /// # Panics
    ///
    /// Panics if the request had fewer statements.
    pub fn of(&self, statement: usize) -> &Reply {
        &self.replies[statement]
    }

    /// Returns the warnings of the server, at most [`MAX_WARNINGS`].
    ///
    /// A request that wrote and got a warning may not be replicated: a server that an operator
    /// makes end its wait for a synchronous standby (`pg_cancel_backend`) commits locally, and
    /// sends a warning before the success.
    pub fn warnings(&self) -> &[ServerError] {
        &self.warnings
    }
}

/// The largest number of warnings that a reply keeps.
pub const MAX_WARNINGS: usize = 16;

/// The reply to one statement.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub(crate) columns: Rc<[Column]>,
    pub(crate) rows: Vec<DataRowBody>,
    pub(crate) tag: String,
}

impl Reply {
    /// Returns the command tag, like `INSERT 0 5`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns the number of rows that the statement returned, inserted, updated, or deleted, as
    /// its tag has it: that of the outermost statement of a `WITH`. 0 if the tag has none.
    pub fn affected(&self) -> u64 {
        self.tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// Returns the columns of the rows.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.rows.iter().map(|body| Row { columns: &self.columns, body })
    }

    /// Returns the first row, or `None` if there is none.
    pub fn first(&self) -> Option<Row<'_>> {
        self.rows().next()
    }
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [Column],
    body: &'a DataRowBody,
}

impl<'a> Row<'a> {
    /// Returns the value of a column; the first has the index 0. The type has to be that of the
    /// column: see [`FromValue`].
    pub fn get<T: FromValue<'a>>(&self, index: usize) -> Result<T, ValueError> {
        let column =
            self.columns.get(index).ok_or(ValueError::NoColumn(index, self.columns.len()))?;
        T::read(column, crate::value::bytes(self.body, index))
    }
}
