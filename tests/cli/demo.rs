//! The demonstration, as a newcomer runs it.

// The test bounds the time that a newcomer waits.

use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn the_demo_tells_its_story_and_every_promise_holds() {
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_pannier"))
        .arg("demo")
        .env_clear()
        .output()
        .expect("the binary runs");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}{errors}");
    assert_eq!(errors, "");
    assert!(begun.elapsed() < Duration::from_secs(20), "it takes a few seconds, even on a loaded machine");
    for line in [
        "a scan finds 1000 of them",
        "PUT apple APPLE",
        "GET elderberry",
        "DELETE cherry",
        "15 of 15 over TCP were right",
        "15 of 15 over UDP were right",
        "the server rejected it and counted it: 1 more with a bad checksum",
        "the client heard nothing, sent it again, and the price is 100",
        "and ran once",
        "visits is 2, not 3",
        "stock is 7, not 17",
        "dropped the replies to the copies",
        "GET price over UDP, after",
        "no answer within 500ms",
        "the client timed out, and says so",
        "told as unknown, not as failed",
        "rejected_bad_crc",
        "promises held.",
    ] {
        assert!(told.contains(line), "it does not tell: {line}\n{told}");
    }
    assert!(!told.contains("BROKEN"), "{told}");
}
