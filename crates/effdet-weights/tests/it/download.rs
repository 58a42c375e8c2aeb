//! Published weights over the network: servers on loopback that speak, or break, the protocols of the Hub and of the
//! release host. Whatever they do, there is a right file at the end, or an error and no file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::server::{Reply, Request, Server};
use effdet_weights::{Error, FetchEvent, Retry, WeightsEntry, WeightsStore};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Not a checkpoint: nothing here looks into it.
fn content() -> Vec<u8> {
    (0..200_000u32).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A store in a folder of its own, without patience.
fn store(folder: &TempDir) -> WeightsStore {
    WeightsStore {
        folder: None,
        releases: folder.path().join("releases"),
        hub_cache: folder.path().join("hub"),
        torch_hub: None,
        hub_endpoint: "http://127.0.0.1:9".into(),
        hub_token: None,
        mirror: None,
        offline: false,
        retry: Retry {
            attempts: 3,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_secs(2),
            silence: Duration::from_millis(1500),
        },
    }
}

/// A detector's entry whose release file is `content`.
fn release(url: &str) -> WeightsEntry {
    let whole = WeightsEntry::named("tf_efficientdet_d0").unwrap().clone();
    let url = Some(format!("{url}/v0.1/weights-{}.pth", &hash(&content())[..8]));
    WeightsEntry { url, hash: Some(hash(&content())[..8].into()), bytes: None, ..whole }
}

/// A backbone's entry that is on the Hub alone.
fn hub_only() -> WeightsEntry {
    let entry = WeightsEntry::named("tf_efficientnet_b0").unwrap().clone();
    WeightsEntry { url: None, hash: None, ..entry }
}

fn quiet(_: FetchEvent<'_>) {}

/// Every file below a folder but locks.
fn files(folder: &Path) -> BTreeSet<String> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned())
        .filter(|name| !name.ends_with(".lock"))
        .collect()
}

/// Fetches from a server that must be refused, and asserts that no file but a partial one is left.
fn refused(entry: &WeightsEntry, store: &WeightsStore, folder: &TempDir) -> Error {
    let error = store.fetch(entry, &mut quiet).unwrap_err();
    let left = files(folder.path());
    let partial = |name: &String| name.ends_with(".part") || name.ends_with(".incomplete");
    assert!(left.iter().all(partial), "{left:?} after {error}");
    assert_eq!(store.locate(entry).unwrap(), None);
    error
}

#[test]
fn a_release_file_comes_through_redirects_and_is_there_for_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Server::start(|request, _| Reply::ranged(&content(), request));
    let to = format!("{}/signed?token=secret", storage.address);
    let host = Server::start(move |_, before| match before {
        0 => Reply::redirect(301, "/moved/here"),
        _ => Reply::redirect(302, to.clone()),
    });
    let (store, entry) = (store(&folder), release(&host.address));
    let mut last = None;
    let path = store
        .fetch(&entry, &mut |event| {
            if let FetchEvent::Transfer { done, total, .. } = event {
                last = Some((done, total));
            }
        })
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), content());
    let length = content().len() as u64;
    assert_eq!(last, Some((length, Some(length))));
    let paths: Vec<_> = host.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths[1], "/moved/here");

    assert_eq!(store.fetch(&entry, &mut quiet).unwrap(), path);
    assert_eq!((host.requests().len(), storage.gets()), (2, 1));
    let verified = store.verify(&entry).unwrap().unwrap();
    assert_eq!((verified.sha256, verified.compared), (hash(&content()), 8));

    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let kept = ["", ".sha256"].map(|end| format!("releases/{name}{end}"));
    assert_eq!(files(folder.path()), BTreeSet::from(kept));
    assert_eq!(store.remove(&entry).unwrap().len(), 2);
    assert_eq!(files(folder.path()), BTreeSet::new());
}

#[test]
fn a_cut_transfer_resumes_and_only_the_rest_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, before| {
        let mut reply = Reply::ranged(&content(), request);
        reply.cut = (before < 4).then_some(30_000);
        reply
    });
    let path = store(&folder).fetch(&release(&server.address), &mut quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    // Four cuts are more than the attempts allowed, but each brought something.
    let from: Vec<_> = server.requests().iter().map(Request::from).collect();
    assert_eq!(from, [None, Some(30_000), Some(60_000), Some(90_000), Some(120_000)]);
}

#[test]
fn a_transfer_without_a_length_that_ends_early_resumes_where_the_length_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, before| {
        let cut = (before == 0).then_some(30_000);
        Reply { cut, unannounced: true, ..Reply::ranged(&content(), request) }
    });
    let of_known_length = |server: &Server| {
        let bytes = Some(content().len() as u64);
        WeightsEntry { bytes, ..release(&server.address) }
    };
    let path = store(&folder).fetch(&of_known_length(&server), &mut quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
    let from: Vec<_> = server.requests().iter().map(Request::from).collect();
    assert_eq!(from, [None, Some(30_000)]);

    // A short answer in chunks came whole, and is something else.
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| {
        let page = Reply::file(b"6\r\n<html>\r\n0\r\n\r\n").header("Transfer-Encoding", "chunked");
        Reply { unannounced: true, ..page }
    });
    let error = refused(&of_known_length(&server), &store(&folder), &folder);
    assert!(error.to_string().contains("web page"), "{error}");
    assert_eq!(server.gets(), 1);
}

#[test]
fn a_later_call_resumes_what_an_earlier_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, before| {
        if before == 0 {
            return Reply { cut: Some(50_000), ..Reply::file(&content()) };
        }
        if before < 4 { Reply::status(503) } else { Reply::ranged(&content(), request) }
    });
    let (mut impatient, entry) = (store(&folder), release(&server.address));
    impatient.retry.attempts = 1;
    for _ in 0..4 {
        refused(&entry, &impatient, &folder);
    }
    impatient.fetch(&entry, &mut quiet).unwrap();
    assert_eq!(server.requests().last().unwrap().from(), Some(50_000));
}

#[test]
fn a_server_without_ranges_is_asked_for_everything() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::start(|_, before| Reply { cut: (before == 0).then_some(30_000), ..Reply::file(&content()) });
    let path = store(&folder).fetch(&release(&server.address), &mut quiet).unwrap();
    assert_eq!(fs::read(path).unwrap(), content());
}

#[test]
fn a_partial_file_of_another_content_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| Reply::ranged(&content(), request));
    let (store, entry) = (store(&folder), release(&server.address));
    for wrong in [vec![1; 500], vec![1; content().len()], vec![1; content().len() + 9]] {
        fs::create_dir_all(&store.releases).unwrap();
        fs::write(store.releases.join(format!("{}.part", entry.release_file().unwrap())), wrong).unwrap();
        let path = store.fetch(&entry, &mut quiet).unwrap();
        assert_eq!(fs::read(path).unwrap(), content());
        store.remove(&entry).unwrap();
    }
}

#[test]
fn a_complete_partial_file_is_not_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| Reply::ranged(&content(), request));
    let (store, entry) = (store(&folder), release(&server.address));
    fs::create_dir_all(&store.releases).unwrap();
    fs::write(store.releases.join(format!("{}.part", entry.release_file().unwrap())), content()).unwrap();
    store.fetch(&entry, &mut quiet).unwrap();
    let from: Vec<_> = server.requests().iter().map(Request::from).collect();
    assert_eq!(from, [Some(content().len())]);
}

#[test]
fn what_passes_is_tried_again_and_retry_after_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, before| match before {
        0 => Reply::status(429).header("Retry-After", "1"),
        1 => Reply::status(502),
        _ => Reply::ranged(&content(), request),
    });
    let mut waits = Vec::new();
    let mut events = |event: FetchEvent<'_>| {
        if let FetchEvent::Retry { wait, .. } = event {
            waits.push(wait);
        }
    };
    store(&folder).fetch(&release(&server.address), &mut events).unwrap();
    assert_eq!(waits, [Duration::from_secs(1), Duration::from_millis(10)]);
}

#[test]
fn a_server_that_stays_broken_or_asks_for_too_much_patience_is_given_up() {
    for (status, wait, requests) in [(500, None, 3), (503, Some("3600"), 1), (429, None, 3), (404, None, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(move |_, _| {
            let reply = Reply::status(status);
            wait.map_or(reply.clone(), |wait| reply.header("Retry-After", wait))
        });
        let error = refused(&release(&server.address), &store(&folder), &folder);
        assert!(error.to_string().contains(&format!("status {status}")), "{error}");
        assert_eq!(server.requests().len(), requests, "{status}");
    }
}

#[test]
fn wrong_content_never_becomes_a_file() {
    type Case = (&'static str, fn(&Request) -> Reply);
    let cases: [Case; 6] = [
        ("expected", |_| Reply::file(b"something else")),
        ("Git LFS pointer", |_| Reply::file(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")),
        ("web page", |_| Reply::file(b"<!DOCTYPE html><html>log in</html>")),
        ("cannot be reached", |_| Reply { length: Some(content().len() + 1), ..Reply::file(&content()) }),
        ("expected", |_| Reply { body: content()[..9999].to_vec(), ..Reply::file(&[]) }),
        ("continue", |_| Reply::file(&content()).header("Content-Range", "bytes 7-9/10").with_status(206)),
    ];
    for (said, reply) in cases {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(move |request, _| reply(request));
        let error = refused(&release(&server.address), &store(&folder), &folder);
        assert!(error.to_string().contains(said), "{error}");
    }
}

trait WithStatus {
    fn with_status(self, status: u16) -> Self;
}

impl WithStatus for Reply {
    fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

#[test]
fn a_length_other_than_the_published_one_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| Reply::ranged(&content(), request));
    let entry = WeightsEntry { bytes: Some(100), ..release(&server.address) };
    let error = refused(&entry, &store(&folder), &folder);
    assert!(error.to_string().contains("200000 bytes, 100 were expected"), "{error}");
}

#[test]
fn a_silent_server_is_left_after_the_time_allowed_and_a_slow_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let silent = Server::start(|_, _| Reply { pause: Duration::from_secs(20), ..Reply::file(&content()) });
    let mut store = store(&folder);
    store.retry.attempts = 1;
    store.retry.silence = Duration::from_millis(300);
    let started = std::time::Instant::now();
    let error = refused(&release(&silent.address), &store, &folder);
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));

    // Slower in sum than the silence allowed.
    let slow = Server::start(|_, _| Reply { pause: Duration::from_millis(150), ..Reply::file(&content()) });
    store.fetch(&release(&slow.address), &mut quiet).unwrap();
}

#[test]
fn endless_redirects_and_connections_refused_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let circle = Server::start(|_, _| Reply::redirect(302, "/again"));
    let error = refused(&release(&circle.address), &store(&folder), &folder);
    assert!(error.to_string().contains("redirects"), "{error}");
    let error = refused(&release("http://127.0.0.1:9"), &store(&folder), &folder);
    assert!(matches!(error, Error::Network { .. }), "{error}");
}

#[test]
fn redirects_name_a_host_without_its_scheme_and_paths_that_hold_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Server::start(|request, _| Reply::ranged(&content(), request));
    let to = format!("{}/there", storage.address.strip_prefix("http:").unwrap());
    let host = Server::start(move |_, before| match before {
        0 => Reply::redirect(302, "/here?from=https://elsewhere.invalid/x"),
        _ => Reply::redirect(302, to.clone()),
    });
    store(&folder).fetch(&release(&host.address), &mut quiet).unwrap();
    assert_eq!(host.requests()[1].path, "/here?from=https://elsewhere.invalid/x");
    assert_eq!(storage.requests()[0].path, "/there");
}

#[test]
fn an_error_does_not_show_the_signature_of_a_redirect() {
    let folder = tempfile::tempdir().unwrap();
    let host = Server::start(|_, _| Reply::redirect(302, "http://127.0.0.1:9/blob?signature=secret"));
    let error = refused(&release(&host.address), &store(&folder), &folder);
    assert!(matches!(&error, Error::Network { url, .. } if url == "http://127.0.0.1:9/blob"), "{error:?}");
}

#[test]
fn the_mirror_stands_in_place_of_github() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = Server::start(|request, _| Reply::ranged(&content(), request));
    let entry = release("https://github.com/rwightman/efficientdet-pytorch/releases/download");
    let store = WeightsStore { mirror: Some(format!("{}/gh", mirror.address)), ..store(&folder) };
    store.fetch(&entry, &mut quiet).unwrap();
    let path = &mirror.requests()[0].path;
    assert!(path.starts_with("/gh/rwightman/efficientdet-pytorch/releases/download/v0.1/weights-"), "{path}");
}

#[test]
fn offline_nothing_is_asked_and_what_is_there_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| Reply::ranged(&content(), request));
    let entry = release(&server.address);
    let offline = WeightsStore { offline: true, ..store(&folder) };
    let error = refused(&entry, &offline, &folder);
    assert!(error.to_string().contains("EFFDET_OFFLINE"), "{error}");
    assert!(server.requests().is_empty());
    let path = store(&folder).fetch(&entry, &mut quiet).unwrap();
    assert_eq!(offline.fetch(&entry, &mut quiet).unwrap(), path);
}

#[test]
fn what_the_reference_downloaded_is_used_if_its_hash_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let torch = folder.path().join("torch");
    fs::create_dir_all(&torch).unwrap();
    let entry = release("http://127.0.0.1:9");
    let file = torch.join(entry.release_file().unwrap());
    let store = WeightsStore { torch_hub: Some(torch), offline: true, ..store(&folder) };
    fs::write(&file, b"cut short").unwrap();
    assert_eq!(store.locate(&entry).unwrap(), None);
    fs::write(&file, content()).unwrap();
    assert_eq!(store.fetch(&entry, &mut quiet).unwrap(), file);
    assert!(store.remove(&entry).unwrap().is_empty() && file.exists());
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPOSITORY: &str = "timm/tf_efficientnet_b0.ns_jft_in1k";

/// The Hub and its storage host, which must never see the token.
fn hub(storage: fn(&Request, usize) -> Reply) -> (Server, Server) {
    let storage = Server::start(storage);
    let to = format!("{}/blob?signature=x", storage.address);
    let hub = Server::start(move |request, _| {
        if !request.path.ends_with("/resolve/main/model.safetensors") {
            return Reply::status(404).header("X-Error-Message", "Entry not found");
        }
        Reply::redirect(302, to.clone())
            .header("X-Repo-Commit", COMMIT)
            .header("X-Linked-Etag", format!("\"{}\"", hash(&content())))
            .header("X-Linked-Size", content().len().to_string())
            .header("ETag", "\"pointer\"")
    });
    (hub, storage)
}

#[test]
fn a_file_of_the_hub_lies_in_its_cache_as_python_lays_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, storage) = hub(|request, _| Reply::ranged(&content(), request));
    let store = WeightsStore {
        hub_endpoint: hub.address.clone(),
        hub_token: Some("hf_secret".into()),
        ..store(&folder)
    };
    let entry = hub_only();
    let path = store.fetch(&entry, &mut quiet).unwrap();
    let cache = folder.path().join("hub/models--timm--tf_efficientnet_b0.ns_jft_in1k");
    assert_eq!(path, cache.join("snapshots").join(COMMIT).join("model.safetensors"));
    assert_eq!(fs::read(&path).unwrap(), content());
    #[cfg(unix)]
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../blobs").join(hash(&content())));
    assert_eq!(fs::read_to_string(cache.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(files(&cache.join("blobs")), BTreeSet::from([hash(&content())]));

    let asked = hub.requests();
    assert_eq!(asked[0].path, format!("/{REPOSITORY}/resolve/main/model.safetensors"));
    assert!(asked.iter().all(|request| request.headers["authorization"] == "Bearer hf_secret"));
    assert!(storage.requests().iter().all(|request| !request.headers.contains_key("authorization")));

    // From now on no request is needed.
    store.fetch(&entry, &mut quiet).unwrap();
    assert_eq!((hub.requests().len(), storage.gets()), (asked.len(), 1));
    assert_eq!(store.verify(&entry).unwrap().unwrap().compared, 64);
    fs::write(fs::canonicalize(&path).unwrap(), b"changed").unwrap();
    assert!(matches!(store.verify(&entry), Err(Error::WrongHash { .. })));
    store.remove(&entry).unwrap();
    assert_eq!(store.locate(&entry).unwrap(), None);
    assert_eq!(files(&cache.join("blobs")), BTreeSet::new());
}

#[test]
fn a_file_that_python_put_into_the_cache_is_used_offline() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("hub/models--timm--tf_efficientnet_b0.ns_jft_in1k");
    let snapshot = cache.join("snapshots").join(COMMIT);
    for made in [&cache.join("refs"), &cache.join("blobs"), &snapshot] {
        fs::create_dir_all(made).unwrap();
    }
    fs::write(cache.join("refs/main"), COMMIT).unwrap();
    fs::write(snapshot.join("model.safetensors"), content()).unwrap();
    let store = WeightsStore { offline: true, ..store(&folder) };
    assert_eq!(store.fetch(&hub_only(), &mut quiet).unwrap(), snapshot.join("model.safetensors"));
}

#[cfg(unix)]
#[test]
fn what_is_right_in_the_hubs_cache_is_left_alone_and_what_is_wrong_is_replaced() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let (hub, storage) = hub(|request, _| Reply::ranged(&content(), request));
    let store = WeightsStore { hub_endpoint: hub.address.clone(), ..store(&folder) };
    let cache = folder.path().join("hub/models--timm--tf_efficientnet_b0.ns_jft_in1k");
    let path = store.fetch(&hub_only(), &mut quiet).unwrap();
    let inode = || fs::symlink_metadata(&path).unwrap().ino();
    let before = inode();

    // Between the first look at the cache and the lock another process puts the file there, and reads it since.
    fs::remove_file(cache.join("refs/main")).unwrap();
    assert_eq!(store.fetch(&hub_only(), &mut quiet).unwrap(), path);
    assert_eq!((inode(), storage.gets()), (before, 1));

    fs::remove_file(cache.join("refs/main")).unwrap();
    fs::write(cache.join("blobs").join(hash(&content())), b"cut short").unwrap();
    assert_eq!(store.fetch(&hub_only(), &mut quiet).unwrap(), path);
    assert_eq!((fs::read(&path).unwrap(), storage.gets()), (content(), 2));
    assert_eq!(fs::read_to_string(cache.join("refs/main")).unwrap(), COMMIT);
    let left = files(folder.path());
    assert!(left.iter().all(|name| !name.ends_with(".part") && !name.ends_with(".tmp")), "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_blob_that_another_snapshot_links_to_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, _storage) = hub(|request, _| Reply::ranged(&content(), request));
    let store = WeightsStore { hub_endpoint: hub.address.clone(), ..store(&folder) };
    let path = store.fetch(&hub_only(), &mut quiet).unwrap();
    let older = path.parent().unwrap().with_file_name("0".repeat(40));
    fs::create_dir(&older).unwrap();
    let other = older.join("model.safetensors");
    fs::copy(&path, older.join("copy.safetensors")).unwrap();
    std::os::unix::fs::symlink(Path::new("../../blobs").join(hash(&content())), &other).unwrap();

    assert_eq!(store.remove(&hub_only()).unwrap(), std::slice::from_ref(&path));
    assert_eq!(fs::read(&other).unwrap(), content());

    // With that link gone it goes as well.
    fs::remove_file(&other).unwrap();
    store.fetch(&hub_only(), &mut quiet).unwrap();
    assert_eq!(store.remove(&hub_only()).unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_cache_that_is_reached_through_a_link_is_cleared_as_well() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("disk")).unwrap();
    std::os::unix::fs::symlink("disk", folder.path().join("hub")).unwrap();
    let (hub, _storage) = hub(|request, _| Reply::ranged(&content(), request));
    let store = WeightsStore { hub_endpoint: hub.address.clone(), ..store(&folder) };
    store.fetch(&hub_only(), &mut quiet).unwrap();
    assert_eq!(store.remove(&hub_only()).unwrap().len(), 2);
    let cache = folder.path().join("disk/models--timm--tf_efficientnet_b0.ns_jft_in1k");
    assert_eq!(files(&cache), BTreeSet::from(["refs/main".to_owned()]));
}

#[test]
fn a_transfer_from_the_hub_resumes_and_a_wrong_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (server, storage) = hub(|request, before| {
        let reply = Reply::ranged(&content(), request);
        Reply { cut: (before == 0).then_some(70_000), ..reply }
    });
    let resuming = WeightsStore { hub_endpoint: server.address.clone(), ..store(&folder) };
    resuming.fetch(&hub_only(), &mut quiet).unwrap();
    assert_eq!(storage.requests().last().unwrap().from(), Some(70_000));

    let folder = tempfile::tempdir().unwrap();
    let (server, _) = hub(|_, _| Reply::file(&vec![0; content().len()]));
    let fooled = WeightsStore { hub_endpoint: server.address.clone(), ..store(&folder) };
    let error = refused(&hub_only(), &fooled, &folder);
    assert!(matches!(error, Error::WrongHash { .. }), "{error}");
}

#[test]
fn refusals_of_the_hub_say_what_to_do() {
    type Case = (&'static str, Option<&'static str>, fn() -> Reply);
    let cases: [Case; 6] = [
        ("set HF_TOKEN", None, || Reply::status(401)),
        ("token is not accepted", Some("hf_old"), || Reply::status(401)),
        ("Repository not found", None, || {
            Reply::status(404).header("X-Error-Message", "Repository not found")
        }),
        ("access is not granted", Some("hf_x"), || Reply::status(403)),
        ("no commit", None, || Reply::file(b"hello")),
        ("no SHA-256", None, || Reply::file(b"x").header("X-Repo-Commit", COMMIT).header("ETag", "\"abc\"")),
    ];
    for (said, token, reply) in cases {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(move |_, _| reply());
        let store = WeightsStore {
            hub_endpoint: server.address.clone(),
            hub_token: token.map(str::to_owned),
            ..store(&folder)
        };
        let error = refused(&hub_only(), &store, &folder);
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_commit_or_hash_that_is_a_path_is_refused() {
    for (commit, tag) in [("../../../outside", "0".repeat(64)), (COMMIT, "../../outside".into())] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(move |_, _| {
            Reply::file(b"x").header("X-Repo-Commit", commit).header("X-Linked-Etag", tag.clone())
        });
        let store = WeightsStore { hub_endpoint: server.address.clone(), ..store(&folder) };
        refused(&hub_only(), &store, &folder);
    }
}

#[test]
fn the_release_is_taken_where_the_hub_fails() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| Reply::ranged(&content(), request));
    let entry = WeightsEntry { hub: Some(REPOSITORY.into()), ..release(&server.address) };
    let path = store(&folder).fetch(&entry, &mut quiet).unwrap();
    assert!(path.starts_with(folder.path().join("releases")));

    let folder = tempfile::tempdir().unwrap();
    let entry = WeightsEntry { hub: Some(REPOSITORY.into()), ..release("http://127.0.0.1:9") };
    let error = refused(&entry, &store(&folder), &folder);
    assert!(matches!(&error, Error::NoSource { errors, .. } if errors.len() == 2), "{error}");
}

#[test]
fn one_folder_can_take_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, _storage) = hub(|request, _| Reply::ranged(&content(), request));
    let releases = Server::start(|request, _| Reply::ranged(&content(), request));
    let store = WeightsStore {
        folder: Some(folder.path().join("all")),
        hub_endpoint: hub.address.clone(),
        ..store(&folder)
    };
    let detector = release(&releases.address);
    let here = |name: &str| folder.path().join("all").join(name);
    let file = here(detector.release_file().unwrap());
    // Something of that name is not taken for it.
    fs::create_dir(folder.path().join("all")).unwrap();
    fs::write(&file, b"cut short").unwrap();
    assert_eq!(store.locate(&detector).unwrap(), None);
    assert!(matches!(store.verify(&detector), Err(Error::WrongHash { .. })));
    assert_eq!(store.fetch(&detector, &mut quiet).unwrap(), file);
    assert_eq!(fs::read(&file).unwrap(), content());
    let backbone = store.fetch(&hub_only(), &mut quiet).unwrap();
    assert_eq!(backbone, here("tf_efficientnet_b0.ns_jft_in1k.safetensors"));
    let verified = store.verify(&hub_only()).unwrap().unwrap();
    assert_eq!(verified.compared, 64);
}

#[test]
fn a_release_file_keeps_its_name_in_one_folder_though_there_is_a_hub() {
    let folder = tempfile::tempdir().unwrap();
    let releases = Server::start(|request, _| Reply::ranged(&content(), request));
    let entry = WeightsEntry { hub: Some(REPOSITORY.into()), ..release(&releases.address) };
    let store = WeightsStore { folder: Some(folder.path().into()), ..store(&folder) };
    let path = store.fetch(&entry, &mut quiet).unwrap();
    assert_eq!(path, folder.path().join(entry.release_file().unwrap()));
    assert_eq!(store.locate(&entry).unwrap().as_ref(), Some(&path));
    assert_eq!(store.verify(&entry).unwrap().unwrap().path, path);
    store.remove(&entry).unwrap();
    assert_eq!(files(folder.path()), BTreeSet::new());
}

#[test]
fn threads_that_want_one_file_fetch_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|request, _| Reply {
        pause: Duration::from_millis(100),
        ..Reply::ranged(&content(), request)
    });
    let (store, entry) = (store(&folder), release(&server.address));
    let waited = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let path = store
                    .fetch(&entry, &mut |event| {
                        if matches!(event, FetchEvent::Waiting) {
                            waited.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    })
                    .unwrap();
                assert_eq!(fs::read(path).unwrap(), content());
            });
        }
    });
    assert_eq!((server.gets(), waited.into_inner()), (1, 3));
}
