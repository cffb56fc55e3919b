//! On a machine that the library does not support, its only error is the one that says so.

/// The machines that the library supports, as an attribute names them.
const SUPPORTED: &str =
    r#"all(target_os = "linux", target_env = "gnu", target_pointer_width = "64")"#;

#[test]
fn nothing_but_the_message_is_compiled_for_another_machine() {
    let lib = include_str!("../../src/lib.rs");
    assert!(lib.contains(&format!("#[cfg(not({SUPPORTED}))]\ncompile_error!")));
    let (_, items) = lib.split_once("extern crate self").unwrap();
    let lines: Vec<_> = items.lines().collect();
    let is_item = |line: &str| {
        ["mod ", "pub mod declaration", "pub use "].iter().any(|start| line.starts_with(start))
    };
    let mut found = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_item(line)) {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with('#'));
        let limited = attributes.copied().any(|line| line == format!("#[cfg({SUPPORTED})]"));
        assert!(limited, "{line}: its type errors would hide the message");
        found += 1;
    }
    assert!(found > 20, "{found} items");
}
