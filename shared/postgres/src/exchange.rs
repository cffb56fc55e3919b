//! One request and its reply: which messages the server has to send, in which order.

use std::rc::Rc;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message, RowDescriptionBody};
use postgres_protocol::message::frontend;

use crate::error::{Fault, ServerError, Step};
use crate::prepared::Prepared;
use crate::reply::{Column, MAX_WARNINGS, Replies, Reply};
use crate::request::{Kind, Request};

/// The result of a request.
pub(crate) type Answer = Result<Replies, ServerError>;

/// What the server sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The statement is parsed.
    Parsed,
    /// The types of its parameters.
    Parameters,
    /// Its columns, or none.
    Columns,
    /// The parameters are bound.
    Bound,
    /// Rows, or the end of the statement.
    Rows,
    /// The end of the request, or, in a script, another statement.
    Ready,
}

/// A statement of the pipeline.
#[derive(Clone, Copy, Debug)]
struct Planned {
    /// Index among the prepared statements of the connection.
    statement: usize,
    /// True if this request prepares it.
    is_new: bool,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    plan: Vec<Planned>,
    /// Index in `plan` of the current statement.
    current: usize,
    expected: Expected,
    is_script: bool,
    reply: Reply,
    replies: Replies,
    error: Option<ServerError>,
}

fn violation(text: impl ToString) -> Fault {
    Fault::Protocol(Step::Request, text.to_string())
}

impl Exchange {
    /// Returns the exchange of a request, and the bytes to send.
    pub(crate) fn begin(request: Request, prepared: &mut Prepared) -> (Self, BytesMut) {
        let mut plan = Vec::new();
        let is_script = matches!(request.kind, Kind::Script);
        let bytes =
            if is_script { request.bytes } else { plan_pipeline(request, prepared, &mut plan) };
        let mut exchange = Self {
            plan,
            current: 0,
            expected: Expected::Ready,
            is_script,
            reply: Reply::default(),
            replies: Replies::default(),
            error: None,
        };
        exchange.expect_statement();
        (exchange, bytes)
    }

    /// Expects the first message of the current statement.
    fn expect_statement(&mut self) {
        self.expected = match self.plan.get(self.current) {
            None => Expected::Ready,
            Some(planned) if planned.is_new => Expected::Parsed,
            Some(_) => Expected::Bound,
        };
    }

    /// Handles a message. Returns the answer at its end, with the state of the transaction.
    pub(crate) fn handle(
        &mut self,
        message: Message,
        prepared: &mut Prepared,
    ) -> Result<Option<(Answer, u8)>, Fault> {
        match (self.expected, message) {
            (_, Message::NoticeResponse(body)) => {
                let notice = ServerError::read(body.fields()).map_err(violation)?;
                let has_room = self.replies.warnings.len() < MAX_WARNINGS;
                if has_room && notice.severity == "WARNING" {
                    self.replies.warnings.push(notice);
                }
            }
            (_, Message::ErrorResponse(body)) => {
                let error = ServerError::read(body.fields()).map_err(violation)?;
                if error.is_fatal() {
                    return Err(Fault::Server(Box::new(error)));
                }
                // The server skips the rest of the request.
                self.expected = Expected::Ready;
                self.current = self.plan.len();
                self.error.get_or_insert(error);
            }
            (Expected::Ready, Message::ReadyForQuery(body)) => {
                let answer = match self.error.take() {
                    Some(error) => Err(error),
                    None => Ok(std::mem::take(&mut self.replies)),
                };
                return Ok(Some((answer, body.status())));
            }
            (_, other) if self.error.is_some() => return Err(self.unexpected(&other)),
            (Expected::Parsed, Message::ParseComplete) => self.expected = Expected::Parameters,
            (Expected::Parameters, Message::ParameterDescription(_)) => {
                self.expected = Expected::Columns;
            }
            (Expected::Columns, Message::NoData) => self.prepared(prepared, Rc::default())?,
            (Expected::Columns, Message::RowDescription(body)) => {
                let columns = columns(&body, true)?;
                self.prepared(prepared, columns)?;
            }
            (Expected::Bound, Message::BindComplete) => {
                let planned = self.plan[self.current];
                self.reply.columns = prepared.columns(planned.statement);
                self.expected = Expected::Rows;
            }
            (Expected::Ready, Message::RowDescription(body)) if self.is_script => {
                self.reply.columns = columns(&body, false)?;
                self.expected = Expected::Rows;
            }
            (Expected::Rows, Message::DataRow(row)) => self.row(row)?,
            (Expected::Ready, Message::CommandComplete(body)) if self.is_script => {
                self.finish_statement(body.tag().map_err(violation)?);
            }
            (Expected::Rows, Message::CommandComplete(body)) => {
                self.finish_statement(body.tag().map_err(violation)?);
            }
            (Expected::Ready, Message::EmptyQueryResponse) if self.is_script => {
                self.finish_statement("");
            }
            (Expected::Rows, Message::EmptyQueryResponse) => self.finish_statement(""),
            (_, other) => return Err(self.unexpected(&other)),
        }
        Ok(None)
    }

    /// Remembers the columns of the current statement, which is prepared now.
    fn prepared(&mut self, prepared: &mut Prepared, columns: Rc<[Column]>) -> Result<(), Fault> {
        prepared.set_columns(self.plan[self.current].statement, columns);
        self.expected = Expected::Bound;
        Ok(())
    }

    fn row(&mut self, row: DataRowBody) -> Result<(), Fault> {
        let count = row.ranges().count().map_err(violation)?;
        if count != self.reply.columns.len() {
            let columns = self.reply.columns.len();
            return Err(violation(format!("a row of {count} values for {columns} columns")));
        }
        self.reply.rows.push(row);
        Ok(())
    }

    fn finish_statement(&mut self, tag: &str) {
        let mut reply = std::mem::take(&mut self.reply);
        tag.clone_into(&mut reply.tag);
        self.replies.replies.push(reply);
        self.current += 1;
        self.expect_statement();
    }

    fn unexpected(&self, message: &Message) -> Fault {
        let expected = self.expected;
        violation(match message {
            Message::CopyInResponse(_) | Message::CopyOutResponse(_) => {
                "COPY is not supported".to_owned()
            }
            Message::ReadyForQuery(_) => format!("the end of the reply instead of {expected:?}"),
            _ => format!("another message instead of {expected:?}"),
        })
    }
}

/// Returns the bytes of a pipeline, with the messages that prepare the statements the connection
/// executes for the first time.
fn plan_pipeline(
    mut request: Request,
    prepared: &mut Prepared,
    plan: &mut Vec<Planned>,
) -> BytesMut {
    let Kind::Pipeline(parts) = std::mem::replace(&mut request.kind, Kind::Script) else {
        return request.bytes;
    };
    for part in &parts {
        let (statement, is_new) = prepared.find_or_add(part.sql, &part.types);
        request.name(part.start, prepared.number(statement));
        plan.push(Planned { statement, is_new });
    }
    let mut bytes = request.bytes;
    if plan.iter().any(|planned| planned.is_new) {
        let mut rest = bytes;
        bytes = BytesMut::with_capacity(rest.len());
        let mut taken = 0;
        for (part, planned) in parts.iter().zip(&*plan) {
            bytes.extend_from_slice(&rest.split_to(part.start - taken));
            taken = part.start;
            if planned.is_new {
                prepared.write(planned.statement, &mut bytes);
            }
        }
        bytes.extend_from_slice(&rest);
    }
    frontend::sync(&mut bytes);
    bytes
}

fn columns(body: &RowDescriptionBody, is_binary: bool) -> Result<Rc<[Column]>, Fault> {
    let mut fields = body.fields();
    let mut columns = Vec::new();
    while let Some(field) = fields.next().map_err(violation)? {
        columns.push(Column { name: field.name().to_owned(), oid: field.type_oid(), is_binary });
    }
    Ok(columns.into())
}
