//! What holds for every dialect: the central keeps its rules, and where there are bets, one side understands what the other says,
//! however the network cuts it.

use crate::common::bets::{any_bets, of_agency};
use crate::common::conversation::{arrived, conversation, cuts, heard, keeps_its_rules};
use crate::common::{agency_with, central, encoded, filled};
use lottery::protocol::{AgencyOptions, Answer, DIALECTS, Decoded, Dialect, Receipt};
use lottery::{Reply, Request, Results};
use proptest::prelude::*;
use proptest::sample::Index;

/// The dialects with bets.
fn dialects() -> impl Iterator<Item = &'static Dialect> {
    DIALECTS.iter().filter(|dialect| dialect.agency.is_some())
}

/// Any agency that the dialect carries.
fn any_agency(dialect: &Dialect) -> impl Strategy<Value = AgencyOptions> + use<> {
    (1..=dialect.max_agency, any::<bool>()).prop_map(|(agency, with_count)| AgencyOptions {
        agency,
        max_bets: u16::MAX,
        with_count,
    })
}

/// Only `typed` carries no agency, and only it tells the winners of a batch.
fn is_typed(dialect: &Dialect) -> bool {
    dialect.name == "typed"
}

/// The agency of bets that arrive from this one.
fn agency_at_the_central(dialect: &Dialect, options: &AgencyOptions) -> u16 {
    if is_typed(dialect) { 0 } else { options.agency }
}

#[test]
fn the_central_keeps_the_rules_of_every_dialect() {
    DIALECTS.iter().for_each(keeps_its_rules);
}

#[test]
fn any_batch_arrives_as_its_bets_and_any_receipt_as_stored() {
    for dialect in dialects() {
        proptest!(|(
            options in any_agency(dialect), owned in any_bets(dialect.name, 30), winners in any::<Index>(),
            cuts in cuts(), reply_cuts in cuts(),
        )| {
            let mut agency = agency_with(dialect.name, &options);
            let bets = of_agency(&owned, agency_at_the_central(dialect, &options));
            let (bets, packet) = filled(&mut *agency, bets);
            prop_assert_eq!(agency.packet(), &packet, "{}: asked for twice", dialect.name);

            let mut central = central(dialect.name);
            let wire = [agency.greeting(), packet.clone()].concat();
            let complete = Decoded::Complete { request: Request::Store(bets.clone()), consumed: packet.len() };
            prop_assert_eq!(arrived(&mut *central, &wire, &cuts), Ok(complete), "{}", dialect.name);

            let winners = bets[..winners.index(bets.len() + 1)].to_vec();
            let receipt = Receipt::Stored { winners: is_typed(dialect).then_some(winners.len()) };
            let (reply, _) = encoded(&mut *central, &Reply::Stored { bets: bets.len(), winners });
            let heard = heard(|bytes| agency.receipt(bytes), &reply, &reply_cuts);
            prop_assert_eq!(heard, Ok(Some(receipt)), "{}", dialect.name);
        });
    }
}

#[test]
fn any_question_arrives_and_every_prefix_of_any_answer_is_incomplete() {
    for dialect in dialects() {
        proptest!(|(
            options in any_agency(dialect), documents in prop::collection::vec(any::<u32>(), 0..100),
            in_flight in any::<u16>(), cuts in cuts(),
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
            prop_assert_eq!(arrived(&mut *central, &wire, &cuts), Ok(complete), "{}", dialect.name);

            let (reply, _) = encoded(&mut *central, &reply);
            for end in 0..reply.len() {
                prop_assert_eq!(agency.answer(&reply[..end]), Ok(None), "{}: {} bytes", dialect.name, end);
            }
            prop_assert_eq!(agency.answer(&reply), Ok(Some(answer)), "{}", dialect.name);
        });
    }
}

#[test]
fn messages_on_a_kept_connection_are_told_apart() {
    for dialect in dialects().filter(|dialect| dialect.keeps_connections()) {
        proptest!(|(options in any_agency(dialect), owned in any_bets(dialect.name, 20), cuts in cuts())| {
            let mut agency = agency_with(dialect.name, &options);
            let number = options.agency;
            let (bets, packet) = filled(&mut *agency, of_agency(&owned, number));
            let batch = (Request::Store(bets), packet);
            let finish = agency.notification().map(|wire| (Request::Finish { agency: number }, wire));
            let question = Request::Winners { agency: number, finished: finish.is_none() };
            let messages: Vec<_> = [batch.clone(), batch].into_iter()
                .chain(finish)
                .chain([(question, agency.question())])
                .collect();
            let noted: Vec<_> =
                messages.iter().map(|(request, wire)| format!("{}: {request:?}", wire.len())).collect();
            let said = messages.iter().flat_map(|(_, wire)| wire).copied();
            let wire: Vec<_> = agency.greeting().into_iter().chain(said).collect();
            for cuts in [&cuts[..], &[]] {
                prop_assert_eq!(&conversation(dialect.name, &wire, cuts).0, &noted, "{}", dialect.name);
            }
        });
    }
}
