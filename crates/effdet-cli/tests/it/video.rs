//! `effdet video` on clips that ffmpeg makes up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Fixture, effdet, fails};
use serde_json::Value;

/// Whether the commands are there; says so if not.
fn has_ffmpeg() -> bool {
    let has = ["ffmpeg", "ffprobe"].iter().all(|name| Command::new(name).arg("-version").output().is_ok());
    if !has {
        eprintln!("video: skipped, ffmpeg is not installed");
    }
    has
}

/// A clip of ffmpeg's test picture: 24 frames of 96x65, 12 a second.
fn clip(fixture: &Fixture, name: &str, options: &[&str]) -> PathBuf {
    let path = fixture.path(name);
    let source = "testsrc=size=96x65:rate=12:duration=2";
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", source]).args(options).arg(&path);
    assert!(command.status().unwrap().success());
    path
}

fn video(fixture: &Fixture, source: &str) -> assert_cmd::Command {
    let mut command = effdet();
    command.current_dir(fixture.path("")).args(["video", source, "--weights", "tiny.safetensors"]);
    command.args(["--score", "0", "--max-detections", "3"]);
    command
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Width, height and frames of a video.
fn measure(path: &Path) -> (u64, u64, u64) {
    let entries = "stream=width,height,nb_read_frames";
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", entries, "-of", "json"])
        .arg(path)
        .output()
        .unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stream = &json["streams"][0];
    let frames = stream["nb_read_frames"].as_str().unwrap().parse().unwrap();
    (stream["width"].as_u64().unwrap(), stream["height"].as_u64().unwrap(), frames)
}

#[test]
fn every_frame_is_detected_in_and_drawn_on() {
    if !has_ffmpeg() {
        return;
    }
    let fixture = Fixture::new();
    let source = clip(&fixture, "clip.mp4", &["-pix_fmt", "yuv444p"]);
    let mut command = video(&fixture, "clip.mp4");
    command.args(["--batch", "5", "--out", "drawn.mp4", "--jsonl", "found.jsonl"]);
    let stderr = String::from_utf8(command.assert().success().get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("clip.mp4: 24 frames, 72 objects in"), "{stderr}");
    assert!(stderr.contains("frames per second"), "{stderr}");
    let found = lines(&fixture.path("found.jsonl"));
    assert_eq!(found.len(), 24);
    assert_eq!((&found[12]["frame"], &found[12]["time"]), (&12.into(), &1.0.into()));
    assert_eq!((&found[0]["width"], &found[0]["height"]), (&96.into(), &65.into()));
    assert!(found.iter().all(|frame| frame["detections"].as_array().unwrap().len() == 3));
    // An odd side becomes even, as encoders need it.
    assert_eq!(measure(&source), (96, 65, 24));
    assert_eq!(measure(&fixture.path("drawn.mp4")), (96, 66, 24));
}

#[test]
fn a_frame_gives_what_its_picture_gives() {
    if !has_ffmpeg() {
        return;
    }
    let fixture = Fixture::new();
    clip(&fixture, "clip.mkv", &["-c:v", "ffv1", "-pix_fmt", "bgr0"]);
    video(&fixture, "clip.mkv").args(["--max-frames", "2", "--jsonl", "found.jsonl"]).assert().success();
    let found = lines(&fixture.path("found.jsonl"));
    assert_eq!(found.len(), 2);
    let picture = fixture.path("first.png");
    let mut first = Command::new("ffmpeg");
    first.args(["-v", "error", "-i"]).arg(fixture.path("clip.mkv")).args(["-frames:v", "1"]).arg(&picture);
    assert!(first.status().unwrap().success());
    let alone = fixture.json(&["first.png"], &["--max-detections", "3"]);
    assert_eq!(found[0]["detections"], alone["images"][0]["detections"]);
    assert_ne!(found[0]["detections"], found[1]["detections"]);
}

#[test]
fn a_video_turned_on_its_side_is_seen_upright() {
    if !has_ffmpeg() {
        return;
    }
    let fixture = Fixture::new();
    clip(&fixture, "flat.mp4", &[]);
    let mut turn = Command::new("ffmpeg");
    turn.args(["-v", "error", "-display_rotation", "90", "-i"]).arg(fixture.path("flat.mp4"));
    if !turn.args(["-c", "copy"]).arg(fixture.path("clip.mp4")).status().unwrap().success() {
        eprintln!("a video turned on its side: skipped, this ffmpeg cannot make one");
        return;
    }
    video(&fixture, "clip.mp4").args(["--max-frames", "1", "--jsonl", "found.jsonl"]).assert().success();
    let found = lines(&fixture.path("found.jsonl"));
    assert!(found[0]["width"].as_u64() < found[0]["height"].as_u64(), "{}", found[0]["width"]);
}

#[test]
fn what_is_no_video_is_refused() {
    if !has_ffmpeg() {
        return;
    }
    let fixture = Fixture::new();
    fs::write(fixture.path("bytes.mp4"), [7; 5000]).unwrap();
    fs::write(fixture.path("notes.txt"), "some text\n".repeat(50)).unwrap();
    let sound = fixture.path("sound.wav");
    let mut make = Command::new("ffmpeg");
    make.args(["-v", "error", "-f", "lavfi", "-i", "sine=duration=1"]).arg(&sound);
    assert!(make.status().unwrap().success());
    for (source, reason) in [
        ("bytes.mp4", "bytes.mp4: not a video that ffmpeg can read"),
        ("notes.txt", "notes.txt: there are no pictures in it"),
        ("sound.wav", "sound.wav: there are no pictures in it"),
        ("gone.mp4", "gone.mp4: not a video that ffmpeg can read"),
        ("/dev/video99", "/dev/video99: not a video that ffmpeg can read"),
    ] {
        let stderr = fails(video(&fixture, source).args(["--jsonl", "-"]), 2);
        assert!(stderr.contains(reason), "{stderr}");
    }
    let source = clip(&fixture, "clip.mp4", &[]);
    let before = fs::read(&source).unwrap();
    for option in ["--out", "--jsonl"] {
        let stderr = fails(video(&fixture, "clip.mp4").args([option, "clip.mp4"]), 2);
        assert!(stderr.contains(&format!("{option} clip.mp4 is the source")), "{stderr}");
        assert!(fs::read(&source).unwrap() == before, "{option}");
    }
    let stderr = fails(video(&fixture, "clip.mp4").args(["--out", "drawn.notaformat"]), 2);
    assert!(stderr.contains("cannot write drawn.notaformat"), "{stderr}");
    fails(&mut video(&fixture, "clip.mp4"), 2);
}

#[test]
fn a_video_that_ends_in_the_middle_gives_what_is_there_and_says_so() {
    if !has_ffmpeg() {
        return;
    }
    let fixture = Fixture::new();
    for (name, options) in [
        ("clip.mp4", &["-movflags", "+faststart", "-g", "6"][..]),
        ("clip.mkv", &["-c:v", "mpeg4", "-g", "6"]),
    ] {
        let whole = fs::read(clip(&fixture, name, options)).unwrap();
        fs::write(fixture.path(name), &whole[..whole.len() * 6 / 10]).unwrap();
        let mut command = video(&fixture, name);
        command.args(["--out", "drawn.mp4", "--jsonl", "found.jsonl"]);
        let stderr = fails(&mut command, 1);
        assert!(
            stderr.contains(&format!("error: {name} ends after")) && stderr.contains("of 24 frames"),
            "{stderr}"
        );
        let frames = lines(&fixture.path("found.jsonl")).len();
        assert!((1..24).contains(&frames), "{frames}");
        assert_eq!(measure(&fixture.path("drawn.mp4")).2, frames as u64);
    }
    // Without its end, an ordinary MP4 says nothing of what is in it.
    let whole = fs::read(clip(&fixture, "late.mp4", &[])).unwrap();
    fs::write(fixture.path("late.mp4"), &whole[..whole.len() / 2]).unwrap();
    let stderr = fails(video(&fixture, "late.mp4").args(["--jsonl", "-"]), 2);
    assert!(stderr.contains("late.mp4: not a video that ffmpeg can read"), "{stderr}");
}

#[test]
fn sound_that_outlasts_the_picture_is_no_damage() {
    if !has_ffmpeg() {
        return;
    }
    let fixture = Fixture::new();
    let sound = ["-f", "lavfi", "-i", "sine=duration=5", "-c:v", "mpeg4", "-c:a", "pcm_s16le"];
    clip(&fixture, "clip.mkv", &sound);
    video(&fixture, "clip.mkv").args(["--jsonl", "found.jsonl"]).assert().success();
    assert_eq!(lines(&fixture.path("found.jsonl")).len(), 24);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_stream_that_delivers_nothing() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Child;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    fn wait_for<T>(what: &str, child: &mut Child, look: impl Fn(&mut Child) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(child) {
                return found;
            }
            if begun.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("{what} did not come");
            }
            sleep(Duration::from_millis(20));
        }
    }

    let fixture = Fixture::new();
    // In the place of an ffmpeg before 5.1, with a stream that is there and stays silent.
    let probe = r#"echo '{"streams": [{"avg_frame_rate": "25/1"}]}'"#;
    let decode = r#"[ "$1" = -version ] && echo ffmpeg version 4.4.2 && exit
        echo "$@" > arguments
        exec sleep 600"#;
    for (name, script) in [("ffprobe", probe), ("ffmpeg", decode)] {
        fs::write(fixture.path(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(fixture.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", fixture.path("").display(), std::env::var("PATH").unwrap());
    let mut child = Command::new(env!("CARGO_BIN_EXE_effdet"))
        .current_dir(fixture.path(""))
        .env("PATH", path)
        .args(["video", "rtsp://host/1", "--weights", "tiny.safetensors", "--jsonl", "found.jsonl"])
        .spawn()
        .unwrap();
    let arguments = fixture.path("arguments");
    let arguments = wait_for("the stream", &mut child, |_| {
        fs::read_to_string(&arguments).ok().filter(|text| text.ends_with('\n'))
    });
    assert!(arguments.contains("-vsync passthrough"), "{arguments}");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let status = wait_for("the end", &mut child, |child| child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn without_ffmpeg_the_error_says_how_to_get_it() {
    let fixture = Fixture::new();
    let stderr = fails(video(&fixture, "clip.mp4").args(["--jsonl", "-"]).env("PATH", fixture.path("")), 2);
    assert!(stderr.contains("not installed") && stderr.contains("apt install ffmpeg"), "{stderr}");
}
