//! Batches with keys: however often a batch is sent, and whatever happens to the central in
//! between, it is stored once and every reply to it is the same.

use std::thread::scope;

use crate::harness::{
    AgencyConnection, CentralProcess, KeyedAgency, Setup, count_draws, kill, vector, winners_reply,
};
use lottery::BatchKey;
use lottery::protocol::Advice;
use nix::sys::signal::Signal;

fn setup(durability: &str) -> Setup {
    Setup::new().with("SERVER_PROTOCOL", "keyed").with("SERVER_DURABILITY", durability)
}

/// Sends a request on a connection of its own and returns everything that the central answers.
fn ask(central: &CentralProcess<'_>, request: &[u8]) -> Vec<u8> {
    let mut connection = central.connect();
    connection.send(request);
    connection.end_sending();
    connection.read_to_end()
}

#[test]
fn the_requests_of_the_vectors_get_the_replies_of_the_vectors() {
    let setup = setup("process").with("SERVER_AGENCIES", "1");
    let central = setup.start();
    let mut agency = central.connect();
    for (request, reply) in
        [("batch_L", "stored_L"), ("batch_LT", "stored_L"), ("finish_1", "finished")]
    {
        agency.send(&vector("keyed", request));
        let reply = vector("keyed", reply);
        assert_eq!(agency.read_bytes(reply.len()), reply, "reply to {request}");
    }
    // Bet L is stored in both batches.
    agency.send(&vector("keyed", "query_1"));
    let winners = winners_reply("keyed", &[30_904_465; 2]);
    assert_eq!(agency.read_bytes(winners.len()), winners);
    agency.end_sending();
    assert!(agency.read_to_end().is_empty(), "nothing more before the end");
    assert_eq!(setup.rows().len(), 3);
}

#[test]
fn a_repeated_batch_is_stored_once_and_answered_as_the_first_time() {
    for durability in ["process", "disk"] {
        let (setup, mut agency) = (setup(durability), KeyedAgency::new(1));
        let central = setup.start();
        let batch = agency.batch(1, "a");
        let first = ask(&central, &batch);
        agency.assert_stored(&first, "a");
        for _ in 0..5 {
            assert_eq!(ask(&central, &batch), first);
        }
        assert_eq!((setup.rows().len(), central.number("bets")), (3, 3));
        assert_eq!(central.number("winners"), 1);
        assert_eq!(central.program.count_lines_with("apuesta_repetida | result: success"), 5);
        assert_eq!(central.program.count_lines_with("apuesta_recibida | result: success"), 1);
        central.none_in_flight_within_a_second();
    }
}

#[test]
fn a_session_survives_the_death_of_the_worker_of_everything_and_a_restart() {
    for durability in ["process", "disk"] {
        let mut setup = setup(durability);
        setup.keep_port();
        let mut agency = KeyedAgency::new(1);
        let mut last = agency.batch(1, "0");
        let mut central = setup.start();
        let mut reply = ask(&central, &last);
        for round in 1..=8 {
            match round % 4 {
                0 => {
                    assert_eq!(central.stop().0, 0);
                    central = setup.start();
                }
                1 => {
                    central.kill_all();
                    central = setup.start();
                }
                2 => {
                    let worker = central.worker_pids()[0];
                    assert!(kill(worker, Signal::SIGKILL));
                    central.replaced_within_a_second(0, worker);
                }
                _ => {}
            }
            assert_eq!(ask(&central, &last), reply, "round {round}");
            let mark = round.to_string();
            last = agency.batch(round + 1, &mark);
            reply = ask(&central, &last);
            agency.assert_stored(&reply, &mark);
        }
        assert_eq!(setup.rows().len(), 27);
    }
}

#[test]
fn a_batch_that_does_not_continue_its_session_is_refused_with_the_number_that_does() {
    let (setup, mut agency) = (setup("process"), KeyedAgency::new(1));
    let central = setup.start();
    let expected = |agency: &KeyedAgency, reply: &[u8], number| {
        assert_eq!(agency.advice(reply), Advice::ResendFrom(number));
    };
    let early = ask(&central, &agency.batch(2, "a"));
    expected(&agency, &early, 1);
    let first = agency.batch(1, "a");
    agency.assert_stored(&ask(&central, &first), "a");
    let second = ask(&central, &agency.batch(2, "b"));
    agency.assert_stored(&second, "b");
    for number in [1, 4, u64::MAX] {
        let other = ask(&central, &agency.batch(number, "c"));
        expected(&agency, &other, 3);
    }
    let different = ask(&central, &agency.batch(2, "d"));
    assert_eq!(agency.advice(&different), Advice::Stop);
    assert_eq!(setup.rows().len(), 6);
}

#[test]
fn an_agency_learns_the_next_number_of_its_session_also_after_a_restart_and_the_draw() {
    let mut setup = setup("disk").with("SERVER_AGENCIES", "1");
    setup.keep_port();
    let mut agency = KeyedAgency::new(1);
    let question = agency.codec.session_question().unwrap();
    let mut central = setup.start();
    let next = |agency: &KeyedAgency, central: &CentralProcess<'_>| {
        agency.codec.next_sequence(&ask(central, &question)).unwrap()
    };
    assert_eq!(next(&agency, &central), Some(1));
    for sequence in 1..=3 {
        let mark = sequence.to_string();
        let batch = agency.batch(sequence, &mark);
        agency.assert_stored(&ask(&central, &batch), &mark);
        assert_eq!(next(&agency, &central), Some(sequence + 1));
    }
    central.kill_all();
    central = setup.start();
    assert_eq!(next(&agency, &central), Some(4));
    let finish = agency.codec.notification().unwrap();
    assert_eq!(agency.codec.acknowledgement(&ask(&central, &finish)), Ok(Some(())));
    central.until_drawn();
    assert_eq!(next(&agency, &central), Some(4));
    assert_eq!(central.program.count_lines_with("result: fail"), 0);
}

#[test]
fn a_session_belongs_to_the_agency_that_began_it() {
    let (setup, session) = (setup("process"), BatchKey::new_session());
    let (mut first, mut second) =
        (KeyedAgency::with_session(1, session), KeyedAgency::with_session(2, session));
    let central = setup.start();
    let stored = ask(&central, &first.batch(1, "a"));
    first.assert_stored(&stored, "a");
    for number in [1, 2] {
        let refused = ask(&central, &second.batch(number, "a"));
        assert_eq!(second.advice(&refused), Advice::Stop);
    }
    assert_eq!(setup.rows().len(), 3);
}

#[test]
fn of_many_copies_that_arrive_at_the_same_time_one_is_stored() {
    const COPIES: usize = 16;
    for durability in ["process", "disk"] {
        let (setup, mut agency) =
            (setup(durability).with("SERVER_WORKERS", "4"), KeyedAgency::new(1));
        let central = setup.start();
        for round in 1..=20 {
            let mark = round.to_string();
            let batch = agency.batch(round, &mark);
            let connections: Vec<_> = (0..COPIES).map(|_| central.connect()).collect();
            let send = |mut connection: AgencyConnection| {
                connection.send(&batch);
                connection.end_sending();
                connection.read_to_end()
            };
            let replies: Vec<_> = scope(|scope| {
                let threads: Vec<_> =
                    connections.into_iter().map(|it| scope.spawn(move || send(it))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            agency.assert_stored(&replies[0], &mark);
            assert!(replies.iter().all(|reply| *reply == replies[0]), "round {round}");
        }
        assert_eq!(setup.rows().len(), 60);
        assert_eq!(central.number("winners"), 20);
    }
}

#[test]
fn of_different_batches_with_the_same_number_at_the_same_time_one_is_stored() {
    const COPIES: usize = 8;
    for durability in ["process", "disk"] {
        let (setup, session) =
            (setup(durability).with("SERVER_WORKERS", "4"), BatchKey::new_session());
        let central = setup.start();
        let mut agencies: Vec<_> =
            (0..COPIES).map(|_| KeyedAgency::with_session(1, session)).collect();
        for round in 1..=20 {
            let send = &|index: usize, agency: &mut KeyedAgency| {
                let mark = format!("{round}-{index}");
                let reply = ask(&central, &agency.batch(round, &mark));
                match agency.codec.denied(&reply) {
                    None => agency.assert_stored(&reply, &mark),
                    Some(denied) => assert_eq!(denied.advice, Advice::Stop, "{denied:?}"),
                }
                agency.codec.denied(&reply).is_none()
            };
            let stored = scope(|scope| {
                let threads: Vec<_> = agencies
                    .iter_mut()
                    .enumerate()
                    .map(|(index, agency)| scope.spawn(move || send(index, agency)))
                    .collect();
                threads.into_iter().filter_map(|it| it.join().unwrap().then_some(())).count()
            });
            assert_eq!(stored, 1, "round {round}");
        }
        assert_eq!(setup.rows().len(), 60);
    }
}

#[test]
fn the_central_closes_after_the_last_request_and_discards_what_follows_it() {
    let (setup, mut agency) = (setup("process"), KeyedAgency::new(1));
    let central = setup.start();
    let mut last = agency.batch(1, "a");
    last[1] |= 0x40;
    let mut connection = central.connect();
    connection.send(&[last, agency.batch(2, "b")].concat());
    let reply = connection.read_to_end();
    agency.assert_stored(&reply, "a");
    let next = ask(&central, &agency.codec.session_question().unwrap());
    assert_eq!(agency.codec.next_sequence(&next), Ok(Some(2)));
    assert_eq!(setup.rows().len(), 3);
}

#[test]
fn requests_in_one_segment_are_answered_in_their_order() {
    let (setup, mut agency) = (setup("process"), KeyedAgency::new(1));
    let central = setup.start();
    let batches: Vec<_> = [1, 2, 2, 3, 9].map(|number| agency.batch(number, "a")).into();
    let replies = ask(&central, &batches.concat());
    let stored = ask(&central, &batches[3]);
    agency.assert_stored(&stored, "a");
    let (accepted, refused) = replies.split_at(4 * stored.len());
    assert_eq!(accepted, stored.repeat(4));
    assert_eq!(agency.advice(refused), Advice::ResendFrom(4));
    assert_eq!(setup.rows().len(), 9);
}

#[test]
fn a_connection_cut_at_any_byte_of_request_or_reply_leaves_no_doubt() {
    let (setup, mut agency) = (setup("process"), KeyedAgency::new(1));
    let central = setup.start();
    let mut sequence = 0;
    let mut next = |agency: &mut KeyedAgency| {
        sequence += 1;
        let mark = sequence.to_string();
        (agency.batch(sequence, &mark), mark)
    };
    let (whole, mark) = next(&mut agency);
    let reply = ask(&central, &whole);
    agency.assert_stored(&reply, &mark);
    for cut in 0..whole.len() {
        let (batch, mark) = next(&mut agency);
        let mut connection = central.connect();
        connection.send(&batch[..cut]);
        connection.reset();
        agency.assert_stored(&ask(&central, &batch), &mark);
    }
    for cut in 0..reply.len() {
        let (batch, mark) = next(&mut agency);
        let mut connection = central.connect();
        connection.send(&batch);
        let begun = connection.read_bytes(cut);
        connection.reset();
        let repeated = ask(&central, &batch);
        agency.assert_stored(&repeated, &mark);
        assert_eq!(begun, repeated[..cut]);
    }
    let documents: Vec<_> =
        (1..=sequence).flat_map(|batch| (0..3).map(move |bet| format!("{batch}-{bet}"))).collect();
    let rows = setup.rows();
    let stored: Vec<_> = rows.iter().map(|row| row.split(',').nth(3).unwrap()).collect();
    assert_eq!(stored, documents, "each row once, in order");
}

#[test]
fn after_the_draw_a_repetition_is_answered_and_a_new_batch_is_refused() {
    let (setup, mut agency) = (setup("disk").with("SERVER_AGENCIES", "1"), KeyedAgency::new(1));
    let central = setup.start();
    let batch = agency.batch(1, "a");
    let first = ask(&central, &batch);
    let finish = agency.codec.notification().unwrap();
    assert_eq!(agency.codec.acknowledgement(&ask(&central, &finish)), Ok(Some(())));
    central.until_drawn();
    assert_eq!(ask(&central, &batch), first);
    let refused = ask(&central, &agency.batch(2, "b"));
    assert_eq!(agency.advice(&refused), Advice::Stop);
    assert_eq!(setup.rows().len(), 3);
    assert_eq!(count_draws(&central.stop_and_read_log()), 1);
}
