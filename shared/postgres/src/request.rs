//! A request: a pipeline of statements that the server executes in one transaction and one round
//! trip.

use bytes::BytesMut;
use postgres_protocol::{Oid, message::frontend};

use crate::param::Param;

/// The largest request in bytes. The server accepts messages of less than 1 GiB.
pub const MAX_REQUEST: usize = 1 << 29;
/// Length of the name of a prepared statement, which [`Request::name`] writes.
const NAME_LENGTH: usize = 8;
/// Bytes before the name in a bind message: tag, length, and the name of the portal, which is
/// empty.
const BEFORE_NAME: usize = 1 + 4 + 1;

/// Why a request cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request is too large.
    #[error("a request of {0} bytes is larger than {MAX_REQUEST}")]
    TooLarge(usize),
    /// A statement has more parameters than the protocol can number.
    #[error("a statement with {0} parameters; PostgreSQL accepts 65535")]
    TooManyParameters(usize),
    /// A statement contains a NUL character.
    #[error("a statement contains a NUL character")]
    Nul,
}

/// A statement of a request.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Text of the statement.
    pub(crate) sql: &'static str,
    /// Types of its parameters.
    pub(crate) types: Vec<Oid>,
    /// Where its messages begin in the bytes of the request.
    pub(crate) start: usize,
}

/// The form of a request.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Prepared statements.
    Pipeline(Vec<Part>),
    /// The text of statements, for the simple query protocol.
    Script,
}

/// Statements that are sent together and answered together.
///
/// The server executes the statements of a request in their order, in one implicit transaction. If
/// a statement fails, it skips the rest, and nothing of the request remains. A request may contain
/// `BEGIN` and `COMMIT` as statements instead. A transaction that a request leaves open is
/// continued by the next one.
///
/// The parameters are copied once, when they are added. The statements are prepared when a
/// connection executes them for the first time.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) kind: Kind,
    pub(crate) bytes: BytesMut,
}

impl Request {
    /// Returns a request without statements, which does nothing but a round trip.
    pub fn new() -> Self {
        Self::in_buffer(BytesMut::new())
    }

    /// Returns a request of one statement.
    pub fn of(sql: &'static str, params: &[Param<'_>]) -> Result<Self, RequestError> {
        let mut request = Self::new();
        request.add(sql, params)?;
        Ok(request)
    }

    /// Returns a request that uses the memory of `bytes`.
    pub(crate) fn in_buffer(mut bytes: BytesMut) -> Self {
        bytes.clear();
        Self { kind: Kind::Pipeline(Vec::new()), bytes }
    }

    /// Returns a request of the text of any number of statements separated by `;`, without
    /// parameters. They are not prepared. The rows of its reply have values in text format only.
    /// Meant for the definition of tables.
    pub fn script(sql: &str) -> Result<Self, RequestError> {
        check_size(sql.len())?;
        let mut bytes = BytesMut::new();
        frontend::query(sql, &mut bytes).map_err(|_| RequestError::Nul)?;
        Ok(Self { kind: Kind::Script, bytes })
    }

    /// Adds a statement with its parameters `$1`, `$2`, and so on.
    ///
    /// # Panics
    ///
    /// Panics if the request was made by [`Request::script`].
    pub fn add(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<(), RequestError> {
        let Kind::Pipeline(parts) = &mut self.kind else {
            panic!("a script takes no statements with parameters")
        };
        let size = params.iter().map(|param| 4 + param.size()).sum::<usize>();
        check_size(self.bytes.len() + size)?;
        if sql.contains('\0') {
            return Err(RequestError::Nul);
        }
        if params.len() > usize::from(u16::MAX) {
            return Err(RequestError::TooManyParameters(params.len()));
        }
        let start = self.bytes.len();
        // Tag, length, names, formats, and the message that executes the portal.
        self.bytes.reserve(size + 64);
        let placeholder = "00000000";
        let bound = frontend::bind(
            "",
            placeholder,
            [1],
            params,
            |param, out| Ok(param.write(out)),
            [1],
            &mut self.bytes,
        );
        debug_assert!(bound.is_ok(), "sizes were checked");
        let executed = frontend::execute("", 0, &mut self.bytes);
        debug_assert!(executed.is_ok(), "the portal has no name");
        parts.push(Part { sql, types: params.iter().map(Param::oid).collect(), start });
        Ok(())
    }

    /// Returns the number of statements.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Pipeline(parts) => parts.len(),
            Kind::Script => 1,
        }
    }

    /// Returns true if there are no statements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of bytes of the statements and their parameters.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the number of a prepared statement as its name into the messages that begin at
    /// `start`.
    pub(crate) fn name(&mut self, start: usize, number: u32) {
        let begin = start + BEFORE_NAME;
        self.bytes[begin..begin + NAME_LENGTH].copy_from_slice(statement_name(number).as_bytes());
    }
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the name of the prepared statement with this number.
pub(crate) fn statement_name(number: u32) -> String {
    format!("{number:0NAME_LENGTH$x}")
}

fn check_size(bytes: usize) -> Result<(), RequestError> {
    if bytes > MAX_REQUEST { Err(RequestError::TooLarge(bytes)) } else { Ok(()) }
}
