//! Children of a test: starting, joining, killing and binding them to a processor.

use std::process::{Command, Stdio};
use std::time::Duration;

use multiprocessing::Process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::{LIMIT, eprint_line, leave_out};

/// Starts a child; its exit code is 0 when `body` returns.
pub fn child(body: impl FnOnce()) -> Process {
    let spawned = Process::fork(|| {
        body();
        0
    });
    spawned.unwrap()
}

/// Waits for children that must succeed.
pub fn join_all(children: impl IntoIterator<Item = Process>) {
    for mut child in children {
        let exit = child.join_timeout(LIMIT).unwrap();
        assert!(
            exit.is_some_and(|exit| exit.is_success()),
            "child {} ended with {exit:?}",
            child.pid()
        );
    }
}

/// Kills a child with SIGKILL and reaps it.
pub fn kill_and_join(mut child: Process) {
    child.kill().unwrap();
    reap(&mut child);
}

/// Waits for a child that was killed with SIGKILL.
pub fn reap(child: &mut Process) {
    let exit = child.join_timeout(LIMIT).unwrap();
    assert!(exit.is_some_and(|exit| exit.is_signal(Signal::SIGKILL)), "{exit:?}");
}

/// Does nothing until this process is killed.
pub fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Starts a child that sends `target` a signal over and over. The target handles and ignores it: it
/// is a child's SIGPWR, which means something only after its parent has died.
pub fn storm(target: Pid) -> Process {
    child(|| {
        while kill(target, Signal::SIGPWR).is_ok() {
            std::thread::sleep(Duration::from_micros(200));
        }
        // The target is gone. The test kills this child.
        sleep_for_ever();
    })
}

/// Makes a panic of any child end this process, too: a panic of a victim would otherwise be taken
/// for the kill that comes next.
pub fn panic_together() {
    let (own, print) = (getpid(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if getpid() == own {
            return print(panic);
        }
        // The default output takes longer than a victim lives.
        eprint_line(&panic.to_string());
        let _ = kill(own, Signal::SIGKILL);
    }));
}

/// Binds a process and this one to one processor, and lets it run only when that processor is idle.
pub fn run_beside_idly(pid: Pid) {
    run_on_one_processor(getpid());
    run_on_one_processor(pid);
    run_command("chrt", &["--idle", "-p", "0", &pid.to_string()]);
}

/// Binds a process, and its later children, to the first processor.
pub fn run_on_one_processor(pid: Pid) {
    run_command("taskset", &["-pc", "0", &pid.to_string()]);
}

/// Runs a command, which must succeed.
pub fn run_command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Leaves the test out where this user may not make namespaces.
pub fn needs_namespaces() {
    let flags = ["--mount", "--pid", "--fork", "true"];
    let made = Command::new("unshare").args(flags).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        leave_out("unshare cannot make namespaces, which needs root");
    }
}
