//! Tests that apply to every dialect: the central keeps the rules, and each codec decodes what the
//! other one encodes, however the network splits it.

use crate::common::bets::{any_bets, of_agency};
use crate::common::conversation::{
    check_rules, conversation, decode_reply_split, decode_split, splits,
};
use crate::common::{agency_with, central, encoded, filled};
use lottery::protocol::{
    AgencyOptions, Answer, ConnectionUse, DIALECTS, Decoded, Dialect, Receipt,
};
use lottery::{BatchKey, Bet, Reply, Request, Results};
use proptest::prelude::*;
use proptest::sample::Index;

/// Returns the dialects with bets.
fn dialects() -> impl Iterator<Item = &'static Dialect> {
    DIALECTS.iter().filter(|dialect| dialect.agency.is_some())
}

/// Generates options with any agency that the dialect can encode.
fn any_agency(dialect: &Dialect) -> impl Strategy<Value = AgencyOptions> + use<> {
    let connection = prop::sample::select(dialect.connections);
    (1..=dialect.max_agency, any::<bool>(), any::<[u8; 16]>(), connection).prop_map(
        |(agency, with_count, session, connection)| AgencyOptions {
            with_count,
            session,
            connection,
            ..AgencyOptions::new(agency, u16::MAX)
        },
    )
}

/// Returns true for `typed`, the only dialect without agencies.
fn is_typed(dialect: &Dialect) -> bool {
    dialect.name == "typed"
}

/// Returns the agency that the central decodes for the bets of this agency.
fn agency_at_the_central(dialect: &Dialect, options: &AgencyOptions) -> u16 {
    if is_typed(dialect) { 0 } else { options.agency }
}

/// Returns true if the batch reply contains the winners.
fn reports_winners(dialect: &Dialect) -> bool {
    is_typed(dialect) || dialect.has_keys
}

/// Returns the request of the first batch of an agency, with the content 0 in its key.
fn batch_request<'b>(
    dialect: &Dialect,
    options: &AgencyOptions,
    bets: Vec<Bet<'b>>,
) -> Request<'b> {
    let AgencyOptions { session, agency, .. } = *options;
    match dialect.has_keys {
        true => {
            Request::StoreOnce { key: BatchKey { session, agency, sequence: 1, content: 0 }, bets }
        }
        false => Request::Store(bets),
    }
}

/// Replaces the content in the key of a batch by 0.
fn without_content(mut request: Request<'_>) -> Request<'_> {
    if let Request::StoreOnce { key, .. } = &mut request {
        key.content = 0;
    }
    request
}

#[test]
fn the_central_keeps_the_rules_of_every_dialect() {
    DIALECTS.iter().for_each(check_rules);
}

#[test]
fn a_batch_and_its_reply_are_decoded_with_any_splits() {
    for dialect in dialects() {
        proptest!(|(
            options in any_agency(dialect), owned in any_bets(dialect.name, 30),
            winners in any::<Index>(), splits in splits(), reply_splits in splits(),
        )| {
            let mut agency = agency_with(dialect.name, &options);
            let bets = of_agency(&owned, agency_at_the_central(dialect, &options));
            let (bets, packet) = filled(&mut *agency, bets);
            prop_assert_eq!(agency.packet(), &packet, "{}: second call", dialect.name);

            let mut central = central(dialect.name);
            let wire = [agency.greeting(), packet.clone()].concat();
            let Ok(Decoded::Complete { request, consumed }) =
                decode_split(&mut *central, &wire, &splits)
            else {
                panic!("{}: the batch is not decoded", dialect.name);
            };
            prop_assert_eq!(consumed, packet.len(), "{}", dialect.name);
            let expected = batch_request(dialect, &options, bets.clone());
            prop_assert_eq!(without_content(request), expected, "{}", dialect.name);

            let winners = bets[..winners.index(bets.len() + 1)].to_vec();
            let receipt = Receipt::Stored { winners: reports_winners(dialect).then_some(winners.len()) };
            let (reply, _) = encoded(&mut *central, &Reply::Stored { bets: bets.len(), winners });
            let decoded = decode_reply_split(|bytes| agency.receipt(bytes), &reply, &reply_splits);
            prop_assert_eq!(decoded, Ok(Some(receipt)), "{}", dialect.name);
        });
    }
}

#[test]
fn a_question_is_decoded_and_every_prefix_of_its_answer_is_incomplete() {
    for dialect in dialects() {
        proptest!(|(
            options in any_agency(dialect),
            documents in prop::collection::vec(any::<u32>(), 0..100),
            in_flight in any::<u16>(), splits in splits(),
        )| {
            let agency = agency_with(dialect.name, &options);
            let mut central = central(dialect.name);
            let wire = [agency.greeting(), agency.question()].concat();
            let finished = agency.notification().is_none();
            let texts: Vec<_> = documents.iter().map(u32::to_string).collect();
            let winners = documents.len() as u64;
            let (request, reply, answer) = if is_typed(dialect) {
                let results = Results { winners, in_flight: in_flight.into() };
                (Request::Results, Reply::Results(results), Answer::Results(results))
            } else {
                let request = Request::Winners { agency: options.agency, finished };
                let reply = Reply::Winners(texts.iter().map(String::as_str).collect());
                (request, reply, Answer::Winners(winners))
            };
            let complete = Decoded::Complete { request, consumed: agency.question().len() };
            let decoded = decode_split(&mut *central, &wire, &splits);
            prop_assert_eq!(decoded, Ok(complete), "{}", dialect.name);

            let (reply, _) = encoded(&mut *central, &reply);
            for end in 0..reply.len() {
                let answer = agency.answer(&reply[..end]);
                prop_assert_eq!(answer, Ok(None), "{}: {} bytes", dialect.name, end);
            }
            prop_assert_eq!(agency.answer(&reply), Ok(Some(answer)), "{}", dialect.name);
        });
    }
}

#[test]
fn messages_on_a_kept_connection_are_decoded_one_by_one() {
    for dialect in dialects().filter(|dialect| dialect.keeps_connections()) {
        proptest!(|(
            options in any_agency(dialect), owned in any_bets(dialect.name, 20),
            splits in splits(),
        )| {
            let options = AgencyOptions { connection: ConnectionUse::Kept, ..options };
            let mut agency = agency_with(dialect.name, &options);
            let number = options.agency;
            let (bets, packet) = filled(&mut *agency, of_agency(&owned, number));
            let greeted = [agency.greeting(), packet.clone()].concat();
            let decoded = decode_split(&mut *central(dialect.name), &greeted, &[]);
            let Ok(Decoded::Complete { request, .. }) = decoded else {
                panic!("{}: the batch is not decoded", dialect.name);
            };
            let expected = batch_request(dialect, &options, bets);
            prop_assert_eq!(without_content(request.clone()), expected, "{}", dialect.name);
            let batch = (request, packet);
            let finish =
                agency.notification().map(|wire| (Request::Finish { agency: number }, wire));
            let question = Request::Winners { agency: number, finished: finish.is_none() };
            let messages: Vec<_> = [batch.clone(), batch].into_iter()
                .chain(finish)
                .chain([(question, agency.question())])
                .collect();
            let expected: Vec<_> = messages
                .iter()
                .map(|(request, wire)| format!("{}: {request:?}", wire.len()))
                .collect();
            let bytes = messages.iter().flat_map(|(_, wire)| wire).copied();
            let wire: Vec<_> = agency.greeting().into_iter().chain(bytes).collect();
            for splits in [&splits[..], &[]] {
                let (events, ..) = conversation(dialect.name, &wire, splits);
                prop_assert_eq!(&events, &expected, "{}", dialect.name);
            }
        });
    }
}

#[test]
fn an_agency_decodes_the_results_that_the_central_encodes_once_all_bytes_are_there() {
    for results in [(0, 0), (7, 0), (7, 2), (u64::from(u32::MAX), 65_535)] {
        let results = Results { winners: results.0, in_flight: results.1 };
        for dialect in DIALECTS {
            let Some(agency) = dialect.agency else { continue };
            let agency = agency(&AgencyOptions::new(1, 1));
            let mut reply = Vec::new();
            if (dialect.central)().encode(&Reply::Results(results), &mut reply).is_err() {
                assert!(agency.results(&reply).is_err(), "{}", dialect.name);
                continue;
            }
            assert_eq!(agency.results(&reply), Ok(Some(results)), "{}", dialect.name);
            for end in 0..reply.len() {
                assert_eq!(agency.results(&reply[..end]), Ok(None), "{}", dialect.name);
            }
        }
    }
}
