//! Requests and their replies.

use postgres_link::{Param, Request, SessionError, ValueError};

use crate::harness::{real, soon};

#[test]
fn values_of_every_type_come_back_as_they_were_sent() {
    let Some(database) = real::database() else { return };
    let mut session = database.session();
    let bytes: &[u8] = &[0, 255, 10];
    let large = vec![7; 200_000];
    let params = [
        Param::I16(-2),
        Param::I32(i32::MIN),
        Param::I64(i64::MAX),
        Param::Bool(true),
        Param::Text("ñandú"),
        Param::Bytes(bytes),
        Param::I32s(&[1, -1]),
        Param::I64s(&[]),
        Param::Texts(&["", "a,b"]),
        Param::BytesArray(&[bytes, &large]),
        Param::Null(&Param::I64(0)),
    ];
    let sql = "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11";
    let replies = session.execute(Request::of(sql, &params).unwrap(), soon()).unwrap();
    let row = replies.of(0).first().unwrap();
    assert_eq!(row.get(0), Ok(-2i16));
    assert_eq!(row.get(1), Ok(i32::MIN));
    assert_eq!(row.get(2), Ok(i64::MAX));
    assert_eq!(row.get(3), Ok(true));
    assert_eq!(row.get(4), Ok("ñandú"));
    assert_eq!(row.get(5), Ok(bytes));
    assert_eq!(row.get(6), Ok(vec![1, -1]));
    assert_eq!(row.get(7), Ok(Vec::<i64>::new()));
    assert_eq!(row.get(8), Ok(vec!["", "a,b"]));
    assert_eq!(row.get(9), Ok(vec![bytes, &large]));
    assert_eq!(row.get(10), Ok(None::<i64>));
    assert!(matches!(row.get::<i64>(10), Err(ValueError::Null(_))));
    assert!(matches!(row.get::<i64>(1), Err(ValueError::WrongType(..))));
    assert!(matches!(row.get::<i64>(11), Err(ValueError::NoColumn(11, 11))));
}

#[test]
fn a_request_is_one_transaction_of_which_nothing_remains_after_an_error() {
    let Some(database) = real::database() else { return };
    let mut session = database.session();
    database.script("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let insert = "INSERT INTO t SELECT * FROM unnest($1::int[])";
    let mut request = Request::new();
    request.add(insert, &[Param::I32s(&[2, 3])]).unwrap();
    request.add(insert, &[Param::I32s(&[1])]).unwrap();
    request.add("SELECT count(*) FROM t", &[]).unwrap();
    let error = match session.execute(request, soon()) {
        Err(SessionError::Server(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(error.is_unique_violation(), "{error}");
    assert!(error.detail.contains("(n)=(1)"), "{error}");

    let mut request = Request::new();
    request.add(insert, &[Param::I32s(&[2, 3])]).unwrap();
    request.add("SELECT count(*) FROM t", &[]).unwrap();
    let replies = session.execute(request, soon()).unwrap();
    assert_eq!(replies.of(0).affected(), 2);
    assert_eq!(replies.of(0).tag(), "INSERT 0 2");
    assert_eq!(replies.of(1).first().unwrap().get(0), Ok(3i64));
}

#[test]
fn a_statement_may_use_what_an_earlier_one_of_its_request_created() {
    let Some(database) = real::database() else { return };
    let mut session = database.session();
    let mut request = Request::new();
    request.add("CREATE TABLE t (n bigint)", &[]).unwrap();
    request.add("INSERT INTO t VALUES ($1)", &[Param::I64(5)]).unwrap();
    request.add("INSERT INTO t VALUES ($1)", &[Param::I64(6)]).unwrap();
    request.add("SELECT n FROM t ORDER BY n", &[]).unwrap();
    let replies = session.execute(request, soon()).unwrap();
    let rows = replies.of(3).rows().map(|row| row.get(0).unwrap()).collect::<Vec<i64>>();
    assert_eq!(rows, [5, 6]);
    assert_eq!(replies.of(3).columns()[0].name, "n");
}

#[test]
fn a_statement_is_prepared_once_and_again_if_its_columns_change() {
    let Some(database) = real::database() else { return };
    let mut session = database.session();
    database.script("CREATE TABLE t (n bigint); INSERT INTO t VALUES (1)");
    let mut select = || session.execute(Request::of("SELECT * FROM t", &[]).unwrap(), soon());
    assert_eq!(select().unwrap().of(0).columns().len(), 1);
    assert_eq!(select().unwrap().of(0).columns().len(), 1);
    database.script("ALTER TABLE t ADD m text");
    assert!(matches!(select(), Err(SessionError::Server(error)) if error.code == "0A000"));
    assert_eq!(select().unwrap().of(0).columns().len(), 2);

    let names = "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1";
    let count = Request::of(names, &[Param::Text("SELECT * FROM t")]).unwrap();
    let replies = session.execute(count, soon()).unwrap();
    assert_eq!(replies.of(0).first().unwrap().get(0), Ok(2i64), "the stale one and its successor");
}

#[test]
fn the_same_text_with_other_types_is_another_statement() {
    let Some(database) = real::database() else { return };
    let mut session = database.session();
    let mut request = Request::new();
    request.add("SELECT $1 + 1", &[Param::I32(1)]).unwrap();
    request.add("SELECT $1 + 1", &[Param::I64(1)]).unwrap();
    request.add("SELECT $1 + 1", &[Param::I32(2)]).unwrap();
    let replies = session.execute(request, soon()).unwrap();
    assert_eq!(replies.of(0).first().unwrap().get(0), Ok(2i32));
    assert_eq!(replies.of(1).first().unwrap().get(0), Ok(2i64));
    assert_eq!(replies.of(2).first().unwrap().get(0), Ok(3i32));
}

#[test]
fn an_open_transaction_goes_on_and_a_failed_one_is_rolled_back() {
    let Some(database) = real::database() else { return };
    let mut session = database.session();
    let mut run = |sql| session.execute(Request::of(sql, &[]).unwrap(), soon());
    run("CREATE TABLE t (n int)").unwrap();
    run("BEGIN").unwrap();
    run("INSERT INTO t VALUES (1)").unwrap();
    assert!(run("SELECT 1 / 0").is_err());
    // Without the rollback, the server would refuse this statement.
    let replies = run("SELECT count(*) FROM t").unwrap();
    assert_eq!(replies.of(0).first().unwrap().get(0), Ok(0i64));
    run("BEGIN").unwrap();
    run("INSERT INTO t VALUES (1)").unwrap();
    run("COMMIT").unwrap();
    let replies = run("SELECT count(*) FROM t").unwrap();
    assert_eq!(replies.of(0).first().unwrap().get(0), Ok(1i64));
}

#[test]
fn a_script_has_a_reply_for_each_statement() {
    let Some(database) = real::database() else { return };
    let replies = database.script("CREATE TABLE t (n text); INSERT INTO t VALUES ('a'); TABLE t");
    let [created, inserted, rows] = replies.all() else { panic!("{replies:?}") };
    assert_eq!(created.tag(), "CREATE TABLE");
    assert_eq!(inserted.affected(), 1);
    assert_eq!(rows.first().unwrap().get(0), Ok("a"));
    assert!(database.script("").all()[0].is_empty());
}

#[test]
fn an_empty_request_is_a_round_trip() {
    let Some(database) = real::database() else { return };
    let replies = database.session().execute(Request::new(), soon()).unwrap();
    assert!(replies.all().is_empty());
}

#[test]
fn a_warning_is_part_of_the_reply() {
    let Some(database) = real::database() else { return };
    let replies = database.script("DO $$ BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w'; END $$");
    let [warning] = replies.warnings() else { panic!("{replies:?}") };
    assert_eq!(warning.message, "w");
}
