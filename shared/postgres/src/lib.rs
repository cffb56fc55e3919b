//! A connection to the primary of a PostgreSQL cluster, for a single-threaded event loop.
//!
//! [`Primary`] keeps one non-blocking connection to whichever server of a list is the primary.
//! [`Session`] is the same connection for a program that may block. There is no thread and no
//! runtime. The crate `postgres-protocol` encodes and decodes the messages.
//!
//! - PostgreSQL 14 or later; authentication by SCRAM-SHA-256, MD5, or none. There is no TLS, so a
//!   URL that demands it is refused, and a password is never sent in clear text.
//! - A request is a pipeline of prepared statements: one round trip and one transaction. The crate
//!   never repeats a request. If its connection is lost, its outcome is unknown.
//! - Each step has a deadline. At its end the connection is closed, but the server may go on
//!   executing the request. The caller has to fence it.
//! - Memory is bounded: a reply has a largest size, and nothing is allocated because a server
//!   states a length. A server that violates the protocol causes an error, never a panic.
//!
//! A program without an event loop:
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//! use postgres_link::{Param, Request, Session, Url};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let servers = "postgres://central@db1,db2,db3/lottery".parse::<Url>()?.resolve()?;
//! let soon = || Instant::now() + Duration::from_secs(5);
//! let mut session = Session::connect(&servers, soon())?;
//! let mut request = Request::new();
//! request.add("UPDATE workers SET seq = seq + $1", &[Param::I64(2)])?;
//! request.add("SELECT sum(seq)::bigint FROM workers", &[])?;
//! let replies = session.execute(request, soon())?;
//! println!("{} rows", replies.of(0).affected());
//! if let Some(row) = replies.of(1).first() {
//!     println!("{:?}", row.get::<Option<i64>>(0)?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! One turn of an event loop, after it has waited for [`Primary::fd`] and [`Primary::wake_at`]:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use postgres_link::{Event, Primary, Request, RequestError};
//!
//! fn turn(primary: &mut Primary) -> Result<(), RequestError> {
//!     let now = Instant::now();
//!     while let Some(event) = primary.advance(now) {
//!         match event {
//!             Event::Connected(server) => println!("connected to {}", server.host),
//!             Event::NoPrimary(faults) => println!("no primary: {faults:?}"),
//!             Event::Lost(lost) => println!("lost: {lost}"),
//!             Event::Done(answer) => println!("{answer:?}"),
//!             Event::Notification { channel, .. } => println!("notified of {channel}"),
//!         }
//!         if primary.is_idle() {
//!             let request = Request::of("SELECT 1", &[])?;
//!             primary.request(request, now + Duration::from_secs(5));
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod attempt;
mod connection;
mod error;
mod exchange;
mod param;
mod password;
mod prepared;
mod primary;
mod reply;
mod request;
mod resolve;
mod servers;
mod session;
mod startup;
mod transport;
mod url;
mod value;

pub use error::{Fault, HostFault, Lost, ServerError, Step};
pub use param::Param;
pub use password::{PasswordFileError, PasswordSources};
pub use primary::{Connected, Event, Interest, Primary};
pub use reply::{Column, MAX_WARNINGS, Replies, Reply, Row};
pub use request::{MAX_REQUEST, Request, RequestError};
pub use resolve::ResolveError;
pub use servers::{CONNECT_TIMEOUT, MAX_REPLY, Servers, Unresolved};
pub use session::{NoPrimary, Session, SessionError};
pub use url::{Url, UrlError};
pub use value::{FromValue, ValueError};
