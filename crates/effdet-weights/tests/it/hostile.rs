//! Damaged and malicious files: an error that names the file, no panic, no code run, no memory on a header's word.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::fixture;
use effdet_weights::{Checkpoint, Error};
use rstest::rstest;

const SOUND: [&str; 8] = [
    "zip.pth",
    "legacy.pth",
    "tar.pth",
    "half.pth",
    "bench.pth",
    "mixed.pth",
    "training.pth.tar",
    "training_legacy.pth.tar",
];

/// Opens a file and reads all of it.
fn read_all(path: &Path) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(path)?;
    for name in checkpoint.names() {
        checkpoint.read_f32(name)?;
    }
    Ok(())
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suspect.pth");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn error_of(bytes: &[u8]) -> Error {
    let (_folder, path) = written(bytes);
    let error = read_all(&path).expect_err("the file should be refused");
    assert!(error.to_string().contains("suspect.pth"), "does not name the file: {error}");
    error
}

fn safetensors_file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A sound safetensors file.
fn sound_safetensors() -> Vec<u8> {
    let header = r#"{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[2,1],"data_offsets":[8,12]}}"#;
    safetensors_file(header, &[1; 12])
}

#[rstest]
#[case::in_a_state_dict("hostile_code.pth")]
#[case::alone("hostile_code.pkl")]
fn a_pickle_that_would_run_a_command_is_refused_by_name_and_runs_nothing(#[case] file: &str) {
    let error = Checkpoint::open(fixture(file)).unwrap_err();
    assert!(matches!(&error, Error::UnsafePickle { function, .. } if function == "posix.system"), "{error}");
    assert!(error.to_string().contains(file) && error.to_string().contains("nothing was run"), "{error}");
    assert!(!Path::new("effdet-weights-hostile-pickle-ran").exists());
}

#[test]
fn an_expanded_view_of_eight_gigabytes_is_refused_when_read() {
    let checkpoint = Checkpoint::open(fixture("hostile_expanded.pth")).unwrap();
    let error = checkpoint.read_f32("weight").unwrap_err();
    assert!(matches!(error, Error::TooLarge { claimed, .. } if claimed == 4 << 31), "{error}");
}

#[test]
fn archive_entries_larger_than_the_archive_are_refused() {
    for file in ["hostile_deflated.pth", "hostile_sparse.tar"] {
        let error = Checkpoint::open(fixture(file)).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. } | Error::Damaged { .. }), "{file}: {error}");
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[test]
fn a_zip64_record_that_claims_a_huge_directory_is_refused() {
    let record = |count: u64, size: u64| {
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.resize(2000, 0);
        let start = bytes.len() as u64;
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0]);
        bytes.extend([0; 8]);
        for field in [count, count, size, 4] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(start.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
        bytes
    };
    for (count, size) in [(1 << 60, 1 << 60), (u64::MAX, u64::MAX), (1000, 46_000)] {
        let error = error_of(&record(count, size));
        assert!(error.to_string().contains("more entries than fit"), "{error}");
    }
    error_of(&record(1, 46));
    // A second directory, for a reader that falls back to an earlier one.
    let two = [record(1 << 40, 1 << 60), record(1, 46)].concat();
    assert!(error_of(&two).to_string().contains("more than one"));
}

#[test]
fn a_legacy_storage_that_claims_a_petabyte_is_refused() {
    // The element count of the first storage, a BININT1 after its location and memo entry, becomes a LONG1 of 2^50.
    let bytes = fs::read(fixture("legacy.pth")).unwrap();
    let at = bytes.windows(4).position(|at| at == b"cpuq").expect("a storage on the cpu") + 5;
    assert_eq!(bytes[at..at + 2], [b'K', 108]);
    let bytes = [&bytes[..at], b"\x8a\x07\0\0\0\0\0\0\x04", &bytes[at + 2..]].concat();
    let error = error_of(&bytes);
    assert!(matches!(error, Error::Pytorch { .. }), "{error}");
}

#[rstest]
#[case::huge(1 << 60)]
#[case::largest(u64::MAX)]
#[case::one_past_the_end(10_000)]
fn a_safetensors_header_longer_than_the_file_is_refused(#[case] length: u64) {
    let mut bytes = sound_safetensors();
    bytes[..8].copy_from_slice(&length.to_le_bytes());
    assert!(error_of(&bytes).to_string().contains("its header claims"));
}

#[rstest]
#[case::overlap(r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}"#)]
#[case::gap(r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}}"#)]
#[case::backwards(r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[12,0]}}"#)]
#[case::past_the_end(r#"{"a":{"dtype":"U8","shape":[13],"data_offsets":[0,13]}}"#)]
#[case::short(r#"{"a":{"dtype":"U8","shape":[11],"data_offsets":[0,11]}}"#)]
#[case::wrong_size(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,12]}}"#)]
#[case::enormous(
    r#"{"a":{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]}}"#
)]
#[case::the_whole_address_space(
    r#"{"a":{"dtype":"U8","shape":[2305843009213693951],"data_offsets":[0,2305843009213693951]}}"#
)]
#[case::overflow(r#"{"a":{"dtype":"F64","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,12]}}"#)]
#[case::negative(r#"{"a":{"dtype":"F64","shape":[-1],"data_offsets":[0,12]}}"#)]
#[case::not_json("{")]
#[case::no_tensors("{}")]
fn safetensors_offsets_that_do_not_fit_are_refused(#[case] header: &str) {
    let error = error_of(&safetensors_file(header, &[0; 12]));
    assert!(matches!(error, Error::Safetensors { .. }), "{error}");
}

#[rstest]
#[case::empty(b"", "it is empty")]
#[case::page(b"<!DOCTYPE html><html></html>", "web page")]
#[case::pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer")]
#[case::picture(b"\x89PNG\r\n\x1a\nabcdefgh", "no known format")]
#[case::settings(b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s.", "pickle without tensors")]
fn files_that_are_no_checkpoints_are_described(#[case] bytes: &[u8], #[case] found: &str) {
    let error = error_of(bytes);
    assert!(matches!(error, Error::UnknownFormat { .. }), "{error}");
    assert!(error.to_string().contains(found), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Checkpoint::open("no/such/file.pth").unwrap_err();
    assert!(
        matches!(&error, Error::Read { .. }) && error.to_string().contains("no/such/file.pth"),
        "{error}"
    );
}

#[test]
fn a_safetensors_file_cut_anywhere_is_refused() {
    let bytes = sound_safetensors();
    for length in 0..bytes.len() {
        error_of(&bytes[..length]);
    }
    let (_folder, path) = written(&bytes);
    read_all(&path).unwrap();
}

#[rstest]
fn a_file_cut_anywhere_is_refused(#[values("zip.pth", "legacy.pth")] file: &str) {
    let bytes = fs::read(fixture(file)).unwrap();
    for length in 0..bytes.len() {
        error_of(&bytes[..length]);
    }
}

/// xorshift64*: the same damage on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[test]
fn random_damage_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let mut files: Vec<_> = SOUND.iter().map(|file| (*file, fs::read(fixture(file)).unwrap())).collect();
    files.push(("safetensors", sound_safetensors()));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    let mut refused = 0;
    for case in 0..4000 {
        if start.elapsed() > Duration::from_secs(15) {
            break;
        }
        let (file, sound) = &files[case % files.len()];
        let mut bytes = sound.clone();
        match random.below(4) {
            0 => bytes.truncate(random.below(bytes.len())),
            // One to eight bytes become anything, or a value at the edge of its range.
            kind => {
                for _ in 0..=random.below(8) {
                    let at = random.below(bytes.len());
                    bytes[at] = if kind == 1 {
                        random.below(256) as u8
                    } else {
                        [0, 1, 0x7f, 0x80, 0xff][random.below(5)]
                    };
                }
            }
        }
        fs::write(&path, &bytes).unwrap();
        match catch_unwind(AssertUnwindSafe(|| read_all(&path))) {
            Ok(result) => refused += usize::from(result.is_err()),
            Err(_) => panic!("case {case} on {file} panicked"),
        }
    }
    // Damage to a tensor's values cannot be seen, except in a zip, which has checksums.
    assert!(refused > 400, "only {refused} cases were refused");
}
