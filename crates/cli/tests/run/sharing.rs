//! One descriptor in several hands.

use crate::Run;

/// Every caller gets its own answer, in 102,400 calls of two threads in each of two processes.
#[test]
fn threads_and_processes() {
    let run = Run::new("share");
    let output = run.client("share").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// After `dup`, `fork`, `exec` and over a socket it is the same open file.
#[test]
fn the_same_file_however_it_came() {
    let run = Run::new("pass");
    let output = run.client("pass").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
