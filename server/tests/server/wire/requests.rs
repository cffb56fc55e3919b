//! The requests of `typed` and their replies, however the network splits the bytes.

use crate::harness::{self, Setup, eventually, packet_of, packet_of_records};
use lottery::Results;
use lottery::protocol::typed::{self, QUERY};

fn setup() -> Setup {
    Setup::new()
}

/// Returns bytes of the original programs.
fn vector(name: &str) -> Vec<u8> {
    harness::vector("typed", name)
}

#[test]
fn an_acknowledged_batch_is_in_bets_csv_and_its_winners_are_counted() {
    let setup = setup();
    let central = setup.start();
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });

    let reply = central.request(&packet_of("a", 3, 2));

    assert_eq!(reply[..2], [0, 2]);
    assert_eq!(central.results(), Results { winners: 2, in_flight: 0 });
    assert_eq!(
        setup.rows(),
        [
            "0,Santiago Lionel,Lorca,a-0,1999-03-17,7574",
            "0,Santiago Lionel,Lorca,a-1,1999-03-17,7574",
            "0,Santiago Lionel,Lorca,a-2,1999-03-17,1033",
        ]
    );
    let (code, _) = central.stop();
    assert_eq!(code, 0);
}

#[test]
fn requests_of_the_original_programs_get_the_original_replies_byte_for_byte() {
    let setup = setup();
    let central = setup.start();
    assert_eq!(central.request(&vector("results_query")), vector("results_total_0"));
    // Computed with Python, the hashes modulo 17 are 10 for L, 9 for T and 10 for A, so none of
    // them wins.
    for batch in ["batch_L", "batch_LTA"] {
        assert_eq!(central.request(&vector(batch)), vector("batch_reply_no_winner"), "{batch}");
    }
    assert_eq!(central.request(&vector("results_query")), vector("results_total_0"));
    for _ in 0..3 {
        let reply = central.request(&vector("five_fields_batch_LT"));
        assert_eq!(reply, vector("five_fields_batch_LT_reply"));
    }
    assert_eq!(central.request(&vector("results_query")), vector("results_total_3"));

    let query = || central.request(&vector("results_query"));
    let mut busy = Vec::new();
    for answer in ["results_partial_1_busy_3", "results_partial_2_busy_3"] {
        let mut agency = central.connect();
        agency.send(&vector("batch_L")[..1]);
        busy.push(agency);
        eventually(answer, query, |reply| *reply == vector(answer));
    }
    assert_eq!(setup.rows().len(), 1 + 3 + 3 * 2);
}

#[test]
fn records_without_a_number_win_by_the_hash_of_their_text_and_return_in_order() {
    let setup = setup();
    let central = setup.start();
    let record = |document: usize| format!("Ana;Paz;{document};2000-01-01");
    let reply = central.request(&packet_of_records(&(0..=58).map(record).collect::<Vec<_>>()));
    // Computed with Python, these have an FNV-1a hash that is divisible by 17.
    let winners = [11, 42, 43, 50, 58].map(record);
    assert_eq!(reply, packet_of_records(&winners)[1..]);
    assert_eq!(central.results(), Results { winners: 5, in_flight: 0 });
}

#[test]
fn a_batch_split_at_any_byte_gets_the_reply_of_a_whole_one() {
    let setup = setup();
    let central = setup.start();
    let (batch, reply) = (vector("five_fields_batch_LT"), vector("five_fields_batch_LT_reply"));
    for split in 1..batch.len() {
        let mut agency = central.connect();
        agency.send(&batch[..split]);
        // Once the batch is in flight, the central has read the first part alone.
        eventually("the first part read", || central.results().in_flight, |count| *count == 1);
        agency.send(&batch[split..]);
        assert_eq!(agency.read_to_end(), reply, "split after {split} bytes");
    }
    assert_eq!(setup.rows().len(), 2 * (batch.len() - 1));
}

#[test]
fn a_batch_that_arrives_byte_by_byte_gets_the_reply_of_a_whole_one() {
    let setup = setup();
    let central = setup.start();
    let mut agency = central.connect();
    for byte in vector("five_fields_batch_LT") {
        agency.send(&[byte]);
    }
    assert_eq!(agency.read_to_end(), vector("five_fields_batch_LT_reply"));
}

#[test]
fn bytes_after_the_first_request_of_a_connection_are_ignored_and_do_not_destroy_its_reply() {
    let setup = setup();
    let central = setup.start();
    let (batch, reply) = (vector("five_fields_batch_LT"), vector("five_fields_batch_LT_reply"));
    for (round, extra) in
        [QUERY.to_vec(), batch.clone(), vec![0xff; 7], vec![0; 100_000]].iter().enumerate()
    {
        // `read_to_end` panics if the agency receives a reset.
        let mut agency = central.connect();
        agency.send(&[&batch[..], extra].concat());
        assert_eq!(agency.read_to_end(), reply, "{} bytes after the batch", extra.len());

        let winners = round as u64 + 1;
        let mut agency = central.connect();
        agency.send(&[&QUERY[..], extra].concat());
        let results = typed::decode_results(&agency.read_to_end()).unwrap();
        assert_eq!(
            results,
            Some(Results { winners, in_flight: 0 }),
            "{} bytes after the query",
            extra.len()
        );
    }
    assert_eq!(setup.rows().len(), 2 * 4);
}

#[test]
fn a_batch_of_65535_records_is_stored_completely_and_its_reply_names_every_winner() {
    let setup = setup();
    let central = setup.start();
    let record = |index: usize| format!("Santiago Lionel;Lorca;{index};1999-03-17;7574");
    let batch = packet_of_records(&(0..65_535).map(record).collect::<Vec<_>>());
    assert!(
        central.request(&batch) == batch[1..],
        "every record wins, so the reply repeats all of them"
    );
    assert_eq!(central.results(), Results { winners: 65_535, in_flight: 0 });
    let rows = setup.rows();
    assert_eq!(rows.len(), 65_535);
    let is_expected = |(index, row): (usize, &String)| {
        *row == format!("0,Santiago Lionel,Lorca,{index},1999-03-17,7574")
    };
    assert!(rows.iter().enumerate().all(is_expected));
}
