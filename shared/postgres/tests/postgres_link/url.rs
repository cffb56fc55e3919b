//! URLs, passwords and name resolution.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::str::FromStr;

use postgres_link::{PasswordSources, ResolveError, Url, UrlError};

fn error(text: &str) -> String {
    Url::from_str(text).unwrap_err().to_string()
}

#[test]
fn a_url_names_hosts_user_and_database() {
    let url =
        Url::from_str("postgres://central@db1,db2:5433,[::1],[fe80::1]:5434/lottery").unwrap();
    assert_eq!(
        url.to_string(),
        "postgres://central@db1:5432,db2:5433,[::1]:5432,[fe80::1]:5434/lottery"
    );
    assert_eq!(Url::from_str(&url.to_string()).unwrap(), url);
    let url = Url::from_str("postgresql://central@db1").unwrap();
    assert_eq!(url.to_string(), "postgres://central@db1:5432/central");
}

#[test]
fn special_characters_are_percent_encoded() {
    let url = Url::from_str("postgres://a%40b:p%2Fw@db1/l%20%C3%B1").unwrap();
    assert_eq!(url.to_string(), "postgres://a%40b@db1:5432/l%20%C3%B1");
    for (text, part) in [
        ("postgres://a%4@db1/x", "user"),
        ("postgres://a:%zz@db1/x", "password"),
        ("postgres://a@db1/%ff", "database"),
        ("postgres://a@db1/%00", "database"),
    ] {
        let expected =
            format!("the {part} of the URL is not percent-encoded text: write %25 for %");
        assert_eq!(error(text), expected);
    }
}

#[test]
fn no_text_shows_the_password() {
    let url = Url::from_str("postgres://central:s3cret@127.0.0.1/lottery").unwrap();
    let servers = url.resolve().unwrap();
    for shown in [url.to_string(), format!("{url:?}"), format!("{servers:?}")] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    for wrong in [
        "postgres://central:s3cret@",
        "postgres://central:s3cret@db1:x/lottery",
        "postgres://central:s3cret@[db1]/lottery",
        "postgres://central:s3cret@db1/lottery?x=y",
        "postgres://:s3cret@db1/lottery",
        "http://central:s3cret@db1/lottery",
        "postgres://central:s3cret%@db1/lottery",
        "postgres://central:s3cret",
    ] {
        let shown = error(wrong) + &format!("{:?}", Url::from_str(wrong));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn a_wrong_part_is_named() {
    for (text, expected) in [
        ("db1", "the URL of a PostgreSQL cluster begins with postgres://"),
        ("postgres://db1", "the URL has no user: write postgres://USER@HOST/DATABASE"),
        ("postgres://@db1", "the URL has no user: write postgres://USER@HOST/DATABASE"),
        ("postgres://a@db1,,db3/x", "host 2 of the URL is empty"),
        ("postgres://a@db1:0/x", "the port \"0\" of host \"db1\" is not a number from 1 to 65535"),
        ("postgres://a@db1:/x", "the port \"\" of host \"db1\" is not a number from 1 to 65535"),
        (
            "postgres://a@::1/x",
            "\"::1\" is not an IPv6 address in brackets, like [::1] or [::1]:5432",
        ),
        (
            "postgres://a@db1/x?options=-c",
            "unknown parameter \"options\": known are application_name, connect_timeout and \
             sslmode",
        ),
        (
            "postgres://a@db1/x?connect_timeout=0",
            "connect_timeout=\"0\" is not valid: it takes seconds from 1 to 3600",
        ),
        (
            "postgres://a@db1/x?sslmode=maybe",
            "sslmode=\"maybe\" is not valid: it takes disable, allow or prefer",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn a_url_that_demands_tls_is_refused() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let text = format!("postgres://a@db1/x?sslmode={mode}");
        assert_eq!(Url::from_str(&text), Err(UrlError::Tls(mode.to_owned())));
        assert!(error(&text).contains("TLS to PostgreSQL are not supported"));
    }
    for mode in ["disable", "allow", "prefer"] {
        Url::from_str(&format!("postgres://a@db1/x?sslmode={mode}")).unwrap();
    }
}

#[test]
fn names_that_do_not_resolve_are_left_out() {
    let url = Url::from_str("postgres://a@no-such-host.invalid,127.0.0.1:1,127.0.0.1:1/x").unwrap();
    let servers = url.resolve().unwrap();
    assert_eq!(servers.addresses().len(), 1);
    let [unresolved] = servers.unresolved() else { panic!("{servers:?}") };
    assert_eq!(unresolved.host, "no-such-host.invalid:5432");

    let url = Url::from_str("postgres://a@no-such-host.invalid/x").unwrap();
    let Err(ResolveError::Hosts(hosts)) = url.resolve() else { panic!("resolved") };
    assert_eq!(hosts.len(), 1);
}

#[test]
fn a_password_file_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("passwords");
    let url = Url::from_str("postgres://a@127.0.0.1/x").unwrap();
    let resolve = || url.resolve_with(&PasswordSources::file(&path));
    assert!(resolve().unwrap_err().to_string().contains("No such file"));
    fs::write(&path, "*:*:*:*:s3cret\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let error = resolve().unwrap_err().to_string();
    assert!(error.contains("other users may read it; run chmod 600"), "{error}");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    resolve().unwrap();
}
