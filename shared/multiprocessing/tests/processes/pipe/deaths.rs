//! Pipes whose processes are killed, and the ends that processes have.

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

/// Long enough to notice the end of a pipe.
const MOMENT: Duration = Duration::from_millis(300);

/// Returns the message of this number, which is small or too large for a packet.
fn numbered(number: u64) -> Vec<u8> {
    let length =
        if number.is_multiple_of(5) { 60_000 + number * 37 % 200_000 } else { number * 7 % 3000 };
    [&number.to_le_bytes()[..], &pattern(number, length as usize)].concat()
}

/// A sender is killed at a random moment. Its first messages arrive whole, then the end.
#[apply(test)]
fn the_messages_of_a_killed_sender_arrive_whole_and_then_the_end() {
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
        let sending = Process::fork_with(sender, sending).unwrap();
        let mut next = 0;
        let mut receive = || match receiver.recv_bytes_timeout(LIMIT) {
            Ok(message) => {
                assert!(
                    message.expect("neither a message nor the end arrives") == numbered(next),
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

/// The receiver is killed while a sender waits for room, in each of the calls that send.
#[apply(test)]
fn a_waiting_sender_gets_an_error_when_the_receiver_is_killed() {
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
        let receiving = Process::fork_with(receiver, |_receiver| sleep_for_ever()).unwrap();
        let sending = Process::fork_with(sender, |sender| {
            let outcome = (0..).find_map(|_| send(&sender).err());
            i32::from(!matches!(outcome, Some(PipeError::Closed)))
        })
        .unwrap();
        wait_until_blocked(sending.pid());
        let begun = Instant::now();
        kill_and_join(receiving);
        join_all([sending]);
        longest = longest.max(begun.elapsed());
    }
    assert_less("the other side notices the death", longest, Duration::from_secs(3));
}

/// Two siblings alone have one end each, so the waiting one notices the death of the other at once.
/// With inherited ends it does not, and goes on waiting.
#[apply(test)]
fn siblings_with_one_end_each_notice_a_death_and_those_that_inherited_both_do_not() {
    let ways: [&dyn Fn(&Connection) -> bool; 4] = [
        &|end| matches!(end.recv_bytes(), Err(PipeError::Closed)),
        &|end| matches!(end.recv_fd_timeout(LIMIT), Err(PipeError::Closed)),
        &|end| end.poll(LIMIT).unwrap() && matches!(end.recv::<u8>(), Err(PipeError::Closed)),
        &|end| wait(&[end]).unwrap() == [0] && matches!(end.recv::<u8>(), Err(PipeError::Closed)),
    ];
    let mut longest = Duration::ZERO;
    for notices_the_end in ways {
        let (here, there) = pipe().unwrap();
        // Started first, when its parent had both ends.
        let waiting = Process::fork_with(here, |here| i32::from(!notices_the_end(&here))).unwrap();
        let bystander = Process::fork_with((), |()| sleep_for_ever()).unwrap();
        let victim = Process::fork_with(there, |_there| sleep_for_ever()).unwrap();
        wait_until_blocked(waiting.pid());
        let begun = Instant::now();
        kill_and_join(victim);
        join_all([waiting]);
        longest = longest.max(begun.elapsed());
        kill_and_join(bystander);
    }
    assert_less("the other side notices the death", longest, Duration::from_secs(3));

    let still_waits =
        |end: &Connection| i32::from(end.recv_bytes_timeout(MOMENT).unwrap().is_some());
    // The waiting process has inherited the end of the dead one ...
    let (here, there) = pipe().unwrap();
    let mut waiting = Process::fork(|| still_waits(&here)).unwrap();
    kill_and_join(Process::fork(|| there.recv().unwrap()).unwrap());
    drop((here, there));
    assert_eq!(waiting.join_timeout(LIMIT), Ok(Some(Exit::Code(0))));
    // ... or an uninvolved sibling has inherited it.
    let (here, there) = pipe().unwrap();
    let bystander = Process::fork(|| -> i32 { sleep_for_ever() }).unwrap();
    let mut waiting = Process::fork_with(here, |here| still_waits(&here)).unwrap();
    kill_and_join(Process::fork_with(there, |_there| sleep_for_ever()).unwrap());
    assert_eq!(waiting.join_timeout(LIMIT), Ok(Some(Exit::Code(0))));
    kill_and_join(bystander);
}

/// The child has a copy of the handle of an end that stays with the parent.
#[apply(test)]
fn an_end_that_was_not_handed_over_is_refused_and_its_drop_closes_no_other() {
    let (here, there) = pipe().unwrap();
    let mut here = Some(here);
    let (outside, inside) = pipe().unwrap();
    let child = Process::fork_with((there, inside), |(there, inside)| {
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
        // A grandchild has only the ends that it is given.
        let grandchild = Process::fork_with(inside, |inside| {
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

/// A child that cannot close an end does not run, because it would keep that end open.
#[apply(test)]
fn a_child_that_cannot_give_an_end_up_does_not_run() {
    let low: Vec<_> = (0..60).map(|_| File::open("/dev/null").unwrap()).collect();
    let _ends = pipe().unwrap();
    drop(low);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 50, hard).unwrap();
    let mut child = Process::fork_with((), |()| 0).unwrap();
    assert_eq!(child.join_timeout(LIMIT), Ok(Some(Exit::Code(Errno::EBADF as i32))));
}

/// A message wakes a receiver that is killed before it runs. Another receiver of the same end gets
/// it.
#[apply(test)]
fn the_message_of_a_receiver_killed_as_it_wakes_goes_to_another_receiver() {
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
            // The child runs only when this processor is idle, so not between the next two steps.
            run_beside_idly(woken.pid());
            let mut other = child(|| assert_eq!(receive(), number));
            wait_until_blocked(other.pid());
            sender.send(&number).unwrap();
            kill_and_join(woken);
            let mut begun = Instant::now();
            // If the child did run and died with the message, there is none left.
            while other.join_timeout(MOMENT).unwrap().is_none() {
                assert!(!receiver.poll(Duration::ZERO).unwrap(), "no receiver takes the message");
                sender.send(&number).unwrap();
                lost += 1;
                begun = Instant::now();
            }
            longest = longest.max(begun.elapsed());
            join_all([other]);
        }
        assert!(lost < 3, "{lost} of 5 messages were lost with the killed receiver");
    }
    assert_less("the other side notices the death", longest, Duration::from_secs(3));
}

/// Descriptors are closed no matter what happens to their messages.
#[apply(test)]
fn large_messages_timed_out_sends_and_deaths_leak_no_descriptor() {
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

/// The kernel closes descriptors that no process can receive any more.
#[apply(test)]
fn descriptors_in_flight_are_closed_when_both_sides_are_gone() {
    let is_closed = |mut reader: std::io::PipeReader| {
        // The kernel's garbage collector, which runs when any socket is closed, finds an end that
        // is in flight through itself.
        wait_until("no process can write any more", || {
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
    let both = [Process::fork_with(here, sends), Process::fork_with(there, sends)];
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

/// The child has no free descriptor.
#[apply(test)]
fn a_message_without_a_free_descriptor_is_an_error_and_the_next_one_arrives() {
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

/// The user has as many descriptors in flight as allowed. A sender of one more waits, with a
/// timeout and without, and notices the end.
#[apply(test)]
fn a_sender_waits_while_too_many_descriptors_are_in_flight_and_notices_the_end() {
    const OTHER_USER: Uid = Uid::from_raw(65534);
    const ALLOWED: usize = 40;
    let ((here, there), (outside, inside)) = (pipe().unwrap(), pipe().unwrap());
    let sending = Process::fork_with((there, inside), |(there, inside)| {
        // The limit does not apply to root.
        if Uid::effective().is_root() {
            setuid(OTHER_USER).unwrap();
        }
        setrlimit(Resource::RLIMIT_NOFILE, ALLOWED as u64, ALLOWED as u64).unwrap();
        let mut sent = 0_usize;
        while there.send_fd_timeout(&there, MOMENT).unwrap() {
            sent += 1;
        }
        // There is still room for messages without a descriptor.
        assert!(there.send_timeout("more", Duration::ZERO).unwrap());
        inside.send(&sent).unwrap();
        let outcome = (0..).find_map(|_| there.send_fd(&there).err());
        i32::from(!matches!(outcome, Some(PipeError::Closed)))
    })
    .unwrap();
    let sent = outside.recv::<usize>().unwrap();
    assert!((1..=ALLOWED + 1).contains(&sent), "{sent} are in flight");
    wait_until_blocked(sending.pid());
    (0..sent).for_each(|_| drop(here.recv_fd().unwrap()));
    assert_eq!(here.recv::<String>().unwrap(), "more");
    assert!(here.recv_fd_timeout(LIMIT).unwrap().is_some(), "the waiting sender");
    std::thread::sleep(MOMENT);
    let begun = Instant::now();
    drop(here);
    join_all([sending]);
    assert_less("the sender notices the end", begun.elapsed(), Duration::from_secs(3));
}
