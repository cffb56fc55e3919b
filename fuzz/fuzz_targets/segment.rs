//! The bytes of a segment of shared memory, as a program opens and uses it.

#![no_main]
#![allow(dead_code)]

#[path = "../../shared/multiprocessing/tests/common/hostile.rs"]
mod hostile;

use std::sync::LazyLock;

use multiprocessing::SegmentName;

static NAME: LazyLock<SegmentName> = LazyLock::new(|| SegmentName::unique("fuzz").unwrap());
static SOUND: LazyLock<hostile::Sound> = LazyLock::new(|| hostile::Sound::new(&NAME));

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    SOUND.check(&NAME, input);
});
