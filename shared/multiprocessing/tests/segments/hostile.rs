//! Segments with any bytes: opened and used, they lead to errors at most.

use std::time::Duration;

use multiprocessing::{Plan, Segment, SegmentError};

use crate::common::{LIMIT, Random, Sound, apply, child, segment, test, unique_name, write_entry};

/// Changed segments, each of which is opened and used.
const CHANGED: usize = 1_500;
/// Longest input in bytes: twelve changes.
const INPUT: usize = 48;

#[apply(test)]
fn a_segment_with_any_bytes_leads_to_errors_but_to_no_panic_hang_or_crash() {
    let report = Plan::new().raw_array::<u8>("input", INPUT).raw_value::<u64>("opened");
    let report = segment(&report);
    let opened = report.raw_value::<u64>("opened").unwrap();
    let current = report.raw_array::<u8>("input").unwrap();
    let name = unique_name();
    let sound = Sound::new(&name);
    let mut random = Random::new();
    let mut user = child(|| {
        for _ in 0..CHANGED {
            let most = 1 + random.below(INPUT as u64 / 4);
            let steps = 1 + random.below(most) as usize;
            // Most changes are in the header and the directory, which decide about the rest.
            let input: Vec<u8> = (0..steps)
                .flat_map(|_| {
                    let near = random.below(3) > 0;
                    let place = random.below(if near { 128 * 18 } else { 1 << 16 }) as u16;
                    let [low, high] = place.to_le_bytes();
                    [low, high, random.below(256) as u8, random.below(256) as u8]
                })
                .collect();
            (0..INPUT).for_each(|at| current.store(at, input.get(at).copied().unwrap_or(0)));
            opened.fetch_add(u64::from(sound.check(&name, &input)));
        }
    });
    let exit = user.join_timeout(6 * LIMIT).unwrap();
    let input: Vec<_> = current.iter().collect();
    assert!(exit.is_some_and(|exit| exit.is_success()), "{exit:?} for {input:?}");
    // Otherwise the changes tell nothing about the objects.
    assert!(opened.load() > CHANGED as u64 / 8, "{} opened", opened.load());
    std::fs::remove_file(name.path()).unwrap();
}

/// The C library would wait for ever, or abort, at a mutex of a kind that this library never makes.
#[apply(test)]
fn a_segment_whose_lock_is_no_lock_of_this_library_is_refused() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().lock("lock").semaphore("gate", 1)).unwrap();
    let (good, places) =
        (std::fs::read(name.path()).unwrap(), [0, 1].map(|it| segment.objects()[it].offset));
    drop(segment);
    for place in places {
        for kind in [0, 1, 0x20, 0x92 | 0x20, u32::MAX] {
            let mut bytes = good.clone();
            bytes[place + 16..place + 20].copy_from_slice(&kind.to_ne_bytes());
            write_entry(&name, bytes);
            let refused = Segment::open(&name).unwrap_err();
            assert!(matches!(refused, SegmentError::Foreign { .. }), "{refused:?}");
            assert!(refused.to_string().contains("is no lock"), "{refused}");
        }
    }
    write_entry(&name, good);
    let lock = Segment::open(&name).unwrap().lock("lock").unwrap();
    assert!(lock.lock_timeout(Duration::ZERO).unwrap().is_some());
    drop(lock);
    std::fs::remove_file(name.path()).unwrap();
}
