//! Reading the lines that a central logs.

/// Returns the value of a key in a log line.
pub fn value_of<'a>(line: &'a str, key: &str) -> &'a str {
    let value = line.split(" | ").find_map(|part| part.strip_prefix(key)?.strip_prefix(": "));
    value.unwrap_or_else(|| panic!("no {key} in {line:?}"))
}

/// Counts the lines that announce a draw, with nothing behind the result, as the course's tests
/// look for it.
pub fn count_draws(log: &[String]) -> usize {
    log.iter().filter(|line| line.ends_with("action: sorteo | result: success")).count()
}

/// Returns the lines about the refusal of the connection from this port. Each ends with the reason.
pub fn refusals(log: &[String], port: u16) -> Vec<&String> {
    let begin =
        format!("action: receive_message | result: fail | ip: 127.0.0.1 | port: {port} | error: ");
    log.iter().filter(|line| line.contains(&begin)).collect()
}
