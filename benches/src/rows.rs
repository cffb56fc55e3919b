//! The rows of the measurement, and which of them a run takes.

use lottery::protocol::{DIALECTS, Dialect};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The pre-fork server of `bare_prefork.c`.
    Bare,
    /// The same with `MSG_MORE`.
    BareMore,
    /// The central with durability `process`.
    Process,
    /// The central with durability `disk`.
    Disk,
    /// The central that stores in PostgreSQL, with synchronous commit.
    Postgres,
    /// `multiprocessing_server.py`.
    Python,
    /// The same with buffered reads and a fast date parser.
    PythonTuned,
    /// Redis: `XADD` of opaque bytes, `appendfsync always`.
    RedisXadd,
    /// Redis: a function that validates and counts, `appendfsync always`.
    RedisLua,
    /// PostgreSQL: prepared INSERT with binary arrays, synchronous commit.
    PostgresInsert,
    /// PostgreSQL: binary COPY, synchronous commit.
    PostgresCopy,
}

impl Server {
    const ALL: [Self; 11] = [
        Self::Bare,
        Self::BareMore,
        Self::Process,
        Self::Disk,
        Self::Postgres,
        Self::Python,
        Self::PythonTuned,
        Self::RedisXadd,
        Self::RedisLua,
        Self::PostgresInsert,
        Self::PostgresCopy,
    ];

    /// Returns the name in the identifiers of rows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareMore => "bare-more",
            Self::Process => "process",
            Self::Disk => "disk",
            Self::Postgres => "postgres",
            Self::Python => "python",
            Self::PythonTuned => "python-tuned",
            Self::RedisXadd => "redis-xadd",
            Self::RedisLua => "redis-lua",
            Self::PostgresInsert => "postgres-insert",
            Self::PostgresCopy => "postgres-copy",
        }
    }

    /// Returns the name that readers see.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare C",
            Self::BareMore => "bare C, MSG_MORE",
            Self::Process => "ours, process",
            Self::Disk => "ours, disk",
            Self::Postgres => "ours, PostgreSQL",
            Self::Python => "Python",
            Self::PythonTuned => "Python, tuned",
            Self::RedisXadd => "Redis XADD",
            Self::RedisLua => "Redis, Lua",
            Self::PostgresInsert => "PostgreSQL INSERT",
            Self::PostgresCopy => "PostgreSQL COPY",
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Process | Self::Disk | Self::Postgres)
    }

    /// Returns true if the server speaks a dialect.
    pub(crate) fn has_dialect(self) -> bool {
        self.is_ours() || matches!(self, Self::Python | Self::PythonTuned)
    }

    /// Returns true if the server understands the bets that it gets.
    pub(crate) fn stores_bets(self) -> bool {
        !matches!(self, Self::Bare | Self::BareMore | Self::RedisXadd)
    }
}

/// The smallest set of rows that a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Set {
    /// The default: a few minutes.
    Main,
    /// What the goals and plots need.
    Goals,
    /// Everything.
    All,
}

/// Size of the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    /// As many bets as fit into 8 kB.
    Full,
    /// Ten bets.
    Ten,
}

impl Batch {
    /// Returns the name, which is also the value of `loteria-agency bench --batch`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "8kB",
            Self::Ten => "10",
        }
    }

    /// Returns the size that readers see.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Full => "8 kB",
            Self::Ten => "10 bets",
        }
    }

    /// Returns the largest number of bets.
    pub(crate) fn max_bets(self) -> u16 {
        match self {
            Self::Full => u16::MAX,
            Self::Ten => 10,
        }
    }
}

/// One server under one load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) server: Server,
    /// The dialect, which for other servers only determines the size of the batch.
    pub(crate) dialect: &'static Dialect,
    pub(crate) kept: bool,
    pub(crate) clients: usize,
    pub(crate) batch: Batch,
    pub(crate) set: Set,
    /// True if the row is measured once, for the curve over the number of connections.
    pub(crate) once: bool,
}

impl Row {
    /// Returns the identifier, such as `process/typed/per-batch/4/8kB`.
    pub(crate) fn id(&self) -> String {
        let Self { server, dialect, kept, clients, batch, .. } = self;
        let connections = if *kept { "kept" } else { "per-batch" };
        format!("{}/{}/{connections}/{clients}/{}", server.name(), dialect.name, batch.name())
    }

    /// Returns the measured row of the bare server under the same load, if there is one. The sizes
    /// of full batches differ little between the dialects.
    pub(crate) fn bare(&self) -> Option<Self> {
        let is_alike = |row: &&Self| {
            row.server == Server::Bare
                && (row.kept, row.clients, row.batch) == (self.kept, self.clients, self.batch)
        };
        all().iter().find(is_alike).copied()
    }

    /// Returns the row with this identifier.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let parts: Vec<_> = id.split('/').collect();
        let &[server, dialect, connections, clients, batch] = &parts[..] else { return None };
        let row = Self {
            server: Server::ALL.into_iter().find(|it| it.name() == server)?,
            dialect: Dialect::named(dialect)?,
            kept: connections == "kept",
            clients: clients.parse().ok()?,
            batch: [Batch::Full, Batch::Ten].into_iter().find(|it| it.name() == batch)?,
            set: Set::Main,
            once: false,
        };
        (row.id() == id).then_some(row)
    }
}

/// The dialect of the rows without a central, and of most goals.
pub(crate) const FIRST: &Dialect = &DIALECTS[0];

/// Numbers of clients in the curve.
const CURVE: [usize; 9] = [1, 2, 5, 20, 100, 500, 1000, 2000, 5000];

/// Returns every row, in the order in which a round takes them.
pub(crate) fn all() -> Vec<Row> {
    let sentinel = Dialect::named("sentinel").unwrap_or(FIRST);
    let mut rows = named(sentinel);
    for dialect in DIALECTS.iter().filter(|dialect| dialect.agency.is_some()) {
        rows.push(row(Server::Process, dialect, false, 4, Batch::Full, Set::Main));
        if dialect.has_keys {
            rows.push(row(Server::Process, dialect, true, 4, Batch::Full, Set::Goals));
        }
        for (server, kept, clients) in every_load(dialect) {
            for batch in [Batch::Full, Batch::Ten] {
                rows.push(row(server, dialect, kept, clients, batch, Set::All));
            }
        }
    }
    for clients in CURVE {
        for (server, dialect, kept) in [
            (Server::Bare, FIRST, false),
            (Server::Process, FIRST, false),
            (Server::Process, sentinel, true),
        ] {
            let row = row(server, dialect, kept, clients, Batch::Full, Set::Goals);
            rows.push(Row { once: true, ..row });
        }
    }
    let mut seen = std::collections::HashSet::new();
    rows.retain(|row| seen.insert(row.id()));
    rows
}

/// Returns a row that is measured in every round.
fn row(
    server: Server,
    dialect: &'static Dialect,
    kept: bool,
    clients: usize,
    batch: Batch,
    set: Set,
) -> Row {
    Row { server, dialect, kept, clients, batch, set, once: false }
}

/// Returns the rows that goals compare, and those of the other systems.
fn named(sentinel: &'static Dialect) -> Vec<Row> {
    use Server::{
        Bare, BareMore, Disk, Postgres, PostgresCopy, PostgresInsert, Process, Python, PythonTuned,
        RedisLua, RedisXadd,
    };
    use Set::{Goals, Main};
    let mut rows = Vec::new();
    for clients in [4, 64] {
        for (server, set) in [(Bare, Main), (BareMore, Goals), (Process, Main), (Disk, Main)] {
            rows.push(row(server, FIRST, false, clients, Batch::Full, set));
        }
        for server in [Bare, Process, Disk] {
            rows.push(row(server, FIRST, false, clients, Batch::Ten, Goals));
        }
    }
    for (server, clients, set) in [
        (Bare, 4, Main),
        (Process, 4, Main),
        (Disk, 4, Goals),
        (Bare, 64, Goals),
        (Process, 64, Goals),
        (Disk, 64, Main),
    ] {
        rows.push(row(server, sentinel, true, clients, Batch::Full, set));
    }
    rows.push(row(Postgres, FIRST, false, 64, Batch::Full, Main));
    rows.push(row(Postgres, sentinel, true, 64, Batch::Full, Goals));
    for keyed in DIALECTS.iter().filter(|dialect| dialect.has_keys) {
        rows.push(row(Postgres, keyed, true, 64, Batch::Full, Goals));
    }
    rows.push(row(RedisXadd, FIRST, true, 64, Batch::Full, Main));
    rows.push(row(RedisXadd, FIRST, false, 64, Batch::Full, Main));
    for server in [RedisLua, PostgresInsert, PostgresCopy] {
        rows.push(row(server, FIRST, true, 64, Batch::Full, Goals));
    }
    for server in [Python, PythonTuned] {
        rows.push(row(server, FIRST, false, 4, Batch::Full, Goals));
    }
    rows
}

/// Returns both durabilities, uses of connections and numbers of clients of a dialect.
fn every_load(dialect: &Dialect) -> impl Iterator<Item = (Server, bool, usize)> {
    let kept: &[bool] = if dialect.keeps_connections() { &[false, true] } else { &[false] };
    kept.iter().flat_map(|&kept| {
        [4, 64].into_iter().flat_map(move |clients| {
            [Server::Process, Server::Disk].map(move |server| (server, kept, clients))
        })
    })
}

/// Returns the rows that `words` select: `main`, `goals`, `all`, or parts of identifiers.
pub(crate) fn selected(words: &[String]) -> Vec<Row> {
    let wanted = |row: &Row, word: &str| match word {
        "main" => row.set == Set::Main,
        "goals" => row.set <= Set::Goals,
        "all" => true,
        part => row.id().contains(part),
    };
    let mut rows = all();
    rows.retain(|row| words.iter().any(|word| wanted(row, word)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(words: &[&str]) -> Vec<String> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        selected(&words).iter().map(Row::id).collect()
    }

    #[test]
    fn every_row_is_found_by_its_identifier_alone() {
        for row in all() {
            let found = Row::parse(&row.id()).unwrap();
            assert_eq!(found.id(), row.id());
        }
        for id in ["", "bare", "ours/typed/kept/4/8kB", "bare/typed/often/4/8kB"] {
            assert_eq!(Row::parse(id), None, "{id}");
        }
    }

    #[test]
    fn words_select_sets_or_parts_of_identifiers() {
        let (main, goals, all) = (ids(&["main"]), ids(&["goals"]), ids(&["all"]));
        assert!(main.len() < goals.len() && goals.len() < all.len());
        assert!(main.iter().all(|id| goals.contains(id)));
        assert_eq!(ids(&["redis-lua", "postgres-copy"]).len(), 2);
        assert_eq!(ids(&["disk/framed/kept/64/10"]), ["disk/framed/kept/64/10"]);
        assert!(ids(&["nothing"]).is_empty());
    }

    #[test]
    fn the_full_set_has_every_dialect_load_durability_and_size_of_batch() {
        let all = ids(&["all"]);
        for dialect in DIALECTS.iter().filter(|dialect| dialect.agency.is_some()) {
            for clients in ["4", "64"] {
                for server in ["process", "disk"] {
                    for batch in ["8kB", "10"] {
                        let id = format!("{server}/{}/per-batch/{clients}/{batch}", dialect.name);
                        assert!(all.contains(&id), "{id}");
                    }
                }
            }
        }
    }
}
