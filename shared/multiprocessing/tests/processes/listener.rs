//! Python's `Listener` and `Client`, between processes that need not be related.

use std::fs::read_to_string;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use multiprocessing::{Connection, Listener, PipeError, Process, pipe, wait, wait_timeout};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, listen, recv,
    sendmsg, socket,
};
use nix::unistd::{Uid, setuid};

use crate::common::{
    LARGE, LIMIT, Program, apply, assert_less, child, fact, join_all, keeps_time, kill_and_join,
    leave_out, name, open_more, open_no_more, pattern, program, sleep_for_ever, stays_here, test,
    unique_name, wait_until, wait_until_blocked, waits_idly,
};

fn listener() -> (String, Listener) {
    let name = name().as_str().to_owned();
    let listener = Listener::bind(&name).unwrap();
    (name, listener)
}

/// Returns true if the kernel lists a listener of this name.
fn is_listed(name: &str) -> bool {
    let entry = format!("@{name}");
    read_to_string("/proc/net/unix").unwrap().lines().any(|line| line.ends_with(&entry))
}

fn is_free(name: &str) -> bool {
    matches!(Connection::connect(name), Err(PipeError::NoListener))
}

/// _TestListener.test_multiple_bind, test_context and test_abstract_socket.
#[apply(test)]
fn a_name_is_bound_once_and_free_when_its_listener_is_dropped_or_killed() {
    let (name, listener) = listener();
    assert!(is_listed(&name) && !std::path::Path::new(&name).exists());
    let second = Listener::bind(&name);
    assert!(matches!(second, Err(PipeError::AddressInUse)), "{second:?}");
    join_all([child(|| assert!(matches!(Listener::bind(&name), Err(PipeError::AddressInUse))))]);
    {
        let _moved = listener;
        assert!(!is_free(&name));
    }
    assert!(is_free(&name) && !is_listed(&name));

    // A killed listener leaves nothing that the next one would have to remove.
    let (here, there) = pipe().unwrap();
    let killed = Process::fork_with(there, |there| {
        let _listener = Listener::bind(&name).unwrap();
        there.send(&()).unwrap();
        sleep_for_ever()
    });
    here.recv::<()>().unwrap();
    assert!(is_listed(&name));
    kill_and_join(killed.unwrap());
    assert!(is_free(&name) && !is_listed(&name));
    drop(Listener::bind(&name).unwrap());

    let longest = format!("{name:-<107}");
    let _longest = Listener::bind(&longest).unwrap();
    Connection::connect(&longest).unwrap();
    let too_long = "x".repeat(108);
    for refused in [Listener::bind(&too_long).map(drop), Connection::connect(&too_long).map(drop)] {
        assert!(matches!(refused, Err(PipeError::System(Errno::ENAMETOOLONG))), "{refused:?}");
    }
}

/// _TestListenerClient: a client that connected, wrote and left before it was accepted.
#[apply(test)]
fn messages_of_a_client_that_left_or_was_killed_before_it_was_accepted_are_read() {
    let (name, listener) = listener();
    let client = || {
        let connection = Connection::connect(&name).unwrap();
        assert!(stays_here(&connection) && stays_here(&listener));
        connection.send_bytes(b"hello").unwrap();
        connection.send_bytes(&pattern(1, LARGE)).unwrap();
        connection
    };
    join_all([child(|| drop(client()))]);
    let killed = child(|| {
        let _connection = client();
        sleep_for_ever();
    });
    wait_until_blocked(killed.pid());
    kill_and_join(killed);
    for _ in 0..2 {
        let connection = listener.accept().unwrap();
        assert!(stays_here(&connection));
        assert!(connection.poll(LIMIT).unwrap());
        assert_eq!(connection.recv_bytes().unwrap(), b"hello");
        assert!(connection.recv_bytes().unwrap() == pattern(1, LARGE));
        assert!(matches!(connection.recv_bytes(), Err(PipeError::Closed)));
    }
    assert!(listener.accept_timeout(Duration::ZERO).unwrap().is_none());

    // A client that was not accepted notices the end of the listener.
    let client = client();
    drop(listener);
    assert!(matches!(client.recv_bytes(), Err(PipeError::Closed)));
    assert!(matches!(client.send(&1), Err(PipeError::Closed)));
}

/// Several processes accept while they wait for clients, too. Every client is served once.
#[apply(test)]
fn several_processes_accept_and_every_client_is_served_once() {
    const CLIENTS: u32 = 300;
    let (name, listener) = listener();
    let serve = || {
        let mut clients = Vec::<Connection>::new();
        loop {
            let objects: Vec<_> =
                std::iter::once(&listener as _).chain(clients.iter().map(|it| it as _)).collect();
            let ready = wait(&objects).unwrap();
            for place in ready.into_iter().rev() {
                if place == 0 {
                    // Another server may have been faster.
                    clients.extend(listener.accept_timeout(Duration::ZERO).unwrap());
                    continue;
                }
                let client = clients.swap_remove(place - 1);
                let number = client.recv::<u32>().unwrap();
                client.send(&(number, std::process::id())).unwrap();
            }
        }
    };
    let servers = [child(serve), child(serve), child(serve)];
    let clients: Vec<_> = (0..CLIENTS).map(|_| Connection::connect(&name).unwrap()).collect();
    (0..).zip(&clients).for_each(|(number, client): (u32, _)| client.send(&number).unwrap());
    for (number, client) in (0..).zip(&clients) {
        let (answered, server) = client.recv_timeout::<(u32, u32)>(LIMIT).unwrap().unwrap();
        assert_eq!(answered, number);
        assert!(servers.iter().any(|process| process.pid().as_raw().cast_unsigned() == server));
    }
    servers.into_iter().for_each(kill_and_join);
}

/// Every process that has the listener, inherited or handed over, keeps the name.
#[apply(test)]
fn a_listener_is_handed_over_and_no_other_child_of_fork_with_keeps_its_name() {
    let (name, listener) = listener();
    let child_of_none = Process::fork_with((), |()| {
        for refused in [listener.accept(), listener.accept_timeout(LIMIT).map(Option::unwrap)] {
            assert!(matches!(refused, Err(PipeError::NotHandedOver)), "{refused:?}");
        }
        assert_eq!(wait(&[&listener]).unwrap(), [0]);
        sleep_for_ever()
    });
    let child_of_none = child_of_none.unwrap();
    wait_until_blocked(child_of_none.pid());
    let mut serving = Process::fork_with(listener, |listener| {
        listener.accept().unwrap().send("served").unwrap();
        0
    });
    assert_eq!(Connection::connect(&name).unwrap().recv::<String>().unwrap(), "served");
    assert!(serving.as_mut().unwrap().join().unwrap().is_success());
    assert!(is_free(&name));
    assert!(process_lives(child_of_none));

    let listener = Listener::bind(&name).unwrap();
    let inherits = child(|| sleep_for_ever());
    drop(listener);
    assert!(!is_free(&name));
    kill_and_join(inherits);
    assert!(is_free(&name));
}

fn process_lives(mut process: Process) -> bool {
    let lives = process.is_alive();
    kill_and_join(process);
    lives
}

/// More connections than the backlog allows: with a timeout, without, and after the end of the
/// listener.
#[apply(test)]
fn a_waiting_connect_goes_on_when_there_is_room_and_fails_when_the_listener_is_gone() {
    let (here, there) = pipe().unwrap();
    let name = name();
    let name = name.as_str();
    let serving = Process::fork_with(there, |there| {
        let listener = Listener::bind(name).unwrap();
        there.send(&()).unwrap();
        let _first: () = there.recv().unwrap();
        let _accepted = listener.accept().unwrap();
        sleep_for_ever()
    });
    here.recv::<()>().unwrap();
    let mut waiting = Vec::new();
    while let Some(connection) = Connection::connect_timeout(name, Duration::ZERO).unwrap() {
        waiting.push(connection);
    }
    fact("waiting", waiting.len());
    let accepted = child(|| drop(Connection::connect(name).unwrap()));
    wait_until_blocked(accepted.pid());
    here.send(&()).unwrap();
    join_all([accepted]);

    let fails = || assert!(matches!(Connection::connect(name), Err(PipeError::NoListener)));
    let fails_in_time = || {
        let outcome = Connection::connect_timeout(name, LIMIT);
        assert!(matches!(outcome, Err(PipeError::NoListener)), "{outcome:?}");
    };
    let failing = [child(fails), child(fails_in_time)];
    failing.iter().for_each(|process| wait_until_blocked(process.pid()));
    kill_and_join(serving.unwrap());
    let begun = Instant::now();
    join_all(failing);
    let notices_the_end =
        |connection: &Connection| matches!(connection.recv_bytes(), Err(PipeError::Closed));
    assert!(waiting.iter().all(notices_the_end));
    assert_less("all clients notice the end", begun.elapsed(), Duration::from_secs(3));
}

#[apply(test)]
fn accept_and_connect_time_out_on_time_even_under_a_storm_of_signals() {
    let (name, listener) = listener();
    keeps_time(|_, timeout| assert!(listener.accept_timeout(timeout).unwrap().is_none()));
    let mut waiting = Vec::new();
    while let Some(connection) = Connection::connect_timeout(&name, Duration::ZERO).unwrap() {
        waiting.push(connection);
    }
    keeps_time(|_, timeout| {
        assert!(Connection::connect_timeout(&name, timeout).unwrap().is_none())
    });
}

#[apply(test)]
fn an_idle_listener_or_client_uses_no_processor_time() {
    let (name, listener) = listener();
    waits_idly(child(|| _ = listener.accept()));
    waits_idly(child(|| _ = wait_timeout(&[&listener], LIMIT)));
    let mut waiting = Vec::new();
    while let Some(connection) = Connection::connect_timeout(&name, Duration::ZERO).unwrap() {
        waiting.push(connection);
    }
    waits_idly(child(|| _ = Connection::connect(&name)));
    waits_idly(child(|| _ = Connection::connect_timeout(&name, LIMIT)));
}

/// A process without a free descriptor accepts once it has one again.
#[apply(test)]
fn a_connection_that_finds_no_free_descriptor_is_accepted_later() {
    let (name, listener) = listener();
    let client = Connection::connect(&name).unwrap();
    client.send("hello").unwrap();
    open_no_more();
    for refused in [
        listener.accept().map(drop),
        Connection::connect(&name).map(drop),
        Listener::bind("other").map(drop),
    ] {
        assert!(matches!(refused, Err(PipeError::System(Errno::EMFILE))), "{refused:?}");
    }
    open_more();
    assert_eq!(listener.accept().unwrap().recv::<String>().unwrap(), "hello");
}

/// Returns a socket that does not check the user of the other side.
fn raw() -> OwnedFd {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap()
}

/// Processes of other users are refused on both sides. Only root can become another user.
#[apply(test)]
fn processes_of_other_users_are_refused_on_both_sides() {
    if !Uid::effective().is_root() {
        leave_out("becoming another user needs root");
    }
    let as_another_user = |body: &dyn Fn()| {
        child(|| {
            setuid(Uid::from_raw(65534)).unwrap();
            body();
        })
    };
    let (name, listener) = listener();
    let address = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    join_all([as_another_user(&|| {
        let refused = Connection::connect(&name);
        assert!(matches!(refused, Err(PipeError::OtherUser)), "{refused:?}");
    })]);
    let foreign = as_another_user(&|| {
        let raw = raw();
        connect(raw.as_raw_fd(), &address).unwrap();
        let message = [IoSlice::new(b"\x01a message")];
        sendmsg::<()>(raw.as_raw_fd(), &message, &[], MsgFlags::empty(), None).unwrap();
        // It gets no message, only the end.
        let received = recv(raw.as_raw_fd(), &mut [0; 9], MsgFlags::empty());
        assert!(matches!(received, Ok(0) | Err(Errno::ECONNRESET)), "{received:?}");
    });
    wait_until_blocked(foreign.pid());
    let own = Connection::connect(&name).unwrap();
    own.send("of this user").unwrap();
    assert_eq!(listener.accept().unwrap().recv::<String>().unwrap(), "of this user");
    join_all([foreign]);
    assert!(listener.accept_timeout(Duration::ZERO).unwrap().is_none());
    drop(listener);

    let foreign = as_another_user(&|| {
        let raw = raw();
        bind(raw.as_raw_fd(), &address).unwrap();
        listen(&raw, Backlog::new(9).unwrap()).unwrap();
        sleep_for_ever();
    });
    wait_until("the other user listens", || is_listed(&name));
    wait_until_blocked(foreign.pid());
    for refused in [Connection::connect(&name).map(Some), Connection::connect_timeout(&name, LIMIT)]
    {
        assert!(matches!(refused, Err(PipeError::OtherUser)), "{refused:?}");
    }
    assert!(matches!(Listener::bind(&name), Err(PipeError::AddressInUse)));
    kill_and_join(foreign);
}

/// One of two unrelated programs.
#[apply(program)]
fn serve(arguments: &[&str]) {
    let name = arguments[0];
    let listener = Listener::bind(name).unwrap();
    fact("listening", name);
    let client = listener.accept().unwrap();
    let bets: Vec<(u64, u16)> = client.recv().unwrap();
    assert!(client.recv_bytes().unwrap() == pattern(1, 16 * LARGE));
    client.send(&bets.len()).unwrap();
    let pair: Connection = Connection::from(client.recv_fd().unwrap());
    pair.send("through an end that was sent").unwrap();
    client.send_bytes(&pattern(2, 16 * LARGE)).unwrap();
    assert!(matches!(client.recv_bytes(), Err(PipeError::Closed)));
}

/// The other program.
#[apply(program)]
fn ask(arguments: &[&str]) {
    let name = arguments[0];
    let server = Connection::connect(name).unwrap();
    server.send(&vec![(30_904_465_u64, 7574_u16); 3]).unwrap();
    server.send_bytes(&pattern(1, 16 * LARGE)).unwrap();
    assert_eq!(server.recv::<usize>().unwrap(), 3);
    let (here, there) = pipe().unwrap();
    server.send_fd(there).unwrap();
    assert_eq!(here.recv::<String>().unwrap(), "through an end that was sent");
    assert!(server.recv_bytes().unwrap() == pattern(2, 16 * LARGE));
}

#[apply(test)]
fn unrelated_programs_exchange_messages_and_ends() {
    let name = unique_name();
    let mut server = Program::start(serve, &[name.as_str()]);
    server.line("listening=");
    Program::start(ask, &[name.as_str()]).succeed();
    server.succeed();
}
