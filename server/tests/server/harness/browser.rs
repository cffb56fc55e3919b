//! A real browser without a window: Chromium, driven through its DevTools protocol.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::left_out::left_out;

/// Names under which distributions install Chromium.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// Moves the two pipes to the descriptors on which Chromium expects the protocol.
const SCRIPT: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";

/// A browser with one page. Dropping it ends the browser.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// Profile and cache of the browser.
    _directory: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser whose language is `language`. Without Chromium, reports the test as left
    /// out.
    pub fn start(language: &str) -> Option<Self> {
        let Some(program) = PROGRAMS.into_iter().find(|program| is_installed(program)) else {
            left_out("chromium is not installed");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // Root cannot use the sandbox, and the page is that of this repository.
        command.args(["-c", SCRIPT, program, "--headless", "--no-sandbox", "--disable-gpu"]);
        command.args(["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"]);
        command.arg(format!("--user-data-dir={}", directory.path().display()));
        command.arg(format!("--accept-lang={language}")).env("LANGUAGE", language);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let requests = process.stdin.take().unwrap();
        let replies = BufReader::new(process.stdout.take().unwrap());
        let (session, last, _directory) = (None, 0, directory);
        let mut browser = Self { process, requests, replies, session, last, _directory };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        Some(browser)
    }

    /// Opens an address. Returns before the page has been loaded.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// Shows the page with this width and with the height that it needs, to a user who prefers
    /// light or dark pages, and no motion.
    pub fn show_as(&mut self, width: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        let mut height = Value::from(800);
        // The first size decides how high the page is.
        for _ in 0..2 {
            let size = json!({
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
            });
            self.call("Emulation.setDeviceMetricsOverride", size);
            height = self.value("document.documentElement.scrollHeight");
        }
    }

    /// Returns the value of a JavaScript expression; null if it fails.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.call("Runtime.evaluate", parameters)["result"]["value"].take()
    }

    /// Returns the text of the first element of a selector; empty if the page shows none.
    pub fn text(&mut self, selector: &str) -> String {
        let selector = Value::from(selector);
        let find = format!("document.querySelector({selector})");
        let shown = self.value(&format!("{find}?.checkVisibility() ? {find}.innerText : ''"));
        shown.as_str().unwrap_or_default().trim().to_owned()
    }

    /// Writes a picture of what is shown as PNG.
    pub fn picture(&mut self, file: &Path) {
        let encoded = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        fs::write(file, BASE64_STANDARD.decode(encoded["data"].as_str().unwrap()).unwrap())
            .unwrap();
    }

    /// Calls a method of the protocol and returns its result. Skips the events before it.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        write!(self.requests, "{request}\0").unwrap();
        loop {
            let mut message = Vec::new();
            self.replies.read_until(0, &mut message).unwrap();
            assert_eq!(message.pop(), Some(0), "the browser has ended during {method}");
            let mut message: Value = serde_json::from_slice(&message).unwrap();
            if message["id"] == self.last {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    let command = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
