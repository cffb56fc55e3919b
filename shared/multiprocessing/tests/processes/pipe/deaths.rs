//! DOC

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use multiprocessing::{Connection, Exit, PipeError, Process, SendOnly, one_way_pipe, pipe, wait};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, setuid};

use crate::common::{
    LARGE, LIMIT, Random, apply, assert_less, child, child_with, descriptors, fact, fill, join_all,
    kill_and_join, open_more, open_no_more, pattern, run_beside_idly, sleep_for_ever, test,
    wait_until, wait_until_blocked,
};

/// Long enough for whoever would be told to be told.
const MOMENT: Duration = Duration::from_millis(300);

/// The message of this number: small, or too large for a packet.
fn numbered(number: u64) -> Vec<u8> {
    let length =
        if number.is_multiple_of(5) { 60_000 + number * 37 % 200_000 } else { number * 7 % 3000 };
    [&number.to_le_bytes()[..], &pattern(number, length as usize)].concat()
}

/// A sender is killed at a random moment: what arrives are its first messages, whole, and then the end.
#[apply(test)]
fn of_a_killed_sender_the_first_messages_arrive_whole_and_then_the_end() {
    let before = descriptors();
    let mut random = Random::new();
    let (mut total, mut least) = (0, u64::MAX);
    for _ in 0..100 {
        let (receiver, sender) = one_way_pipe().unwrap();
        let sending = |sender: Connection<SendOnly>| {
            for number in 0.. {
                sender.send_bytes(&numbered(number)).unwrap();
            }
            0
        };
        let sending = Process::spawn_with(sender, sending).unwrap();
        let mut next = 0;
        let mut receive = || match receiver.recv_bytes_timeout(LIMIT) {
            Ok(message) => {
                assert!(
                    message.expect("nobody sends, and nobody tells") == numbered(next),
                    "message {next}"
                );
                next += 1;
                true
            }
            Err(PipeError::Closed) => false,
            Err(error) => panic!("{error}"),
        };
        (0..random.below(60)).for_each(|_| assert!(receive()));
        random.pause(Duration::from_millis(2));
        kill_and_join(sending);
        while receive() {}
        total += next;
        least = least.min(next);
    }
    assert_eq!(descriptors(), before);
    fact("received", total);
    fact("least", least);
}

/// The receiver is killed while a sender waits for room, in whatever call.
#[apply(test)]
fn a_sender_that_waits_is_told_when_the_receiver_is_killed() {
    type Way = dyn Fn(&Connection<SendOnly>) -> Result<(), PipeError>;
    let ways: [&Way; 5] = [
        &|sender| sender.send_bytes(b"small"),
        &|sender| sender.send_bytes(&pattern(1, LARGE)),
        &|sender| sender.send_fd(sender),
        &|sender| sender.send_bytes_timeout(b"small", LIMIT).map(|sent| assert!(sent)),
        &|sender| sender.send_fd_timeout(sender, LIMIT).map(|sent| assert!(sent)),
    ];
    let mut longest = Duration::ZERO;
    for send in ways {
        let (receiver, sender) = one_way_pipe().unwrap();
        let receiving = Process::spawn_with(receiver, |_receiver| sleep_for_ever()).unwrap();
        let sending = Process::spawn_with(sender, |sender| {
            let told = (0..).find_map(|_| send(&sender).err());
            i32::from(!matches!(told, Some(PipeError::Closed)))
        })
        .unwrap();
        wait_until_blocked(sending.pid());
        let begun = Instant::now();
        kill_and_join(receiving);
        join_all([sending]);
        longest = longest.max(begun.elapsed());
    }
    assert_less("the other side is told", longest, Duration::from_secs(3));
}

/// Two siblings have an end each, and nobody else has one: the one that waits is told of the other's death at once. With ends
/// that are inherited it is not told, and waits.
#[apply(test)]
fn siblings_with_an_end_each_are_told_of_their_deaths_and_those_that_inherited_both_are_not() {
    let ways: [&dyn Fn(&Connection) -> bool; 4] = [
        &|end| matches!(end.recv_bytes(), Err(PipeError::Closed)),
        &|end| matches!(end.recv_fd_timeout(LIMIT), Err(PipeError::Closed)),
        &|end| end.poll(LIMIT).unwrap() && matches!(end.recv::<u8>(), Err(PipeError::Closed)),
        &|end| wait(&[end]).unwrap() == [0] && matches!(end.recv::<u8>(), Err(PipeError::Closed)),
    ];
    let mut longest = Duration::ZERO;
    for is_told in ways {
        let (here, there) = pipe().unwrap();
        // Started first, when its parent had both.
        let waiting = Process::spawn_with(here, |here| i32::from(!is_told(&here))).unwrap();
        let bystander = Process::spawn_with((), |()| sleep_for_ever()).unwrap();
        let victim = Process::spawn_with(there, |_there| sleep_for_ever()).unwrap();
        wait_until_blocked(waiting.pid());
        let begun = Instant::now();
        kill_and_join(victim);
        join_all([waiting]);
        longest = longest.max(begun.elapsed());
        kill_and_join(bystander);
    }
    assert_less("the other side is told", longest, Duration::from_secs(3));

    let still_waits =
        |end: &Connection| i32::from(end.recv_bytes_timeout(MOMENT).unwrap().is_some());
    // The one that waits has inherited the end of the one that died ...
    let (here, there) = pipe().unwrap();
    let mut waiting = Process::spawn(|| still_waits(&here)).unwrap();
    kill_and_join(Process::spawn(|| there.recv().unwrap()).unwrap());
    drop((here, there));
    assert_eq!(waiting.join_timeout(LIMIT), Ok(Some(Exit::Code(0))));
    // ... or a sibling that has nothing to do with it.
    let (here, there) = pipe().unwrap();
    let bystander = Process::spawn(|| sleep_for_ever()).unwrap();
    let mut waiting = Process::spawn_with(here, |here| still_waits(&here)).unwrap();
    kill_and_join(Process::spawn_with(there, |_there| sleep_for_ever()).unwrap());
    assert_eq!(waiting.join_timeout(LIMIT), Ok(Some(Exit::Code(0))));
    kill_and_join(bystander);
}

/// An end that stayed with the parent, in a child that has a copy of its handle.
#[apply(test)]
fn an_end_that_was_not_handed_over_says_so_and_closes_nobody_elses() {
    let (here, there) = pipe().unwrap();
    let mut here = Some(here);
    let (outside, inside) = pipe().unwrap();
    let child = Process::spawn_with((there, inside), |(there, inside)| {
        let copy = here.as_ref().unwrap();
        let refuses = |copy: &Connection| {
            for refused in [
                copy.send(&1),
                copy.send_bytes(&pattern(1, LARGE)),
                copy.send_fd(&there),
                copy.send_timeout(&1, LIMIT).map(drop),
                copy.recv::<u8>().map(drop),
                copy.recv_bytes_timeout(LIMIT).map(drop),
                copy.recv_bytes_into(&mut [0; 9]).map(drop),
                copy.recv_fd().map(drop),
            ] {
                assert!(matches!(refused, Err(PipeError::NotHandedOver)), "{refused:?}");
            }
            assert!(copy.poll(LIMIT).unwrap());
            assert_eq!(wait(&[&inside, copy]).unwrap(), [1]);
        };
        refuses(copy);
        join_all([child(|| refuses(copy))]);
        // The child of a child has what it is given, and no more.
        let grandchild = Process::spawn_with(inside, |inside| {
            refuses_all_but(&inside, [copy, &there]);
            0
        });
        join_all(grandchild);
        let before = descriptors();
        drop(here.take());
        assert_eq!(descriptors(), before - 1);
        assert_eq!(there.recv::<String>().unwrap(), "go on");
        there.send("still there").unwrap();
        0
    });
    let here = here.unwrap();
    assert_eq!(outside.recv::<String>().unwrap(), "from the grandchild");
    assert!(matches!(outside.recv::<String>(), Err(PipeError::Closed)));
    here.send("go on").unwrap();
    assert_eq!(here.recv::<String>().unwrap(), "still there");
    join_all(child);
}

fn refuses_all_but(kept: &Connection, others: [&Connection; 2]) {
    kept.send("from the grandchild").unwrap();
    for other in others {
        assert!(matches!(other.send(&1), Err(PipeError::NotHandedOver)));
    }
}

/// A child that cannot give an end up does not run: it would keep it.
#[apply(test)]
fn a_child_that_cannot_give_an_end_up_does_not_run() {
    let low: Vec<_> = (0..60).map(|_| File::open("/dev/null").unwrap()).collect();
    let _ends = pipe().unwrap();
    drop(low);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 50, hard).unwrap();
    let mut child = Process::spawn_with((), |()| 0).unwrap();
    assert_eq!(child.join_timeout(LIMIT), Ok(Some(Exit::Code(Errno::EBADF as i32))));
}

/// A message wakes a receiver that is killed before it runs: another one of the same end gets it.
#[apply(test)]
fn the_message_of_a_receiver_killed_as_it_was_woken_goes_to_another() {
    let (receiver, sender) = one_way_pipe().unwrap();
    let ways: [&dyn Fn() -> u64; 2] =
        [&|| receiver.recv().unwrap(), &|| receiver.recv_timeout(LIMIT).unwrap().unwrap()];
    let mut longest = Duration::ZERO;
    for receive in ways {
        let mut lost = 0;
        for number in 0..5 {
            let woken = child(|| {
                receive();
                sleep_for_ever();
            });
            wait_until_blocked(woken.pid());
            // It shares this process's processor and runs only when that idles: not between the next two steps.
            run_beside_idly(woken.pid());
            let mut other = child(|| assert_eq!(receive(), number));
            wait_until_blocked(other.pid());
            sender.send(&number).unwrap();
            kill_and_join(woken);
            let mut begun = Instant::now();
            // If it ran after all and died with the message, there is none to be had.
            while other.join_timeout(MOMENT).unwrap().is_none() {
                assert!(!receiver.poll(Duration::ZERO).unwrap(), "nobody takes the message");
                sender.send(&number).unwrap();
                lost += 1;
                begun = Instant::now();
            }
            longest = longest.max(begun.elapsed());
            join_all([other]);
        }
        assert!(lost < 3, "{lost} of 5 messages died with one who waited");
    }
    assert_less("the other side is told", longest, Duration::from_secs(3));
}

/// Descriptors are closed whatever becomes of their messages.
#[apply(test)]
fn no_descriptor_leaks_by_large_messages_given_up_sends_and_deaths() {
    let before = descriptors();
    let (here, echoing) = child_with(|there| {
        let before = descriptors();
        (0..3000).for_each(|_| there.send_bytes(&there.recv_bytes().unwrap()).unwrap());
        assert_eq!(descriptors(), before);
    });
    let large = pattern(1, 70_000);
    for _ in 0..3000 {
        here.send_bytes(&large).unwrap();
        assert!(here.recv_bytes().unwrap() == large);
    }
    join_all([echoing]);
    assert!(matches!(here.send_bytes(&large), Err(PipeError::Closed)));

    let (full, _deaf) = pipe().unwrap();
    fill(&full, &large);
    for _ in 0..500 {
        assert!(!full.send_bytes_timeout(&large, Duration::ZERO).unwrap());
        assert!(!full.send_fd_timeout(&here, Duration::ZERO).unwrap());
    }
    for _ in 0..30 {
        let (here, there) = child_with(|there| while there.send_bytes(&large).is_ok() {});
        fill(&here, &large);
        wait_until_blocked(there.pid());
        kill_and_join(there);
    }
    drop((here, full, _deaf));
    assert_eq!(descriptors(), before);
}

/// Descriptors that nobody will receive any more are closed by the kernel.
#[apply(test)]
fn descriptors_on_their_way_are_closed_when_both_sides_are_gone() {
    let is_closed = |mut reader: std::io::PipeReader| {
        // An end on its way through itself is found by the kernel's collector, which the end of any socket starts.
        wait_until("nobody can write any more", || {
            drop(pipe());
            multiprocessing::wait_timeout(&[&reader], Duration::ZERO).unwrap() == [0]
        });
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    };
    let (reader, writer) = std::io::pipe().unwrap();
    let (here, there) = pipe().unwrap();
    let sends = |end: Connection| {
        (0..20).for_each(|_| end.send_fd(&writer).unwrap());
        fill(&end, &pattern(1, LARGE));
        (&writer).write_all(b"!").unwrap();
        sleep_for_ever()
    };
    let both = [Process::spawn_with(here, sends), Process::spawn_with(there, sends)];
    let mut ready = [0; 2];
    (&reader).read_exact(&mut ready).unwrap();
    drop(writer);
    both.into_iter().for_each(|process| kill_and_join(process.unwrap()));
    is_closed(reader);

    let (reader, writer) = std::io::pipe().unwrap();
    let (here, there) = pipe().unwrap();
    here.send_fd(&writer).unwrap();
    here.send_fd(&there).unwrap();
    there.send_fd(&here).unwrap();
    drop((here, there, writer));
    is_closed(reader);
}

/// A process that may not open one more file.
#[apply(test)]
fn what_finds_no_room_for_its_descriptor_is_told_and_the_next_message_arrives() {
    let large = pattern(1, LARGE);
    let (here, there) = child_with(|there| {
        open_no_more();
        assert!(matches!(there.recv_bytes(), Err(PipeError::NoRoom)));
        assert!(matches!(there.recv_fd(), Err(PipeError::NoRoom)));
        assert_eq!(there.recv_bytes().unwrap(), b"small");
        let refused = there.send_bytes(&large);
        assert!(matches!(refused, Err(PipeError::System(Errno::EMFILE))), "{refused:?}");
        there.send_bytes(b"small").unwrap();
        open_more();
        assert!(there.recv_bytes().unwrap() == large);
        there.send_bytes(&large).unwrap();
    });
    here.send_bytes(&large).unwrap();
    here.send_fd(&here).unwrap();
    here.send_bytes(b"small").unwrap();
    assert_eq!(here.recv_bytes().unwrap(), b"small");
    here.send_bytes(&large).unwrap();
    assert!(here.recv_bytes().unwrap() == large);
    join_all([there]);
}

/// As many descriptors on their way as the user may have: whoever sends one more waits, with time and without, and is told.
#[apply(test)]
fn too_many_descriptors_on_their_way_are_waited_for_and_the_end_is_told() {
    const NOBODY: Uid = Uid::from_raw(65534);
    const ALLOWED: usize = 40;
    let ((here, there), (outside, inside)) = (pipe().unwrap(), pipe().unwrap());
    let sending = Process::spawn_with((there, inside), |(there, inside)| {
        // The limit is not for root.
        if Uid::effective().is_root() {
            setuid(NOBODY).unwrap();
        }
        setrlimit(Resource::RLIMIT_NOFILE, ALLOWED as u64, ALLOWED as u64).unwrap();
        let mut sent = 0_usize;
        while there.send_fd_timeout(&there, MOMENT).unwrap() {
            sent += 1;
        }
        // There is room for what is no descriptor.
        assert!(there.send_timeout("more", Duration::ZERO).unwrap());
        inside.send(&sent).unwrap();
        let told = (0..).find_map(|_| there.send_fd(&there).err());
        i32::from(!matches!(told, Some(PipeError::Closed)))
    })
    .unwrap();
    let sent = outside.recv::<usize>().unwrap();
    assert!((1..=ALLOWED + 1).contains(&sent), "{sent} are on their way");
    wait_until_blocked(sending.pid());
    (0..sent).for_each(|_| drop(here.recv_fd().unwrap()));
    assert_eq!(here.recv::<String>().unwrap(), "more");
    assert!(here.recv_fd_timeout(LIMIT).unwrap().is_some(), "the one that waited");
    std::thread::sleep(MOMENT);
    let begun = Instant::now();
    drop(here);
    join_all([sending]);
    assert_less("the sender is told", begun.elapsed(), Duration::from_secs(3));
}
