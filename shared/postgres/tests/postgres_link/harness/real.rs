//! A database of its own for each test, on the server of `TEST_POSTGRES`.

use std::env;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres_link::{Replies, Request, Servers, Session};

use super::{servers, soon};

/// A database, which is dropped at the end of the test.
pub struct Database {
    name: String,
    /// The server, with the database.
    pub servers: Servers,
}

/// Returns a new database, or `None` without a server: `TEST_POSTGRES` is the URL of a superuser,
/// and `scripts/test.sh` sets it where PostgreSQL is installed.
pub fn database() -> Option<Database> {
    static NEXT: AtomicU32 = AtomicU32::new(0);

    let Ok(url) = env::var("TEST_POSTGRES") else {
        eprintln!("left out: TEST_POSTGRES is not set");
        return None;
    };
    let mut servers = servers(&url);
    let name = format!("link_{}_{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    script(&servers, &format!("CREATE DATABASE {name}"));
    servers.set_database(&name);
    Some(Database { name, servers })
}

/// Executes a script in a session of its own.
pub fn script(servers: &Servers, sql: &str) -> Replies {
    let mut session = Session::connect(servers, soon()).unwrap();
    session.execute(Request::script(sql).unwrap(), soon()).unwrap()
}

impl Database {
    /// Returns a session.
    pub fn session(&self) -> Session {
        Session::connect(&self.servers, soon()).unwrap()
    }

    /// Executes a script in another session.
    pub fn script(&self, sql: &str) -> Replies {
        script(&self.servers, sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut servers = self.servers.clone();
        servers.set_database("postgres");
        script(&servers, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}
