//! The table of the central's settings.

use conventions::logger::Format;
use conventions::settings::{FileFormat, Program, Setting, SettingFlags, Table};
use lottery::protocol::Dialect;

use super::ini;

/// The settings of the central. The environment variable of a setting has the name of its key.
pub static TABLE: Table = Table {
    settings: SETTINGS,
    variable_prefix: "",
    file: "config.ini",
    format: FileFormat { parse: ini::parse, write: ini::write },
    global_flags: true,
};

/// This program, as the owner of the table.
#[derive(Debug)]
pub struct ServerProgram;

impl Program for ServerProgram {
    const TABLE: &'static Table = &TABLE;
}

/// The flags of the central's settings.
pub type Flags = SettingFlags<ServerProgram>;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "SERVER_PORT",
        flag: "port",
        value_name: "PORT",
        default: "12345",
        accepted: "a port, 0 to 65535 (0 = any free one)",
        choices: &[],
        help: "Port to listen on",
        details: "The log names the port that was chosen for 0.",
    },
    Setting {
        key: "SERVER_IP",
        flag: "ip",
        value_name: "IP",
        default: "0.0.0.0",
        accepted: "an IP address, several such as 127.0.0.1,::1, or a host name",
        choices: &[],
        help: "Address to listen on",
        details: "0.0.0.0 is every IPv4 address, and :: alone is every address of both families. \
                  A host name that is not an address of this machine means 0.0.0.0, with a \
                  warning.",
    },
    Setting {
        key: "SERVER_LISTEN_BACKLOG",
        flag: "listen-backlog",
        value_name: "N",
        default: "1024",
        accepted: "a whole number, 1 to 65535",
        choices: &[],
        help: "Connections that may wait to be accepted",
        details: "The log names the limit of the machine if it is lower.",
    },
    Setting {
        key: "LOGGING_LEVEL",
        flag: "logging-level",
        value_name: "LEVEL",
        default: "INFO",
        accepted: "DEBUG, INFO, WARNING or ERROR",
        choices: &["DEBUG", "INFO", "WARNING", "ERROR"],
        help: "Lowest level that is logged",
        details: "",
    },
    Setting {
        key: "SERVER_LOG_FORMAT",
        flag: "log-format",
        value_name: "FORMAT",
        default: "text",
        accepted: "text or json",
        choices: &Format::NAMES,
        help: "Layout of the log lines",
        details: "json: one object per line, with the same keys and the time in UTC.",
    },
    Setting {
        key: "SERVER_LOG_FILE",
        flag: "log-file",
        value_name: "FILE",
        default: "stderr",
        accepted: "stderr, or the path of a file",
        choices: &["stderr"],
        help: "Where the log goes",
        details: "A new file has mode 0640. To rotate the log, rename the file and send USR1: every \
                  process then opens a new one.",
    },
    Setting {
        key: "SERVER_PROTOCOL",
        flag: "protocol",
        value_name: "LIST",
        default: "typed",
        accepted: "a dialect, or several with a port each, such as typed:12345,echo:12346; \
                   dialects: {choices}",
        choices: &Dialect::NAMES,
        help: "Wire dialect, or several on different ports",
        details: "One dialect of a list may omit its port and then uses SERVER_PORT.",
    },
    Setting {
        key: "SERVER_WORKERS",
        flag: "workers",
        value_name: "N",
        default: "auto",
        accepted: "a whole number, 1 to 1024, or auto",
        choices: &["auto"],
        help: "Worker processes",
        details: "auto is the number of CPUs, but at least 2.",
    },
    Setting {
        key: "SERVER_AGENCIES",
        flag: "agencies",
        value_name: "N",
        default: "5",
        accepted: "a whole number, 1 to 65535",
        choices: &[],
        help: "Distinct agencies that the draw waits for",
        details: "",
    },
    Setting {
        key: "SERVER_ROSTER",
        flag: "roster",
        value_name: "FILE",
        default: "none",
        accepted: "the path of a CSV file, or none",
        choices: &[],
        help: "Agencies that may take part, and the networks of each",
        details: "Columns: number, name, networks (CIDR, separated by blanks). The draw waits for \
                  exactly these agencies, and a connection speaks only for agencies of its network.",
    },
    Setting {
        key: "SERVER_DRAW",
        flag: "draw",
        value_name: "WHEN",
        default: "automatic",
        accepted: "automatic or confirm",
        choices: &["automatic", "confirm"],
        help: "Moment of the draw",
        details: "automatic: when every expected agency has finished. confirm: when an operator runs \
                  `loteria-central draw --confirm` after that.",
    },
    Setting {
        key: "SERVER_EARLY_QUERY",
        flag: "early-query",
        value_name: "WHAT",
        default: "wait",
        accepted: "wait or refuse",
        choices: &["wait", "refuse"],
        help: "Treatment of a query for winners that comes before the draw",
        details: "wait answers it after the draw, refuse answers it at once with an error. \
                  Only framed has such a query.",
    },
    Setting {
        key: "SERVER_STORAGE",
        flag: "storage",
        value_name: "WHERE",
        default: "files",
        accepted: "files, or the URL of a PostgreSQL database such as \
                   postgres://user@db1,db2:5433/lottery",
        choices: &["files"],
        help: "Where the bets are stored",
        details: "files: in SERVER_STORAGE_DIR. With a URL, several centrals share one lottery, and \
                  SERVER_STORAGE_DIR and SERVER_DURABILITY are refused. Other users of the \
                  machine can see a password in a flag; PGPASSFILE names a file for it.",
    },
    Setting {
        key: "SERVER_CENTRAL_NAME",
        flag: "central-name",
        value_name: "NAME",
        default: "auto",
        accepted: "1 to 63 letters, digits, dots, hyphens and underscores, or auto",
        choices: &["auto"],
        help: "Name of this central among those that share a database",
        details: "auto is the name of the host. Refused with files.",
    },
    Setting {
        key: "SERVER_LOTTERY",
        flag: "lottery",
        value_name: "NAME",
        default: "nacional",
        accepted: "1 to 63 letters, digits, dots, hyphens and underscores",
        choices: &[],
        help: "Lottery in the database",
        details: "Centrals with the same lottery are one. Refused with files.",
    },
    Setting {
        key: "SERVER_STORAGE_DIR",
        flag: "storage-dir",
        value_name: "DIR",
        default: "./storage",
        accepted: "a directory that can be written",
        choices: &[],
        help: "Directory of the bets, the finished agencies and the draw",
        details: "Each directory holds one lottery.",
    },
    Setting {
        key: "SERVER_DURABILITY",
        flag: "durability",
        value_name: "WHAT",
        default: "disk",
        accepted: "disk or process",
        choices: &["disk", "process"],
        help: "What an acknowledged batch survives",
        details: "disk: a power failure, because the batch is acknowledged after fdatasync. \
                  process: the death of every process, but not of the machine.",
    },
    Setting {
        key: "SERVER_GRACE",
        flag: "grace",
        value_name: "TIME",
        default: "8s",
        accepted: "a duration of at least 100ms, such as 8s or 1m30s",
        choices: &[],
        help: "Time for a graceful stop",
        details: "Workers that are still running then are killed.",
    },
    Setting {
        key: "SERVER_REQUEST_TIMEOUT",
        flag: "request-timeout",
        value_name: "TIME",
        default: "30s",
        accepted: "a duration of at least 100ms, such as 30s",
        choices: &[],
        help: "Time for a request, from its first byte to the end of the reply",
        details: "Where a connection carries one request only, the time starts with the connection.",
    },
    Setting {
        key: "SERVER_IDLE_TIMEOUT",
        flag: "idle-timeout",
        value_name: "TIME",
        default: "5m",
        accepted: "a duration of at least 100ms, such as 5m",
        choices: &[],
        help: "Time that a kept connection may stay idle between two requests",
        details: "Waiting for the draw does not count.",
    },
    Setting {
        key: "SERVER_HEARTBEAT_TIMEOUT",
        flag: "heartbeat-timeout",
        value_name: "TIME",
        default: "5s",
        accepted: "a duration of at least 1s, such as 5s, or 0 for no limit",
        choices: &[],
        help: "Time without a heartbeat after which a stopped or stuck worker is replaced",
        details: "Time in which a worker waits for the disk does not count.",
    },
    Setting {
        key: "SERVER_STALL_TIME",
        flag: "stall-time",
        value_name: "TIME",
        default: "500ms",
        accepted: "a duration of at least 100ms, such as 500ms",
        choices: &[],
        help: "Time after which a batch that has begun is no longer in flight if it arrives at \
               less than 1 kB/s",
        details: "From then on it does not make queries partial. It is still stored if it is \
                  complete before its timeout.",
    },
    Setting {
        key: "SERVER_CONNECTIONS",
        flag: "connections",
        value_name: "N",
        default: "8192",
        accepted: "a whole number, 16 to 65535",
        choices: &[],
        help: "Connections per worker, those that wait for the draw included",
        details: "When all are in use, connections that wait for the draw without having finished \
                  are closed first, then silent ones. The limit of open files may be lower.",
    },
    Setting {
        key: "SERVER_LOG_LINES",
        flag: "log-lines",
        value_name: "N",
        default: "1000",
        accepted: "a whole number, 1 to 1000000",
        choices: &[],
        help: "Log lines that the clients of one address may cause per 10 s in each worker",
        details: "Further lines are counted, and one line reports their number. The limit for lines \
                  about stored batches is 50 times as high.",
    },
    Setting {
        key: "SERVER_MONITOR",
        flag: "monitor",
        value_name: "ADDRESS",
        default: "off",
        accepted: "an address with a port, such as 127.0.0.1:9100, or off",
        choices: &["off"],
        help: "Where the monitor serves status, health and metrics over HTTP",
        details: "The supervisor executes the monitor and starts it again when it ends. It has no \
                  authentication, so keep it on a private address.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operator.md");
        let readme = std::fs::read_to_string(path).unwrap();
        let table = TABLE.markdown();
        assert!(
            readme.contains(&table),
            "docs/operator.md needs this table of the server:\n\n{table}"
        );
    }

    #[test]
    fn the_configuration_file_of_the_repository_shows_every_setting_and_its_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.ini");
        let file = std::fs::read_to_string(path).unwrap();
        for Setting { key, default, .. } in TABLE.settings {
            // The container's own address is the one value that differs.
            let line = format!("{key} = {}", if *key == "SERVER_IP" { "server" } else { default });
            let found = file.lines().any(|found| found.trim_start_matches("# ") == line);
            assert!(found, "config.ini needs the line `{line}`, as a comment or not");
        }
    }
}
