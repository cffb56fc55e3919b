//! The start of a connection: authentication, and whether the server is a primary.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{Message, ParameterStatusBody};
use postgres_protocol::message::frontend;

use crate::error::{Fault, ServerError, Step};
use crate::password::Password;
use crate::primary::Connected;
use crate::servers::{Server, Servers};

const STEP: Step = Step::Authenticate;

/// What the server has said so far.
pub(crate) struct Startup {
    user: String,
    password: Option<Password>,
    connected: Connected,
    scram: Scram,
    is_authenticated: bool,
    in_hot_standby: Option<bool>,
    is_read_only: bool,
}

/// Progress of SCRAM, in which the server also proves that it knows the password.
enum Scram {
    /// The server has not asked for it.
    Unused,
    /// Messages are exchanged.
    Running(Box<ScramSha256>),
    /// The server has proved that it knows the password.
    Verified,
}

fn violation(text: impl ToString) -> Fault {
    Fault::Protocol(STEP, text.to_string())
}

impl Startup {
    /// Appends the first message to `out`.
    pub(crate) fn begin(
        server: &Server,
        servers: &Servers,
        out: &mut BytesMut,
    ) -> Result<Self, Fault> {
        let application =
            servers.application_name.iter().map(|name| ("application_name", name.as_str()));
        let given = servers.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let parameters = [
            ("user", servers.user.as_str()),
            ("database", servers.database.as_str()),
            ("client_encoding", "UTF8"),
        ];
        frontend::startup_message(parameters.into_iter().chain(application).chain(given), out)
            .map_err(violation)?;
        Ok(Self {
            user: servers.user.clone(),
            password: server.password.clone(),
            connected: Connected { host: server.host.clone(), version: String::new(), process: 0 },
            scram: Scram::Unused,
            is_authenticated: false,
            in_hot_standby: None,
            is_read_only: false,
        })
    }

    /// Handles a message and appends the answer to `out`. Returns the server once it is ready and
    /// a primary.
    pub(crate) fn handle(
        &mut self,
        message: Message,
        out: &mut BytesMut,
    ) -> Result<Option<Connected>, Fault> {
        match message {
            Message::AuthenticationOk => match self.scram {
                Scram::Running(_) => {
                    return Err(violation("the server did not prove that it knows the password"));
                }
                _ => self.is_authenticated = true,
            },
            Message::AuthenticationMd5Password(body) => {
                let password = self.password()?;
                let hash = md5_hash(self.user.as_bytes(), password.0.as_bytes(), body.salt());
                frontend::password_message(hash.as_bytes(), out).map_err(violation)?;
            }
            Message::AuthenticationSasl(body) => {
                let offers =
                    body.mechanisms().any(|name| Ok(name == SCRAM_SHA_256)).map_err(violation)?;
                if !offers {
                    return Err(Fault::Authentication("SASL without SCRAM-SHA-256"));
                }
                self.begin_scram(out)?;
            }
            Message::AuthenticationSaslContinue(body) => {
                let scram = self.scram()?;
                scram.update(body.data()).map_err(violation)?;
                frontend::sasl_response(scram.message(), out).map_err(violation)?;
            }
            Message::AuthenticationSaslFinal(body) => {
                self.scram()?.finish(body.data()).map_err(violation)?;
                self.scram = Scram::Verified;
            }
            Message::ErrorResponse(body) => {
                let error = ServerError::read(body.fields()).map_err(violation)?;
                return Err(Fault::Server(Box::new(error)));
            }
            Message::NoticeResponse(_) => {}
            Message::ParameterStatus(body) if self.is_authenticated => self.parameter(&body)?,
            Message::BackendKeyData(body) if self.is_authenticated => {
                self.connected.process = body.process_id();
            }
            Message::ReadyForQuery(_) if self.is_authenticated => return self.ready().map(Some),
            other => return Err(unsupported(&other)),
        }
        Ok(None)
    }

    fn begin_scram(&mut self, out: &mut BytesMut) -> Result<(), Fault> {
        // A forked process has a copy of the generator of its parent, and would send its nonces.
        rand::rng().reseed().map_err(violation)?;
        let password = self.password()?;
        let scram = ScramSha256::new(password.0.as_bytes(), ChannelBinding::unsupported());
        frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out).map_err(violation)?;
        self.scram = Scram::Running(Box::new(scram));
        Ok(())
    }

    fn password(&self) -> Result<&Password, Fault> {
        self.password.as_ref().ok_or(Fault::NoPassword)
    }

    fn scram(&mut self) -> Result<&mut ScramSha256, Fault> {
        match &mut self.scram {
            Scram::Running(scram) => Ok(scram),
            _ => Err(violation("a SCRAM message out of order")),
        }
    }

    fn parameter(&mut self, body: &ParameterStatusBody) -> Result<(), Fault> {
        let value = body.value().map_err(violation)?;
        match body.name().map_err(violation)? {
            "in_hot_standby" => self.in_hot_standby = Some(value == "on"),
            "default_transaction_read_only" => self.is_read_only = value == "on",
            "server_version" => self.connected.version = value.to_owned(),
            _ => {}
        }
        Ok(())
    }

    /// Checks that the server is a primary.
    fn ready(&mut self) -> Result<Connected, Fault> {
        match self.in_hot_standby {
            None => Err(Fault::Version(self.connected.version.clone())),
            Some(true) => Err(Fault::Standby),
            Some(false) if self.is_read_only => Err(Fault::ReadOnly),
            Some(false) => Ok(self.connected.clone()),
        }
    }
}

/// Returns the fault for a message that the start of a connection does not expect.
fn unsupported(message: &Message) -> Fault {
    Fault::Authentication(match message {
        // The password would travel unencrypted.
        Message::AuthenticationCleartextPassword => "a password in clear text",
        Message::AuthenticationGss | Message::AuthenticationGssContinue(_) => "GSSAPI",
        Message::AuthenticationKerberosV5 => "Kerberos",
        Message::AuthenticationScmCredential => "SCM credentials",
        Message::AuthenticationSspi => "SSPI",
        _ => return violation("a message that does not belong to the start of a connection"),
    })
}
