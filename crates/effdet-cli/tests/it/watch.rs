//! `effdet predict --watch`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{Fixture, fails, read_json};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        sleep(Duration::from_millis(20));
    }
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn pictures_are_detected_as_they_arrive_until_ctrl_c() {
    let fixture = Fixture::new();
    fixture.picture("in/a.png", 80, 64);
    let bytes = fs::read(fixture.picture("b.png", 60, 50)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_effdet"))
        .current_dir(fixture.path(""))
        .args(["predict", "in", "--weights", "tiny.safetensors", "--score", "0", "--watch=0.1"])
        .args(["--out", "drawn", "--jsonl", "found.jsonl", "--json", "found.json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let found = fixture.path("found.jsonl");
    wait_for("the picture that was there", || lines(&found).len() == 1);

    // It arrives in two parts, and only the whole is detected in.
    let mut file = fs::File::create(fixture.path("in/b.png")).unwrap();
    file.write_all(&bytes[..bytes.len() / 2]).unwrap();
    sleep(Duration::from_millis(50));
    file.write_all(&bytes[bytes.len() / 2..]).unwrap();
    drop(file);
    wait_for("the second picture", || {
        lines(&found).iter().any(|line| line["path"] == "in/b.png" && line["width"] == 60)
    });
    assert!(fixture.path("drawn/a.png").exists());

    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let status = child.wait().unwrap();
    assert!(status.code().is_some_and(|code| code <= 1), "{status}");
    let report = read_json(&fixture.path("found.json"));
    assert_eq!(report["images"].as_array().unwrap().len(), 2);
    assert!(fixture.path("drawn/b.png").exists());
}

#[test]
fn only_folders_can_be_watched_and_not_that_of_the_results() {
    let fixture = Fixture::new();
    fixture.picture("in/a.png", 80, 64);
    let stderr = fails(fixture.predict(&["in/a.png"]).arg("--watch"), 2);
    assert!(stderr.contains("this is no folder"), "{stderr}");
    let stderr = fails(fixture.predict(&["in"]).args(["--watch", "--out", "in"]), 2);
    assert!(stderr.contains("name another"), "{stderr}");
    fails(fixture.predict(&["in"]).arg("--watch=0"), 2);
}
