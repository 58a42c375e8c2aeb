//! What is expected of any command: help, completions, colours, quiet, logs.

use crate::common::{Fixture, effdet, fails};

fn output(command: &mut assert_cmd::Command) -> (String, String) {
    let output = command.assert().success().get_output().clone();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn help_shows_examples_and_exit_statuses() {
    for (command, line) in [
        ("predict", "effdet predict photo.jpg --pretrained"),
        ("video", "effdet video clip.mp4"),
        ("train", "effdet train --resume --out runs/cells"),
        ("weights", "effdet weights list"),
    ] {
        let (short, _) = output(effdet().args([command, "-h"]));
        let (long, _) = output(effdet().args([command, "--help"]));
        assert!(short.contains(line) && long.contains(line), "{command}: {long}");
    }
    let (long, _) = output(effdet().args(["predict", "--help"]));
    assert!(long.contains("Exit status"), "{long}");
}

#[test]
fn every_shell_has_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = output(effdet().args(["completions", shell]));
        assert!(script.contains("effdet") && script.contains("max-detections"), "{shell}");
    }
    fails(effdet().args(["completions", "cmd"]), 2);
}

#[cfg(unix)]
#[test]
fn bash_takes_its_completions() {
    let (script, _) = output(effdet().args(["completions", "bash"]));
    let words = "COMP_WORDS=(effdet predict --sav); COMP_CWORD=2; _effdet effdet --sav predict; echo \"${COMPREPLY[@]}\"";
    let bash =
        std::process::Command::new("bash").args(["-c", &format!("{script}\n{words}")]).output().unwrap();
    let reply = String::from_utf8(bash.stdout).unwrap();
    assert!(reply.contains("--save-coco") && reply.contains("--save-voc"), "{reply}");
}

#[test]
fn no_color_switches_colours_off() {
    let colored = |no_color: &str| {
        let mut command = effdet();
        command.args(["predict", "--help"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", no_color);
        output(&mut command).0.contains('\u{1b}')
    };
    assert!(colored("") && !colored("1"));
}

#[test]
fn quiet_leaves_results_and_errors() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let path = fixture.path("tiny.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let (table, notes) = output(&mut fixture.predict(&["cat.png"]));
    assert!(notes.contains("warning"), "{notes}");
    let (quiet_table, quiet_notes) = output(fixture.predict(&["cat.png"]).arg("--quiet"));
    assert_eq!((quiet_table, quiet_notes.as_str()), (table, ""));
    let stderr = fails(fixture.predict(&["gone.png"]).arg("-q"), 1);
    assert!(stderr.contains("error: gone.png"), "{stderr}");
    fails(fixture.predict(&["cat.png"]).args(["-q", "-v"]), 2);
}

#[test]
fn logs_are_shown_when_asked_for() {
    let fixture = Fixture::new();
    fixture.picture("cat.png", 80, 64);
    let (_, silent) = output(&mut fixture.predict(&["cat.png"]));
    assert_eq!(silent, "");
    let (_, info) = output(fixture.predict(&["cat.png"]).arg("-v"));
    assert!(info.contains("loaded a checkpoint") && info.contains("classes=3"), "{info}");
    assert!(!info.contains("detected"), "{info}");
    let (_, debug) = output(fixture.predict(&["cat.png"]).env("EFFDET_LOG", "effdet=debug"));
    assert!(debug.contains("detected") && debug.contains("network="), "{debug}");
    let stderr = fails(fixture.predict(&["cat.png"]).env("EFFDET_LOG", "effdet=loud"), 2);
    assert!(stderr.contains("EFFDET_LOG is `effdet=loud`"), "{stderr}");
}
