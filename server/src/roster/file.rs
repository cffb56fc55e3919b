//! The file of the roster: how it is read, and what is wrong with one that cannot be used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};

use super::{Agency, Roster};

/// The first line of the file.
const COLUMNS: [&str; 3] = ["number", "name", "networks"];
/// Largest file in bytes: 65,535 agencies with 128 bytes each. A larger one is refused, because the
/// path probably names another file.
const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Bits of an IPv6 address before the IPv4 address that it holds (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Why a roster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// Path as the user gave it.
        path: PathBuf,
        /// Reason of the system.
        source: io::Error,
    },
    /// The file is larger than any roster.
    #[error("{} has more than {MAX_BYTES} bytes; is it a list of agencies?", .path.display())]
    TooLarge {
        /// Path as the user gave it.
        path: PathBuf,
    },
    /// A line is wrong.
    #[error("{}:{line}: {reason}", .path.display())]
    Line {
        /// Path as the user gave it.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what to write instead.
        reason: String,
    },
    /// The file has no agency.
    #[error("{} lists no agency, and the draw would wait for none", .path.display())]
    Empty {
        /// Path as the user gave it.
        path: PathBuf,
    },
}

pub(super) fn read(path: &Path) -> Result<Roster, RosterError> {
    let unreadable = |source| RosterError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(unreadable)?.take(MAX_BYTES + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(RosterError::TooLarge { path: path.to_owned() });
    }
    let wrong = |line, reason| RosterError::Line { path: path.to_owned(), line, reason };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        wrong(line, "it is not UTF-8; save the file with this encoding".to_owned())
    })?;
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let agencies = parse(lines).map_err(|(line, reason)| wrong(line, reason))?;
    if agencies.is_empty() {
        return Err(RosterError::Empty { path: path.to_owned() });
    }
    Ok(Roster::new(agencies))
}

/// Reads numbered lines that are not blank. Fails with the number of the line that is wrong.
fn parse<'t>(
    mut lines: impl Iterator<Item = (usize, &'t str)>,
) -> Result<BTreeMap<u16, Agency>, (usize, String)> {
    let mut agencies = BTreeMap::new();
    let mut known = BTreeMap::new();
    let Some((number, head)) = lines.next() else { return Ok(agencies) };
    let columns = fields(head).map_err(|reason| (number, reason))?;
    let is_head = columns.len() == COLUMNS.len()
        && columns.iter().zip(COLUMNS).all(|(found, name)| found.eq_ignore_ascii_case(name));
    if !is_head {
        let expected = COLUMNS.join(",");
        return Err((number, format!("expected the columns {expected}, found {head:?}")));
    }
    for (line, text) in lines {
        let (number, agency) = parse_agency(text).map_err(|reason| (line, reason))?;
        if let Some(first) = known.insert(number, line) {
            return Err((line, format!("agency {number} is already on line {first}")));
        }
        agencies.insert(number, agency);
    }
    Ok(agencies)
}

/// Returns the fields of a line, without blanks around them.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(line.as_bytes());
    let record = reader.records().next().transpose().map_err(|error| error.to_string())?;
    Ok(record.unwrap_or_default().iter().map(str::to_owned).collect())
}

fn parse_agency(line: &str) -> Result<(u16, Agency), String> {
    let fields = fields(line)?;
    let [number, name, networks] = fields.as_slice() else {
        let (found, expected) = (fields.len(), COLUMNS.join(","));
        return Err(format!("columns found: {found}, expected: {expected}"));
    };
    let parsed = number.parse().ok().filter(|number| *number != 0);
    let number: u16 =
        parsed.ok_or_else(|| format!("{number:?} is not an agency number from 1 to 65535"))?;
    if name.chars().any(char::is_control) {
        return Err(format!("the name {name:?} holds a control character"));
    }
    let networks = networks.split_whitespace().map(parse_network).collect::<Result<Vec<_>, _>>()?;
    if networks.is_empty() {
        return Err(format!(
            "agency {number} has no network; 0.0.0.0/0 ::/0 would allow every address"
        ));
    }
    Ok((number, Agency { name: name.clone(), networks }))
}

/// Reads a network in CIDR notation, or an address, which means this address only.
fn parse_network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        format!("{text:?} is not a network; write one such as 10.1.0.0/16, fd00::/8 or 10.1.2.3")
    })?;
    if network != network.trunc() {
        let (whole, host) = (network.trunc(), network.addr());
        return Err(format!(
            "{text} has bits behind its prefix; write {whole} for the network or {host} for the \
             one address"
        ));
    }
    Ok(canonical(network))
}

/// Returns a network of IPv4 addresses in IPv6 form as the network of these IPv4 addresses.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= MAPPED_BITS);
    let v4 = v4.and_then(|address| Ipv4Net::new(address, v6.prefix_len() - MAPPED_BITS).ok());
    v4.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: impl AsRef<[u8]>) -> Result<Roster, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agencies.csv");
        std::fs::write(&path, text).unwrap();
        let shown = format!("{}/", directory.path().display());
        read(&path).map_err(|error| error.to_string().replace(&shown, ""))
    }

    #[test]
    fn a_byte_order_mark_blank_lines_quotes_and_any_line_ends_are_read() {
        let rows = "7,\"Rosario, centro\",10.0.0.0/8\r\n\n  \r\n 8 , Ñandú , 10.0.0.1  ::1 ";
        let roster = read_text(format!("\u{feff}\nNumber,name,Networks\r\n{rows}")).unwrap();
        assert_eq!(roster.numbers().collect::<Vec<_>>(), [7, 8]);
        assert_eq!(roster.name(7), Some("Rosario, centro"));
        assert_eq!((roster.name(8), roster.name(9)), (Some("Ñandú"), None));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_the_reason() {
        let head = "number,name,networks\n\n";
        for (rows, line, reason) in [
            ("0,A,::1", 3, "\"0\" is not an agency number"),
            ("65536,A,::1", 3, "\"65536\" is not an agency number"),
            ("x,A,::1", 3, "\"x\" is not an agency number"),
            ("1,A,::1\n2,B", 4, "columns found: 2, expected: number,name,networks"),
            ("1,A,::1,x", 3, "columns found: 4, expected"),
            ("1;A;::1", 3, "columns found: 1, expected"),
            ("1,A,::1\n\n1,B,::2", 5, "agency 1 is already on line 3"),
            ("1,A,", 3, "agency 1 has no network"),
            ("1,A,10.0.0.0/33", 3, "\"10.0.0.0/33\" is not a network"),
            ("1,A,10.0.0.0/8 ::1/129", 3, "\"::1/129\" is not a network"),
            ("1,A,10.0.0.256", 3, "\"10.0.0.256\" is not a network"),
            ("1,A,example.org", 3, "\"example.org\" is not a network"),
            ("1,A,10.1.2.3/16", 3, "write 10.1.0.0/16 for the network or 10.1.2.3 for"),
            ("1,A\u{7},::1", 3, "control character"),
            ("1,\u{feff}A,\u{feff}::1", 3, "is not a network"),
        ] {
            let error = read_text(format!("{head}{rows}\n")).unwrap_err();
            let begin = format!("agencies.csv:{line}: ");
            assert!(error.starts_with(&begin) && error.contains(reason), "{rows:?}: {error}");
        }
        let error = read_text(b"number,name,networks\n1,A,::1\n2,\xd1and\xfa,::2\n").unwrap_err();
        assert!(error.starts_with("agencies.csv:3: it is not UTF-8"), "{error}");
    }

    #[test]
    fn a_file_without_the_columns_or_without_agencies_is_refused() {
        for head in ["1,A,::1", "number;name;networks", "number,networks", "networks,name,number"] {
            let error = read_text(format!("\n{head}\n")).unwrap_err();
            let begin = "agencies.csv:2: expected the columns number,name,networks, found ";
            assert!(error.starts_with(begin), "{head}: {error}");
        }
        for text in ["", "\n\n", "number,name,networks\n"] {
            let error = read_text(text).unwrap_err();
            assert!(error.starts_with("agencies.csv lists no agency"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_a_roster_is_named() {
        let error = read(Path::new("/no/such/agencies.csv")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /no/such/agencies.csv: No such file"), "{error}");
        let error = read_text(vec![b' '; MAX_BYTES as usize + 1]).unwrap_err();
        assert!(error.contains("has more than 8388608 bytes"), "{error}");
    }
}
