//! Tests that change their whole process, each run in a process of its own.

use std::process::Command;

const CHILD: &str = "LOCKED_PAGE_TEST_CHILD";

/// Runs `body` in a fresh process that runs the test `name` alone; panics unless it passes there.
pub(crate) fn in_child_process(name: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "the child ran this very test: {said}");
}
