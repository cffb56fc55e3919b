//! Messages, descriptors and waits over pipes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use multiprocessing::{
    Connection, Duplex, PipeError, Process, ReceiveOnly, SendOnly, one_way_pipe, pipe, wait,
    wait_timeout,
};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, setrlimit};

use crate::common::{
    LARGE, LIMIT, Random, apply, child, child_with, descriptors, fact, fill, join_all, keeps_time,
    kill_and_join, open_more, pattern, sleep_for_ever, stays_here, test, wait_until_blocked,
    waits_idly,
};

const TENTH: Duration = Duration::from_millis(100);

/// Sends every message back until the other end is closed.
fn echo(end: Connection) {
    loop {
        match end.recv_bytes() {
            Ok(message) => end.send_bytes(&message).unwrap(),
            Err(PipeError::Closed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

/// _TestConnection.test_connection and test_spawn_close: the parent's copy of the child's end is
/// closed at once.
#[apply(test)]
fn messages_up_to_sixteen_mebibytes_go_both_ways_until_the_end_is_closed() {
    let before = descriptors();
    let (here, child) = child_with(echo);
    assert_eq!(descriptors(), before + 2, "one for the end that stays, one for the child");

    let items = (1_u8, 2.5_f64, Some("mil".to_owned()), vec![7574_u16, 1], ());
    here.send(&items).unwrap();
    assert_eq!(here.recv::<(u8, f64, Option<String>, Vec<u16>, ())>().unwrap(), items);
    here.send_bytes(b"hello").unwrap();
    assert_eq!(here.recv_bytes().unwrap(), b"hello");

    let begun = Instant::now();
    assert!(!here.poll(Duration::ZERO).unwrap());
    assert!(!here.poll(TENTH).unwrap());
    assert!(begun.elapsed() >= TENTH);
    here.send(&()).unwrap();
    assert!(here.poll(LIMIT).unwrap());
    here.recv::<()>().unwrap();

    let large = pattern(16, 16 * LARGE);
    here.send_bytes(&large).unwrap();
    assert!(here.recv_bytes().unwrap() == large);
    here.send_bytes(b"").unwrap();
    assert_eq!(here.recv_bytes().unwrap(), b"");
    drop(here);
    join_all([child]);
}

/// _TestPoll: empty messages, boundaries of messages, two messages at once.
#[apply(test)]
fn messages_keep_their_boundaries_and_a_poll_consumes_nothing() {
    let strings = [&b"hello"[..], b"", b"a", b"b", b"", b"bye", b"", b"lop"];
    let (here, sender) = child_with(|there| {
        there.send_bytes(b"").unwrap();
        assert_eq!(there.recv_bytes().unwrap(), b"go on");
        strings.iter().for_each(|string| there.send_bytes(string).unwrap());
    });
    assert!(here.poll(LIMIT).unwrap() && here.poll(Duration::ZERO).unwrap());
    assert_eq!(here.recv_bytes().unwrap(), b"");
    assert!(!here.poll(Duration::ZERO).unwrap());
    here.send_bytes(b"go on").unwrap();
    for string in strings {
        assert!(here.poll(LIMIT).unwrap());
        assert_eq!(here.recv_bytes().unwrap(), string);
    }
    join_all([sender]);

    // A poll consumes nothing, not even in another process.
    let (receiver, sender) = one_way_pipe().unwrap();
    let looking = child(|| assert!(receiver.poll(LIMIT).unwrap()));
    wait_until_blocked(looking.pid());
    sender.send_bytes(b"first").unwrap();
    sender.send_bytes(b"second").unwrap();
    join_all([looking]);
    assert_eq!(receiver.recv_bytes().unwrap(), b"first");
    join_all([child(|| assert_eq!(receiver.recv_bytes().unwrap(), b"second"))]);
    assert!(!receiver.poll(Duration::ZERO).unwrap());
}

fn memory() -> File {
    File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap())
}

/// Opens enough files for the next one to have a number above 256.
fn many_files() -> Vec<File> {
    (0..300).map(|_| File::open("/dev/null").unwrap()).collect()
}

/// _TestConnection.test_fd_transfer, test_large_fd_transfer and test_missing_fd_transfer.
#[apply(test)]
fn sent_descriptors_work_at_any_number_and_a_missing_one_is_an_error() {
    let (here, child) = child_with(|there| {
        let low = there.recv_fd().unwrap();
        assert!(stays_here(&low) && stays_here(&there));
        File::from(low).write_all(b"foo").unwrap();
        let missing = there.recv_fd();
        assert!(
            matches!(&missing, Err(PipeError::NoDescriptor(bytes)) if bytes == b"none"),
            "{missing:?}"
        );
        let _many = many_files();
        let high = there.recv_fd_timeout(LIMIT).unwrap().unwrap();
        assert!(high.as_raw_fd() > 256);
        File::from(high).write_all(b"bar").unwrap();
        assert!(matches!(there.recv_fd(), Err(PipeError::Closed)));
    });
    let low = memory();
    here.send_fd(&low).unwrap();
    here.send_bytes(b"none").unwrap();
    let _many = many_files();
    let high = memory();
    assert!(high.as_raw_fd() > 256);
    assert!(here.send_fd_timeout(&high, LIMIT).unwrap());
    drop(here);
    join_all([child]);
    for (file, written) in [(low, b"foo"), (high, b"bar")] {
        let mut found = [0; 3];
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(&found, written);
    }
}

/// _TestPicklingConnections: ends and sockets are sent to a child, and ends keep their direction.
#[apply(test)]
fn ends_and_sockets_are_sent_to_other_processes_and_keep_their_direction() {
    let (here, child) = child_with(|there| {
        let receiver = Connection::<ReceiveOnly>::from(there.recv_fd().unwrap());
        let sender = Connection::<SendOnly>::from(there.recv_fd().unwrap());
        sender.send(&receiver.recv::<String>().unwrap().to_uppercase()).unwrap();
        let both = Connection::<Duplex>::from(sender.as_fd().try_clone_to_owned().unwrap());
        assert!(matches!(both.recv_bytes(), Err(PipeError::Closed)));
        let mut socket = UnixStream::from(there.recv_fd().unwrap());
        socket.write_all(b"through a socket").unwrap();
    });
    let ((far_receiver, sender), (receiver, far_sender)) =
        (one_way_pipe().unwrap(), one_way_pipe().unwrap());
    let (mut socket, far_socket) = UnixStream::pair().unwrap();
    here.send_fd(far_receiver).unwrap();
    here.send_fd(far_sender).unwrap();
    here.send_fd(far_socket).unwrap();
    sender.send("what was sent").unwrap();
    assert_eq!(receiver.recv::<String>().unwrap(), "WHAT WAS SENT");
    let mut read = String::new();
    socket.read_to_string(&mut read).unwrap();
    assert_eq!(read, "through a socket");
    join_all([child]);
    // The child had the only copies.
    assert!(matches!(receiver.recv_bytes(), Err(PipeError::Closed)));
    assert!(matches!(sender.send(&1), Err(PipeError::Closed)));
}

/// TestWait.test_wait, test_wait_socket, their slow forms, and test_wait_integer: pipes, sockets
/// and processes at once.
#[apply(test)]
fn waiting_for_pipes_sockets_and_processes_at_once_delivers_everything() {
    const EACH: u8 = 10;
    let (mut ends, mut sockets, mut processes) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..4_u8 {
        let mut random = Random::new();
        let mut pause = move || {
            if number % 2 == 0 {
                random.pause(Duration::from_millis(5))
            }
        };
        let (receiver, sender) = one_way_pipe().unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        let sending = |sender: Connection<SendOnly>| {
            for at in 0..EACH {
                pause();
                sender.send(&[number, at]).unwrap();
                (&there).write_all(&[at]).unwrap();
            }
            0
        };
        processes.push(Process::fork_with(sender, sending).unwrap());
        ends.push((receiver, Vec::new()));
        sockets.push((here, Vec::new()));
    }
    let mut ended = [false; 12];
    while ended != [true; 12] {
        let objects = ends.iter().map(|(end, _)| end as &dyn AsFd);
        let objects = objects.chain(sockets.iter().map(|(socket, _)| socket as _));
        let objects: Vec<_> = objects.chain(processes.iter().map(|process| process as _)).collect();
        // Sources that have ended stay ready, so only the others are asked.
        let places: Vec<_> = (0..12).filter(|&place| !ended[place]).collect();
        let asked: Vec<_> = places.iter().map(|&place| objects[place]).collect();
        for ready in wait_timeout(&asked, LIMIT).unwrap().into_iter().map(|ready| places[ready]) {
            match ready {
                0..4 => match ends[ready].0.recv::<[u8; 2]>() {
                    Ok(message) => ends[ready].1.push(message),
                    Err(PipeError::Closed) => ended[ready] = true,
                    Err(error) => panic!("{error}"),
                },
                4..8 => {
                    let (socket, read) = &mut sockets[ready - 4];
                    let mut byte = [0];
                    if socket.read(&mut byte).unwrap() == 1 {
                        read.push(byte[0])
                    } else {
                        ended[ready] = true
                    }
                }
                _ => ended[ready] = true,
            }
        }
    }
    for (number, (_, received)) in (0..).zip(&ends) {
        assert!(received.iter().copied().eq((0..EACH).map(|at| [number, at])));
    }
    sockets.iter().for_each(|(_, read)| assert!(read.iter().copied().eq(0..EACH)));
    join_all(processes);
}

/// TestWait.test_wait_timeout, and sources that are ready at once.
#[apply(test)]
fn waiting_for_several_sources_times_out_on_time_and_names_the_ready_ones() {
    let ((first, _silent), (second, other)) = (pipe().unwrap(), pipe().unwrap());
    let sleeper = child(|| sleep_for_ever());
    let objects: [&dyn AsFd; 3] = [&first, &second, &sleeper];
    assert_eq!((wait(&[]).unwrap(), wait_timeout(&[], LIMIT).unwrap()), (vec![], vec![]));
    for timeout in [Duration::ZERO, TENTH] {
        let begun = Instant::now();
        assert_eq!(wait_timeout(&objects, timeout).unwrap(), []);
        assert!(begun.elapsed() >= timeout);
    }
    other.send(&1).unwrap();
    assert_eq!(
        (wait(&objects).unwrap(), wait_timeout(&objects, Duration::ZERO).unwrap()),
        (vec![1], vec![1])
    );
    sleeper.kill().unwrap();
    assert_eq!(wait(&objects[2..]).unwrap(), [0]);
    assert_eq!(wait(&objects).unwrap(), [1, 2]);
    second.recv::<i32>().unwrap();
    drop(other);
    // The end of a pipe makes it ready although it is no message.
    assert_eq!(wait(&objects).unwrap(), [1, 2]);
    kill_and_join(sleeper);
}

/// More connections than `select` supports, each with a message, and a wait for more than this
/// process may open.
#[apply(test)]
fn a_process_waits_for_and_hands_over_more_than_a_thousand_connections() {
    let hard = open_more();
    let count = hard.saturating_sub(60).min(2400) as usize / 2;
    let pipes: Vec<_> = (0..count).map(|_| pipe().unwrap()).collect();
    let objects: Vec<_> = pipes.iter().map(|(here, _)| here as &dyn AsFd).collect();
    for place in (0..count).rev() {
        pipes[place].1.send(&place).unwrap();
        assert_eq!(wait(&objects).unwrap(), [place]);
        assert_eq!(pipes[place].0.recv::<usize>().unwrap(), place);
    }
    let (there, others): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
    // One child gets all ends of one side, and none of the other.
    let mut child = Process::fork_with(there, |there| {
        others
            .iter()
            .for_each(|other| assert!(matches!(other.send(&1), Err(PipeError::NotHandedOver))));
        let received = there.iter().map(|there| there.recv::<usize>().unwrap());
        i32::from(!received.eq(0..count))
    });
    (0..count).for_each(|number| others[number].send(&number).unwrap());
    let exit = child.as_mut().unwrap().join_timeout(LIMIT).unwrap();
    assert!(exit.is_some_and(|exit| exit.is_success()), "{exit:?}");
    fact("connections", count);

    let too_many = vec![&others[0] as &dyn AsFd; 100];
    setrlimit(Resource::RLIMIT_NOFILE, 99, hard).unwrap();
    assert_eq!(wait_timeout(&too_many, Duration::ZERO), Err(Errno::EINVAL));
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let ((empty, silent), (full, _deaf)) = (pipe().unwrap(), pipe().unwrap());
    // Each message fills a packet, and the last one may exceed the limit.
    let bytes = std::fs::read_to_string("/proc/sys/net/core/wmem_default").unwrap();
    let most = bytes.trim().parse::<usize>().unwrap() / (1 << 16) + 1;
    assert!((1..=most).contains(&fill(&full, &pattern(1, LARGE))));
    keeps_time(|_, timeout| assert!(empty.recv_bytes_timeout(timeout).unwrap().is_none()));
    keeps_time(|_, timeout| assert!(!empty.poll(timeout).unwrap()));
    keeps_time(|_, timeout| assert!(!full.send_bytes_timeout(b"", timeout).unwrap()));
    keeps_time(|_, timeout| assert!(wait_timeout(&[&empty], timeout).unwrap().is_empty()));
    for timeout in [Duration::ZERO, TENTH] {
        let begun = Instant::now();
        assert!(empty.recv_timeout::<()>(timeout).unwrap().is_none());
        assert!(empty.recv_fd_timeout(timeout).unwrap().is_none());
        assert!(empty.recv_bytes_into_timeout(&mut [], timeout).unwrap().is_none());
        assert!(!full.send_timeout(&(), timeout).unwrap());
        assert!(!full.send_fd_timeout(&empty, timeout).unwrap());
        assert!(!full.send_bytes_timeout(&pattern(1, LARGE), timeout).unwrap());
        assert!(begun.elapsed() >= 6 * timeout);
    }
    // The longest timeout is accepted. A `Duration` cannot be negative.
    let waiting = child(|| assert!(empty.recv_timeout::<()>(Duration::MAX).unwrap().is_some()));
    wait_until_blocked(waiting.pid());
    silent.send(&()).unwrap();
    join_all([waiting]);
}

/// A sender with a timeout goes on as soon as there is room, and sends nothing after a timeout.
#[apply(test)]
fn a_sender_that_waits_for_room_goes_on_when_there_is_room() {
    let (here, there) = pipe().unwrap();
    let sent = fill(&here, &pattern(1, 50_000));
    let waiting = child(|| assert!(here.send_bytes_timeout(b"last", LIMIT).unwrap()));
    wait_until_blocked(waiting.pid());
    (0..sent).for_each(|_| assert!(there.recv_bytes().unwrap() == pattern(1, 50_000)));
    join_all([waiting]);
    assert_eq!(there.recv_bytes().unwrap(), b"last");
    assert!(there.recv_bytes_timeout(Duration::ZERO).unwrap().is_none());
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let ((empty, _silent), (full, _deaf)) = (pipe().unwrap(), pipe().unwrap());
    fill(&full, &pattern(1, 60_000));
    waits_idly(child(|| _ = empty.recv_bytes()));
    waits_idly(child(|| _ = empty.recv_bytes_timeout(LIMIT)));
    waits_idly(child(|| _ = empty.poll(LIMIT)));
    waits_idly(child(|| _ = wait(&[&empty])));
    waits_idly(child(|| _ = full.send_bytes(b"")));
    waits_idly(child(|| _ = full.send_bytes_timeout(&pattern(1, LARGE), LIMIT)));
}
