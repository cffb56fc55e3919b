//! The monitor's page, in a real browser.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{
    BatchRecord, Browser, CentralProcess, Load, Participant, Program, Random, Setup,
    eventually_within, kill, monitor_program, packet_of, reserve_port,
};

/// How long a browser on a busy machine may take to show a change.
const SHOWN: Duration = Duration::from_secs(30);

/// The numbers that the page shows under the names that the status gives them.
const NUMBERS: [&str; 5] =
    ["winners", "bets", "agencies_in_flight", "worker_deaths", "lock_recoveries"];

/// Starts a monitor beside a central. Returns it and its address.
fn monitor(program: &Path, central: u16) -> (Program, String) {
    let address = reserve_port().local_addr().unwrap().to_string();
    (monitor_at(program, central, &address), address)
}

fn monitor_at(program: &Path, central: u16, address: &str) -> Program {
    let central = central.to_string();
    let monitor =
        Program::start(Command::new(program).args(["--port", &central, "--listen", address]));
    monitor.line_with("action: monitor | result: success");
    monitor
}

/// Waits until an element has exactly this text.
fn until_shown(browser: &mut Browser, selector: &str, expected: &str) {
    let look = || browser.text(selector);
    eventually_within(SHOWN, selector, look, |shown| shown == expected);
}

/// Returns the text of an element in the box of a worker.
fn of_worker(browser: &mut Browser, slot: usize, class: &str) -> String {
    browser.text(&format!("[data-slot='{slot}'] .{class}"))
}

/// Waits until the page shows the numbers of `loteria-central status --json`.
fn until_as_status(browser: &mut Browser, central: &CentralProcess) {
    let look = || {
        let status = central.status();
        let mut shown: Vec<_> =
            NUMBERS.iter().map(|key| browser.text(&format!("#{key}"))).collect();
        let mut printed: Vec<_> = NUMBERS.iter().map(|key| status[key].to_string()).collect();
        for worker in status["workers"].as_array().unwrap() {
            let slot = worker["slot"].as_u64().unwrap() as usize;
            shown.push(of_worker(browser, slot, "pid"));
            printed.push(format!("pid {}", worker["pid"]));
            shown.push(of_worker(browser, slot, "state"));
            printed.push(worker["state"].as_str().unwrap().to_owned());
            for key in ["connections", "in_flight", "batches", "bets", "restarts"] {
                shown.push(of_worker(browser, slot, key));
                printed.push(worker[key].to_string());
            }
        }
        (shown, printed)
    };
    eventually_within(SHOWN, "the page as the status", look, |(shown, printed)| shown == printed);
}

#[test]
fn the_page_shows_the_status_and_follows_a_batch_and_the_death_of_a_worker() {
    let Some(program) = monitor_program() else { return };
    let Some(mut browser) = Browser::start("en") else { return };
    let setup = Setup::new().with("SERVER_AGENCIES", "2");
    let central = setup.start();
    let (_monitor, address) = monitor(&program, central.port);
    browser.open(&format!("http://{address}/"));
    until_shown(&mut browser, "#phase", "serving");
    until_as_status(&mut browser, &central);
    assert!(browser.text("#no-bets").starts_with("No bets yet."));
    assert_eq!(browser.text("#ready"), "· 2 of 2 accept");

    assert_eq!(central.request(&packet_of("a", 3, 1))[..2], [0, 1]);
    until_shown(&mut browser, "#bets", "3");
    until_shown(&mut browser, "#winners", "1");
    until_as_status(&mut browser, &central);
    assert_eq!(browser.text("#no-bets"), "");

    assert_eq!(of_worker(&mut browser, 1, "death"), "never");
    let pid = central.worker_pids()[1];
    kill(pid, Signal::SIGKILL);
    central.replaced_within_a_second(1, pid);
    until_shown(&mut browser, "[data-slot='1'] .restarts", "1");
    until_shown(&mut browser, "#worker_deaths", "1");
    until_as_status(&mut browser, &central);
    assert!(of_worker(&mut browser, 1, "death").ends_with(" s ago"));
    assert_eq!(of_worker(&mut browser, 0, "death"), "never");
}

#[test]
fn the_page_says_who_is_away_and_continues_by_itself_when_both_are_back() {
    let Some(program) = monitor_program() else { return };
    let Some(mut browser) = Browser::start("en") else { return };
    let mut setup = Setup::new();
    let port = setup.keep_port();
    let central = setup.start();
    assert_eq!(central.request(&packet_of("a", 3, 1))[..2], [0, 1]);
    let (monitor, address) = monitor(&program, port);
    browser.open(&format!("http://{address}/"));
    until_shown(&mut browser, "#bets", "3");

    drop(central);
    until_shown(&mut browser, "#phase", "away");
    assert!(browser.text("#away").starts_with("The central is away since"));

    drop(monitor);
    let look = || browser.text("#away");
    eventually_within(SHOWN, "the monitor is away", look, |text| {
        text.starts_with("The monitor does not answer since")
    });

    let central = setup.start();
    let _monitor = monitor_at(&program, port, &address);
    until_shown(&mut browser, "#phase", "serving");
    assert_eq!(browser.text("#away"), "");
    until_as_status(&mut browser, &central);
}

#[test]
fn the_page_is_spanish_for_a_spanish_browser_and_has_a_switch() {
    let Some(program) = monitor_program() else { return };
    let Some(mut browser) = Browser::start("es-AR") else { return };
    let setup = Setup::new();
    let central = setup.start();
    let (_monitor, address) = monitor(&program, central.port);
    browser.open(&format!("http://{address}/"));
    until_shown(&mut browser, "#phase", "en servicio");
    assert_eq!(browser.text("#workers-title"), "Workers · 2 de 2 aceptan");
    assert_eq!(browser.value("document.documentElement.lang"), "es");

    browser.value("document.querySelector('button[value=en]').click()");
    until_shown(&mut browser, "#phase", "serving");
    browser.open(&format!("http://{address}/"));
    until_shown(&mut browser, "#phase", "serving");
    assert_eq!(browser.value("document.documentElement.lang"), "en");
}

#[test]
fn the_page_runs_no_script_and_no_style_but_its_own_and_makes_no_request_elsewhere() {
    let Some(program) = monitor_program() else { return };
    let Some(mut browser) = Browser::start("en") else { return };
    let setup = Setup::new();
    let central = setup.start();
    let (_monitor, address) = monitor(&program, central.port);
    browser.open(&format!("http://{address}/"));
    until_shown(&mut browser, "#phase", "serving");
    let requests = "performance.getEntriesByType('resource').map(({ name }) => name)";
    let requests = browser.value(requests);
    let elsewhere =
        |name: &&Value| !name.as_str().unwrap().starts_with(&format!("http://{address}/"));
    assert_eq!(requests.as_array().unwrap().iter().find(elsewhere), None);

    let tries = "
        window.refused = [];
        addEventListener('securitypolicyviolation', ({ effectiveDirective }) =>
            refused.push(effectiveDirective));
        for (const name of ['script', 'style']) {
            const foreign = document.createElement(name);
            foreign.textContent = name === 'script' ? 'window.ran = true' : 'body { color: red }';
            document.body.append(foreign);
        }
        fetch('http://localhost:1/').catch(() => null)";
    browser.value(tries);
    let refused = || browser.value("refused.toSorted().join()");
    let expected = "connect-src,script-src-elem,style-src-elem";
    eventually_within(SHOWN, "what the policy refuses", refused, |seen| *seen == expected);
    assert_eq!(browser.value("window.ran === true"), false);
}

/// How long the lines of the plots are.
const PLOTTED: Duration = Duration::from_secs(55);

#[test]
#[ignore = "make pictures starts it"]
fn pictures_of_the_page_are_made_from_a_run() {
    let program = monitor_program().expect("the monitor is built");
    let mut browser = Browser::start("en").expect("chromium is installed");
    let mut setup = Setup::new().with("SERVER_PROTOCOL", "typed:0,framed:0");
    setup.set("SERVER_WORKERS", "4");
    setup.set("SERVER_DURABILITY", "disk");
    let central = setup.start();
    let (_monitor, address) = monitor(&program, central.port);
    browser.open(&format!("http://{address}/"));
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(6, central.port, &record, &mut random);
    let mut finished =
        [1, 2, 3].map(|number| Participant::connect(central.port_of("framed"), "framed", number));
    finished.iter_mut().for_each(Participant::finish);
    sleep(PLOTTED);
    let pid = central.worker_pids()[2];
    kill(pid, Signal::SIGKILL);
    until_shown(&mut browser, "[data-slot='2'] .restarts", "1");
    for (name, width, dark) in [("monitor-light", 1600, false), ("monitor-dark", 400, true)] {
        browser.show_as(width, dark);
        let file = Path::new(env!("CARGO_MANIFEST_DIR"));
        browser.picture(&file.join(format!("../docs/pictures/{name}.png")));
    }
    load.stop();
}
