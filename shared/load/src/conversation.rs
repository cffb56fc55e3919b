//! What a client says.

/// The requests of one client, one after the other.
pub trait Conversation: Send {
    /// Returns the bytes to send first on a new connection, and the current request.
    fn message(&mut self) -> [&[u8]; 2];

    /// Judges the bytes that have arrived since the request was sent. `first` is true for the first
    /// request of a connection. Returns true if the reply is complete, and false while bytes are
    /// missing.
    ///
    /// # Errors
    /// If the reply is a refusal, or is not understood. The text is counted and shown to the user,
    /// so it must not differ from request to request.
    fn judge(&mut self, reply: &[u8], first: bool) -> Result<bool, String>;

    /// Makes the next request the current one. After a failure the same request is sent again.
    fn advance(&mut self);
}
