//! The probable cause of a broken rule, in English and Spanish.

use super::language::Language;
use super::row::{Row, Symptom};
use super::rule::Method;

/// The probable cause of a broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    ShortRead,
    LengthMismatch,
    HandlerEnded,
    WrongReply,
    TrailingBytes,
    NotValidated,
    TornBatch,
    NotClosed,
    Unreachable,
    NoDrawWait,
    CountsNotifications,
    NoDraw,
    LostBets,
    ForeignWinners,
    OtherWinners,
    LateBets,
    ForgottenKeys,
    PrematureTotal,
}

impl Cause {
    /// Returns the cause of a broken row, if it is broken. `earlier` are the rows before it.
    pub(super) fn of(row: &Row, earlier: &[Row]) -> Option<Self> {
        let received = &row.violation.as_ref()?.received;
        let planned = &row.planned;
        let holds_whole = |other: &Row| {
            other.planned.id == planned.id
                && other.planned.method == Method::Whole
                && other.violation.is_none()
        };
        if planned.method == Method::Bytewise && earlier.iter().any(holds_whole) {
            return Some(Self::ShortRead);
        }
        let answers_early = |other: &Row| {
            let violation = other.violation.as_ref();
            violation.is_some_and(|violation| violation.received.symptom == Symptom::Early)
        };
        Some(match (planned.id, received.symptom) {
            (_, Symptom::Unreachable) => Self::Unreachable,
            (_, Symptom::NoDraw) => Self::NoDraw,
            ("draw-torn-batch" | "torn-batch", _) => Self::TornBatch,
            ("draw-distinct", Symptom::Early) if !earlier.iter().any(answers_early) => {
                Self::CountsNotifications
            }
            ("total-in-flight", Symptom::Early) => Self::PrematureTotal,
            (_, Symptom::Early) => Self::NoDrawWait,
            (_, Symptom::FewerWinners) => Self::LostBets,
            (_, Symptom::MoreWinners) => Self::ForeignWinners,
            (_, Symptom::OtherWinners) => Self::OtherWinners,
            (_, Symptom::Acknowledged) => Self::LateBets,
            ("draw-repeated" | "draw-repeated-late", Symptom::WrongReply) => Self::ForgottenKeys,
            ("draw-winners" | "draw-returns", Symptom::Silence) => Self::NoDraw,
            (_, Symptom::Silence) => Self::LengthMismatch,
            (_, Symptom::Ended) => Self::HandlerEnded,
            (_, Symptom::Unwanted | Symptom::WrongReply) if planned.is_invalid => {
                Self::NotValidated
            }
            (_, Symptom::WrongReply) => Self::WrongReply,
            (_, Symptom::Unwanted | Symptom::Trailing) => Self::TrailingBytes,
            (_, Symptom::StillOpen) => Self::NotClosed,
        })
    }

    /// Returns its name in reports. It is stable, because scripts read it.
    pub(super) fn name(self) -> &'static str {
        TEXTS[self as usize].1
    }

    /// Returns the explanation.
    pub(super) fn text(self, language: Language) -> &'static str {
        let (_, _, english, spanish) = TEXTS[self as usize];
        match language {
            Language::English => english,
            Language::Spanish => spanish,
        }
    }
}

/// Each cause in the order of its definition: name, English and Spanish explanation.
const TEXTS: [(Cause, &str, &str, &str); 18] = [
    (
        Cause::ShortRead,
        "short-read",
        "The same message in one piece is answered correctly. The server reads once and \
         takes what it got for a whole message; TCP may split a message anywhere. Read in \
         a loop until the message is complete.",
        "El mismo mensaje en un solo envío se responde bien. El servidor lee una sola vez \
         y toma lo recibido por un mensaje completo; TCP puede partir un mensaje en \
         cualquier byte. Hay que leer en un ciclo hasta completar el mensaje.",
    ),
    (
        Cause::LengthMismatch,
        "length-mismatch",
        "The server sends nothing or only a part of the reply. It probably waits for bytes \
         that never come: check how it finds the end of a message (bytes or characters? \
         with or without the header? byte order?). Or send() has sent only a part: send in \
         a loop.",
        "El servidor no envía nada, o sólo una parte de la respuesta. Probablemente espera \
         bytes que nunca llegan: revisar cómo detecta el fin del mensaje (¿bytes o \
         caracteres? ¿con o sin el encabezado? ¿orden de los bytes?). O bien send() envió \
         sólo una parte: hay que enviar en un ciclo.",
    ),
    (
        Cause::HandlerEnded,
        "handler-ended",
        "The server closed the connection before the reply was complete. Its handler \
         probably ended with an exception: look at its log.",
        "El servidor cerró la conexión antes de completar la respuesta. Probablemente su \
         handler terminó con una excepción: revisar su log.",
    ),
    (
        Cause::WrongReply,
        "wrong-reply",
        "The reply is complete and differs at the marked byte. Compare it with the layout \
         of the dialect in PROTOCOL.md: field widths, byte order, separators.",
        "La respuesta llegó completa y difiere en el byte marcado. Compararla con el \
         formato del dialecto en PROTOCOL.md: ancho de los campos, orden de los bytes, \
         separadores.",
    ),
    (
        Cause::TrailingBytes,
        "trailing-bytes",
        "The server sends more bytes than the reply has: a line break, a padded buffer, or \
         a second reply to one message.",
        "El servidor envía más bytes de los que tiene la respuesta: un salto de línea, un \
         buffer con relleno, o una segunda respuesta al mismo mensaje.",
    ),
    (
        Cause::NotValidated,
        "not-validated",
        "The message is invalid, and the server answers it as if it were not. Check the \
         whole message before anything of it is stored or acknowledged.",
        "El mensaje es inválido y el servidor lo responde como si no lo fuera. Hay que \
         validar el mensaje completo antes de almacenar o confirmar algo de él.",
    ),
    (
        Cause::TornBatch,
        "torn-batch",
        "A batch with an invalid bet was refused, but some of its bets are stored. Check \
         all bets first, then store all of them, or none.",
        "Un batch con una apuesta inválida fue rechazado, pero parte de sus apuestas quedó \
         almacenada. Primero hay que validar todas las apuestas; después almacenar todas, \
         o ninguna.",
    ),
    (
        Cause::NotClosed,
        "not-closed",
        "The server keeps the connection open or sends more, where it should close it.",
        "El servidor mantiene abierta la conexión, o envía algo más, cuando debería \
         cerrarla.",
    ),
    (
        Cause::Unreachable,
        "unreachable",
        "The server accepts no connection. It has ended, or it serves one connection and \
         does not return to accept().",
        "El servidor no acepta conexiones. Terminó, o atiende una conexión y no vuelve a \
         accept().",
    ),
    (
        Cause::NoDrawWait,
        "no-draw-wait",
        "An agency got an answer before all agencies had finished. The answer must wait \
         for the last one: with a condition variable or a barrier, or by keeping the \
         connections that wait.",
        "Una agencia recibió una respuesta antes de que terminaran todas. La respuesta \
         debe esperar a la última: con una condition variable o una barrera, o guardando \
         las conexiones que esperan.",
    ),
    (
        Cause::CountsNotifications,
        "counts-notifications",
        "The server counts notifications, so one agency that repeats its own counts as \
         two. Keep the set of the agencies that have finished.",
        "El servidor cuenta notificaciones, así que una agencia que repite la suya vale \
         por dos. Hay que guardar el conjunto de agencias que terminaron.",
    ),
    (
        Cause::NoDraw,
        "no-draw",
        "No draw was held after all agencies had finished. Does the server wait for as \
         many agencies as --agencies says, and does the last one wake the others?",
        "No hubo sorteo después de que terminaran todas las agencias. ¿El servidor espera \
         tantas agencias como indica --agencies, y la última despierta a las demás?",
    ),
    (
        Cause::LostBets,
        "lost-bets",
        "Acknowledged bets are missing. Either two handlers store at the same time and one \
         overwrites the other (hold a lock around the whole read, change and write), or \
         the server acknowledges before it has counted.",
        "Faltan apuestas confirmadas. O dos handlers almacenan a la vez y uno pisa al otro \
         (hay que tomar un lock durante toda la lectura, modificación y escritura), o el \
         servidor confirma antes de haber contado.",
    ),
    (
        Cause::ForeignWinners,
        "foreign-winners",
        "There are more winners than this agency has. Either the winners of other agencies \
         are sent too, or a batch was stored twice.",
        "Hay más ganadores de los que tiene esta agencia. O se envían también los de otras \
         agencias, o un batch se almacenó dos veces.",
    ),
    (
        Cause::OtherWinners,
        "other-winners",
        "The number of winners may be right, but they are not the expected ones. Check \
         which bets win and to which agency each belongs.",
        "La cantidad de ganadores puede ser correcta, pero no son los esperados. Revisar \
         qué apuestas ganan y a qué agencia pertenece cada una.",
    ),
    (
        Cause::LateBets,
        "late-bets",
        "A batch was acknowledged after the draw, so its bets took part in nothing. Refuse \
         bets once all agencies have finished.",
        "Se confirmó un batch después del sorteo, así que sus apuestas no participaron. \
         Hay que rechazar apuestas una vez que terminaron todas las agencias.",
    ),
    (
        Cause::ForgottenKeys,
        "forgotten-keys",
        "A batch that is sent again gets another reply than the first time. Keep the key \
         of the last batch of each session, also after the draw.",
        "Un batch reenviado recibe otra respuesta que la primera vez. Hay que guardar la \
         clave del último batch de cada sesión, también después del sorteo.",
    ),
    (
        Cause::PrematureTotal,
        "premature-total",
        "The result was called a total while a batch was arriving. A batch counts as in \
         flight from its first byte until its winners are counted.",
        "El resultado se informó como total mientras llegaba un batch. Un batch está en \
         curso desde su primer byte hasta que se cuentan sus ganadores.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_in_the_order_of_the_causes() {
        for (index, (cause, name, english, spanish)) in TEXTS.into_iter().enumerate() {
            assert_eq!(cause as usize, index, "{name}");
            assert!(
                english != spanish && english.ends_with('.') | english.ends_with('?'),
                "{name}"
            );
        }
    }
}
