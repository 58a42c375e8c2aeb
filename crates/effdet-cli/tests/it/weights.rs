//! `effdet weights`, against a server on loopback.

#[path = "../../../effdet-weights/tests/it/common/server.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use assert_cmd::Command;
use effdet::weights::CheckpointMetadata;
use rustls::crypto::ring;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use server::{Reply, Request, Server};

use crate::common::{self, Fixture, fails, tiny_config};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The command with caches in `folder` and `hub` as the Hub.
fn effdet(folder: &Path, hub: &str, arguments: &[&str]) -> Process {
    let mut command = Process::new(env!("CARGO_BIN_EXE_effdet"));
    command.arg("weights").args(arguments).env("HF_ENDPOINT", hub).env("NO_PROXY", "127.0.0.1");
    for name in ["HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "EFFDET_OFFLINE", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    for name in ["EFFDET_CACHE", "HF_HOME", "TORCH_HOME"] {
        command.env(name, folder.join(name));
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn content() -> Vec<u8> {
    (0..100_000u32).map(|i| (i / 3) as u8).collect()
}

/// SHA-256 of [`content`].
fn digest(folder: &Path) -> String {
    let path = folder.join("content");
    fs::write(&path, content()).unwrap();
    effdet::weights::sha256(&path).unwrap()
}

fn hub(sha256: String, pause: Duration) -> Server {
    Server::start(move |request, _| hub_reply(request, &sha256, pause))
}

fn hub_reply(request: &Request, sha256: &str, pause: Duration) -> Reply {
    let reply = if request.method == "HEAD" {
        Reply::file(&content())
    } else {
        Reply { pause, ..Reply::ranged(&content(), request) }
    };
    reply.header("X-Repo-Commit", COMMIT).header("X-Linked-Etag", format!("\"{sha256}\""))
}

#[test]
fn two_processes_fetch_a_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = hub(digest(folder.path()), Duration::from_millis(400));
    let start = || {
        effdet(folder.path(), &server.address, &["download", "tf_efficientnet_b0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let outputs = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let paths = outputs.each_ref().map(|output| text(&output.stdout));
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    assert_eq!(paths[0], paths[1]);
    assert_eq!(fs::read(paths[0].trim()).unwrap(), content());
    assert_eq!(server.gets(), 1);
}

#[test]
fn a_file_is_fetched_found_verified_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let server = hub(digest(folder.path()), Duration::ZERO);
    let run = |arguments: &[&str], status: i32| {
        let output = effdet(folder.path(), &server.address, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?} {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let name = "tf_efficientnet_b0";
    assert!(run(&["path", name], 1).1.contains("effdet weights download tf_efficientnet_b0"));
    let path = run(&["download", name], 0).0;
    assert_eq!(run(&["path", name], 0).0, path);
    assert!(run(&["verify"], 0).0.contains("1 right, 0 wrong"));
    let listed = run(&["list", "--backbones"], 0).0;
    let line = listed.lines().find(|line| line.starts_with("tf_efficientnet_b0.ns_jft_in1k")).unwrap();
    assert!(line.contains("yes"), "{line}");
    fs::write(fs::canonicalize(path.trim()).unwrap(), b"other").unwrap();
    assert!(run(&["verify", name], 1).1.contains("SHA-256"));
    assert!(run(&["rm", name], 0).0.contains("deleted"));
    run(&["path", name], 1);

    let dir = folder.path().join("dir");
    let dir = dir.to_str().unwrap();
    let path = run(&["download", name, "--dir", dir], 0).0;
    assert_eq!(fs::read(path.trim()).unwrap(), content());
    run(&["verify", name, "--dir", dir], 0);
    run(&["download", "tf_efficientnet_b99"], 2);
    run(&["download"], 2);
}

#[test]
fn a_reader_that_goes_away_does_not_stop_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let server = hub(digest(folder.path()), Duration::ZERO);
    let dir = folder.path().join("dir");
    let dir = dir.to_str().unwrap();
    let names = ["tf_efficientnet_b0", "tf_efficientnet_b0.ap_in1k"];
    let run = |command: &str| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut process = effdet(folder.path(), &server.address, &[command, "--dir", dir]);
        process.args(names).stdout(writer).status().unwrap().code()
    };
    let path = |name: &str| {
        let mut process = effdet(folder.path(), &server.address, &["path", name, "--dir", dir]);
        text(&process.output().unwrap().stdout).trim().to_owned()
    };
    assert_eq!(run("download"), Some(0));
    let paths = names.map(path);
    assert!(paths.iter().all(|path| Path::new(path).is_file()), "{paths:?}");
    fs::write(&paths[1], b"other").unwrap();
    assert_eq!(run("verify"), Some(1));
    assert_eq!(run("rm"), Some(0));
    assert!(paths.iter().all(|path| !Path::new(path).exists()), "{paths:?}");
}

#[test]
fn a_proxy_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = hub(digest(folder.path()), Duration::ZERO);
    let output = effdet(folder.path(), "http://hub.invalid", &["download", "tf_efficientnet_b0"])
        .env("HTTP_PROXY", &proxy.address)
        .env("ALL_PROXY", &proxy.address)
        .env("NO_PROXY", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let asked = proxy.requests();
    assert!(asked.iter().any(|request| request.method == "CONNECT" || request.path.contains("hub.invalid")));
}

#[test]
fn a_server_is_trusted_by_the_certificates_of_a_file() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()).into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let folder = tempfile::tempdir().unwrap();
    let sha256 = digest(folder.path());
    let server = Server::start_over(
        "https",
        move |stream| StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream),
        move |request, _| hub_reply(request, &sha256, Duration::ZERO),
    );
    let mirror = Server::start(|_, _| Reply::status(404));
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, certified.cert.pem()).unwrap();
    let run = |roots: Option<&Path>| {
        let mut command = effdet(folder.path(), &server.address, &["download", "tf_efficientnet_b0"]);
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            command.env_remove(name);
        }
        command.envs(roots.map(|roots| ("SSL_CERT_FILE", roots)));
        command.env("EFFDET_MIRROR", &mirror.address).output().unwrap()
    };
    let unknown = run(None);
    let said = text(&unknown.stderr);
    assert!(
        !unknown.status.success() && said.contains("UnknownIssuer") && said.contains("SSL_CERT_FILE"),
        "{said}"
    );
    assert!(said.contains(&mirror.address), "the other source is tried: {said}");
    let known = run(Some(&roots));
    assert!(known.status.success(), "{}", text(&known.stderr));
    assert_eq!(fs::read(text(&known.stdout).trim()).unwrap(), content());
}

#[test]
fn checkpoints_are_converted_averaged_and_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../effdet-weights/tests/fixtures");
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let fixture = |name: &str| fixtures.join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        Command::from_std(effdet(folder.path(), "http://127.0.0.1:9", arguments)).assert()
    };

    let training = fixture("training.pth.tar");
    run(&["convert", &training, &at("ema.safetensors"), "--ema", "--dtype", "f16"]).success();
    run(&["convert", &training, &at("last.safetensors")]).success();
    run(&["average", &at("last.safetensors"), &at("last.safetensors"), "--out", &at("mean.safetensors")])
        .success();
    let open =
        |name: &str| effdet::weights::Checkpoint::open(at(name)).unwrap().read_f32("bn1.bias").unwrap();
    let (ema, last) = (open("ema.safetensors"), open("last.safetensors"));
    assert!(ema.iter().zip(&last).all(|(ema, last)| (ema + 1.0 - last).abs() < 1e-6), "{ema:?} {last:?}");
    assert_eq!(open("mean.safetensors"), last);
    let (before, in_place) = (fs::read(at("last.safetensors")).unwrap(), at("last.safetensors"));
    for arguments in [
        &["convert", &in_place, &in_place, "--dtype", "f16"][..],
        &["average", &at("mean.safetensors"), &in_place, "--out", &in_place],
    ] {
        let refused = run(arguments).failure().code(2);
        assert!(text(&refused.get_output().stderr).contains("last.safetensors is"), "{arguments:?}");
        assert_eq!(fs::read(&in_place).unwrap(), before);
    }

    let refused = run(&["convert", &fixture("legacy.pth"), &at("x.safetensors"), "--ema"]).failure().code(2);
    assert!(text(&refused.get_output().stderr).contains("no averaged weights"));
    run(&["convert", &fixture("legacy.pth"), &at("x.onnx")]).failure().code(2);
    let shown = run(&["inspect", &training, "--tensors"]).success();
    let shown = text(&shown.get_output().stdout);
    for part in ["state_dict_ema", "conv_stem.weight F32 [4, 3, 3, 3]", "fits no published model"] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn what_a_file_says_of_its_model_does_not_hold_for_another() {
    let fixture = Fixture::new();
    let config = tiny_config();
    let metadata = CheckpointMetadata {
        model: Some(config.name.clone()),
        config: Some(serde_json::to_value(&config).unwrap()),
        ..CheckpointMetadata::default()
    };
    fixture.checkpoint("own.safetensors", &config, &metadata);
    let convert = |options: &[&str]| {
        let mut command = common::effdet();
        command.current_dir(fixture.path("")).args(["weights", "convert", "own.safetensors"]);
        command.arg("out.safetensors").args(options);
        command
    };
    convert(&[]).assert().success();
    convert(&["--model", &config.name]).assert().success();
    let stderr = fails(&mut convert(&["--model", "tf_efficientdet_lite0"]), 2);
    assert!(stderr.contains("own.safetensors as `tf_efficientdet_lite0`"), "{stderr}");
}
