//! What a server refuses, and why a connection does not come about or is lost.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// An error or a warning that the server reported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{severity} {code}: {message}{}", details(.detail, .hint))]
pub struct ServerError {
    /// Severity in English: `ERROR`, `FATAL`, `PANIC`, or `WARNING`.
    pub severity: String,
    /// SQLSTATE: five letters or digits.
    pub code: String,
    /// The message, in the language of the server.
    pub message: String,
    /// The detail that the server adds, or empty.
    pub detail: String,
    /// The hint that the server adds, or empty.
    pub hint: String,
}

/// Returns the detail and the hint of an error as the end of its text.
fn details(detail: &str, hint: &str) -> String {
    [detail, hint]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| format!("; {text}"))
        .collect()
}

impl ServerError {
    /// Reads the fields of an error or of a notice.
    pub(crate) fn read(mut fields: ErrorFields<'_>) -> io::Result<Self> {
        let mut read = Self {
            severity: String::new(),
            code: String::new(),
            message: String::new(),
            detail: String::new(),
            hint: String::new(),
        };
        while let Some(field) = fields.next()? {
            let place = match field.type_() {
                // `S` is the same in the language of the server.
                b'V' => &mut read.severity,
                b'C' => &mut read.code,
                b'M' => &mut read.message,
                b'D' => &mut read.detail,
                b'H' => &mut read.hint,
                _ => continue,
            };
            *place = String::from_utf8_lossy(field.value_bytes()).into_owned();
        }
        Ok(read)
    }

    /// Returns true if the server ends the connection after this error.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// Returns true if the transaction conflicts with another one and may be tried again
    /// (`serialization_failure`, `deadlock_detected`).
    pub fn is_serialization_failure(&self) -> bool {
        matches!(self.code.as_str(), "40001" | "40P01")
    }

    /// Returns true if the server is a standby or refuses to write (`read_only_sql_transaction`).
    pub fn is_read_only(&self) -> bool {
        self.code == "25006"
    }

    /// Returns true if a table does not exist (`undefined_table`), or its schema
    /// (`invalid_schema_name`).
    pub fn is_undefined_table(&self) -> bool {
        matches!(self.code.as_str(), "42P01" | "3F000")
    }

    /// Returns true if the object exists already (`duplicate_table`, `duplicate_schema`,
    /// `duplicate_database`, `duplicate_object`), which includes two sessions that create it at
    /// once (`unique_violation`).
    pub fn is_duplicate(&self) -> bool {
        matches!(self.code.as_str(), "42P07" | "42P06" | "42P04" | "42710" | "23505")
    }

    /// Returns true if a unique index has the key already (`unique_violation`).
    pub fn is_unique_violation(&self) -> bool {
        self.code == "23505"
    }

    /// Returns true if the server starts, stops, or recovers (`cannot_connect_now`,
    /// `admin_shutdown`, `crash_shutdown`).
    pub fn is_unavailable(&self) -> bool {
        matches!(self.code.as_str(), "57P03" | "57P01" | "57P02")
    }

    /// Returns true if the server has no place for another connection (`too_many_connections`).
    pub fn is_too_many_connections(&self) -> bool {
        self.code == "53300"
    }

    /// Returns true if the server refuses the user or the password
    /// (`invalid_authorization_specification`, `invalid_password`).
    pub fn is_authentication_failure(&self) -> bool {
        self.code.starts_with("28")
    }

    /// Returns true if the database does not exist (`invalid_catalog_name`).
    pub fn is_undefined_database(&self) -> bool {
        self.code == "3D000"
    }

    /// Returns true if a statement was canceled (`query_canceled`), also by a time limit of the
    /// server.
    pub fn is_canceled(&self) -> bool {
        self.code == "57014"
    }

    /// Returns true if the server has run out of disk, memory, or another resource
    /// (class 53).
    pub fn is_out_of_resources(&self) -> bool {
        self.code.starts_with("53")
    }
}

/// A step in the life of a connection, which has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Connecting the socket.
    Connect,
    /// Authentication, until the server is ready.
    Authenticate,
    /// A request.
    Request,
    /// No request is under way.
    Idle,
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Authenticate => "authenticating",
            Self::Request => "a request",
            Self::Idle => "waiting for requests",
        })
    }
}

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system reported an error of the socket.
    #[error("{0}: {1}")]
    Io(Step, #[source] io::Error),
    /// The server closed the connection.
    #[error("{0}: the server closed the connection")]
    Closed(Step),
    /// The server did not answer in time.
    #[error("{0}: no answer within {1:?}")]
    Deadline(Step, Duration),
    /// The server refused the connection, or ended it with an error.
    #[error("{0}")]
    Server(#[source] Box<ServerError>),
    /// The server is a standby.
    #[error("the server is a standby")]
    Standby,
    /// Transactions of the server are read-only by default.
    #[error("the server is read-only (default_transaction_read_only)")]
    ReadOnly,
    /// The server does not report the parameter that distinguishes a primary from a standby.
    #[error(
        "the server does not report in_hot_standby: PostgreSQL {0} is too old, use 14 or later"
    )]
    Version(String),
    /// The server asks for a password and there is none.
    #[error(
        "the server asks for a password: set PGPASSWORD, or write a line for this host into the \
         password file (PGPASSFILE, ~/.pgpass)"
    )]
    NoPassword,
    /// The server asks for an authentication that this crate does not have.
    #[error(
        "the server asks for {0}, which is not supported: use scram-sha-256 or md5 in pg_hba.conf"
    )]
    Authentication(&'static str),
    /// The bytes of the server are not valid at this point of the protocol.
    #[error("{0}: the server violates the protocol: {1}")]
    Protocol(Step, String),
    /// A reply is larger than the limit.
    #[error("{0}: the server sends {1} bytes or more, the limit is {2}")]
    TooLarge(Step, usize, usize),
}

impl Fault {
    /// Returns true if another attempt fails in the same way until the settings of the
    /// server or of the client change.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Server(error) => {
                error.is_authentication_failure() || error.is_undefined_database()
            }
            Self::Version(_) | Self::NoPassword | Self::Authentication(_) => true,
            _ => false,
        }
    }
}

/// A fault and the server it is about.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {fault}")]
pub struct HostFault {
    /// Host and port as in the URL, with the address if the host is a name.
    pub host: String,
    /// What happened.
    #[source]
    pub fault: Fault,
}

/// The end of a connection that was established.
#[derive(Debug, thiserror::Error)]
#[error("{cause}{}", if *.under_way { "; the outcome of the request is unknown" } else { "" })]
pub struct Lost {
    /// Which server, and why.
    #[source]
    pub cause: HostFault,
    /// True if a request was under way. Its outcome is unknown: the server may have executed it,
    /// and may still be executing it.
    pub under_way: bool,
}
