//! PostgreSQL: its requests and its replies, in version 3 of its protocol. All messages of a batch
//! are sent at once, so that it costs one round trip.

use lottery::Bet;

use crate::batch::bets;

/// User of the bench, the owner of the cluster.
pub(crate) const USER: &str = "bench";

/// Database that every new cluster has.
pub(crate) const DATABASE: &str = "postgres";

/// Returns what a central connects to.
pub(crate) fn url(port: u16) -> String {
    format!("postgres://{USER}@127.0.0.1:{port}/{DATABASE}")
}

/// The table of bets, as `bets.csv` has it.
pub(crate) const TABLE: &str = "DROP TABLE IF EXISTS bets; CREATE TABLE bets (agency int4, \
     first_name text, last_name text, document text, birthdate date, number int4)";

const INSERT: &str = "INSERT INTO bets SELECT 0, * FROM \
     unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::int4[])";
const COPY: &str = "COPY bets FROM STDIN (FORMAT binary)";

/// Type numbers of the parameters, from the catalogue `pg_type`.
const TEXT: u32 = 25;
const DATE: u32 = 1082;
const INT4: u32 = 23;

/// A greeting, a request, and the number of times that the server reports to be ready for the
/// greeting alone.
#[derive(Clone, Debug)]
pub(crate) struct Dialogue {
    pub(crate) greeting: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) ready_after_greeting: usize,
}

/// Returns the prepared INSERT of `count` bets, with binary arrays.
pub(crate) fn insert(count: usize) -> Dialogue {
    let mut greeting = startup();
    // No name, the statement, no types: the casts say them.
    message(&mut greeting, b'P', &[b"store\0", INSERT.as_bytes(), b"\0", &[0, 0]]);
    message(&mut greeting, b'S', &[]);
    let bets: Vec<_> = bets(count).collect();
    let column = |kind, value: fn(&Bet<'_>) -> Vec<u8>| array(kind, bets.iter().map(value));
    let columns = [
        column(TEXT, |bet| bet.first_name.into()),
        column(TEXT, |bet| bet.last_name.into()),
        column(TEXT, |bet| bet.document.as_str().into()),
        column(DATE, |bet| days(bet).to_be_bytes().into()),
        column(INT4, |bet| bet.number.unwrap_or_default().to_be_bytes().into()),
    ];
    // No portal name, the statement, one format for all parameters: binary.
    let mut bind = b"\0store\0\0\x01\0\x01\0\x05".to_vec();
    columns.iter().for_each(|column| field(&mut bind, column));
    bind.extend_from_slice(&[0, 0]);
    let mut request = Vec::new();
    message(&mut request, b'B', &[&bind]);
    message(&mut request, b'E', &[b"\0\0\0\0\0"]);
    message(&mut request, b'S', &[]);
    Dialogue { greeting, request, ready_after_greeting: 2 }
}

/// Returns the COPY of `count` bets in its binary format.
pub(crate) fn copy(count: usize) -> Dialogue {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for bet in bets(count) {
        data.extend_from_slice(&6_u16.to_be_bytes());
        field(&mut data, &0_u32.to_be_bytes());
        field(&mut data, bet.first_name.as_bytes());
        field(&mut data, bet.last_name.as_bytes());
        field(&mut data, bet.document.as_str().as_bytes());
        field(&mut data, &days(&bet).to_be_bytes());
        field(&mut data, &bet.number.unwrap_or_default().to_be_bytes());
    }
    data.extend_from_slice(&u16::MAX.to_be_bytes());
    let mut request = Vec::new();
    message(&mut request, b'Q', &[COPY.as_bytes(), b"\0"]);
    message(&mut request, b'd', &[&data]);
    message(&mut request, b'c', &[]);
    Dialogue { greeting: startup(), request, ready_after_greeting: 1 }
}

/// Judges a reply: it is complete when the server is ready again for the request, and before that
/// for the greeting.
pub(crate) fn judge(reply: &[u8], ready: usize) -> Result<bool, String> {
    let (mut rest, mut seen) = (reply, 0);
    while let Some((&[kind, a, b, c, d], _)) = rest.split_first_chunk() {
        let end = 1 + u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(body) = rest.get(5..end.max(5)) else { break };
        match kind {
            b'E' => return Err(String::from_utf8_lossy(body).replace('\0', " ")),
            b'R' if body != [0; 4] => return Err("the server asks for a password".to_owned()),
            b'Z' => seen += 1,
            _ => {}
        }
        rest = &rest[end.max(5)..];
    }
    Ok(seen >= ready)
}

fn startup() -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", USER, "database", DATABASE, ""] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let mut out = (body.len() as u32 + 4).to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    out
}

/// Appends a message of this type.
fn message(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    out.extend_from_slice(&(bytes as u32 + 4).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a value after its length.
fn field(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
    out.extend_from_slice(value);
}

/// Encodes an array of one dimension without nulls.
fn array(kind: u32, values: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let header = [1, 0, kind, values.len() as u32, 1];
    let mut out: Vec<u8> = header.iter().flat_map(|number| number.to_be_bytes()).collect();
    values.for_each(|value| field(&mut out, &value));
    out
}

/// Returns the days of the birthdate since 2000-01-01, the binary form of a date.
fn days(bet: &Bet<'_>) -> i32 {
    let iso = bet.birthdate.iso_bytes();
    let number = |digits: &[u8]| digits.iter().fold(0, |n, digit| n * 10 + i32::from(digit - b'0'));
    let (year, month, day) = (number(&iso[..4]), number(&iso[5..7]), number(&iso[8..]));
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let since_march = (153 * month + 2) / 5 + day - 1;
    before_year + since_march - 730_425
}

#[cfg(test)]
mod tests {
    use lottery::Birthdate;

    use super::*;

    #[test]
    fn days_count_from_the_first_of_january_2000() {
        let mut bet = bets(1).next().unwrap();
        for (date, expected) in
            [((2000, 1, 1), 0), ((1999, 12, 31), -1), ((2000, 3, 1), 60), ((1970, 1, 1), -10_957)]
        {
            bet.birthdate = Birthdate::new(date.0, date.1, date.2).unwrap();
            assert_eq!(days(&bet), expected, "{date:?}");
        }
    }

    #[test]
    fn a_reply_is_complete_when_the_server_is_ready_often_enough() {
        let reply = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IC\0\0\0\x0fINSERT 0 1\0Z\0\0\0\x05I";
        for length in 0..reply.len() {
            assert_eq!(judge(&reply[..length], 2), Ok(false), "{length}");
        }
        assert_eq!(judge(reply, 2), Ok(true));
        assert!(judge(b"E\0\0\0\x0aMno\0\0\0", 1).unwrap_err().contains("no"));
    }
}
