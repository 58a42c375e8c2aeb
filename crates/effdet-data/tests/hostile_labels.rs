//! Damaged label files: truncated anywhere and with bytes changed. Nothing panics, hangs or takes much memory.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use effdet_data::format::{coco, csv, open_images, via, voc, yolo};
use effdet_data::{
    DirtKind, Error, Format, LabelFormat, ParseOptions, Parsed, Policies, Policy, Source, header_of_bytes,
};

/// Counts the bytes that are held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Far more than these files of a few kilobytes need.
const MOST_BYTES: usize = 256 << 20;

type Parser = fn(&[u8], &str, &ParseOptions) -> Result<Parsed, Error>;

fn yaml(bytes: &[u8], name: &str, _: &ParseOptions) -> Result<Parsed, Error> {
    yolo::names_of_yaml(bytes, name).map(|_| Parsed { dataset: Default::default(), dirt: Default::default() })
}

fn header(bytes: &[u8], name: &str, _: &ParseOptions) -> Result<Parsed, Error> {
    header_of_bytes(bytes, name).map(|_| Parsed { dataset: Default::default(), dirt: Default::default() })
}

const PARSERS: [(&str, Parser); 8] = [
    ("coco", coco::parse_bytes),
    ("voc", voc::parse_bytes),
    ("via", via::parse_bytes),
    ("open_images", open_images::parse_bytes),
    ("yolo", yolo::parse_bytes),
    ("csv", csv::parse_bytes),
    ("yaml", yaml),
    ("header", header),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats")
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
    found.sort();
}

fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 20) as usize
}

/// A copy with a few bytes changed, removed or repeated.
fn damaged(bytes: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + next(state) % 4 {
        if bytes.is_empty() {
            break;
        }
        let at = next(state) % bytes.len();
        match next(state) % 5 {
            0 => bytes[at] ^= 1 << (next(state) % 8),
            1 => bytes[at] = b"0123456789eE+-.,:;{}[]<>&\"'/\\ \n\0\xFF"[next(state) % 33],
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            _ => {
                let end = (at + 1 + next(state) % 64).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn lenient() -> ParseOptions {
    let policies = Policies::default().with(DirtKind::Malformed, Policy::Skip);
    ParseOptions { policies, ..ParseOptions::default() }
}

#[test]
fn damaged_files_never_panic_hang_or_take_much_memory() {
    let mut files = Vec::new();
    files_below(&fixtures(), &mut files);
    let inputs: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let (lenient, strict) = (lenient(), ParseOptions::default());
    let mut state = 0x9E37_79B9_7F4A_7C15;
    let mut cases = 0;
    for (path, bytes) in files.iter().zip(&inputs) {
        let is_text = matches!(
            path.extension().and_then(|e| e.to_str()),
            Some("json" | "xml" | "csv" | "txt" | "yaml")
        );
        for (name, parser) in PARSERS {
            // Each file goes through each parser, its own and the wrong ones, the latter less often.
            let fits = path.to_string_lossy().contains(&format!("/{name}")) || (name == "header") != is_text;
            let rounds = if fits { 40 } else { 4 };
            for round in 0..rounds {
                let input = if round == 0 { bytes.clone() } else { damaged(bytes, &mut state) };
                let start = Instant::now();
                PEAK.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
                drop(parser(&input, "some.jpg", &lenient));
                drop(parser(&input, "some.jpg", &strict));
                let peak = PEAK.load(Ordering::Relaxed);
                let about = || format!("{name} on {} ({} bytes)", path.display(), input.len());
                assert!(start.elapsed() < Duration::from_secs(10), "{} hangs", about());
                assert!(peak < MOST_BYTES, "{} holds {peak} bytes", about());
                cases += 1;
            }
        }
    }
    assert!(cases > 5000, "{cases}");
}

#[test]
fn every_truncation_of_a_label_file_is_survived() {
    for (name, parser) in [
        ("coco/annotations/instances_val.json", coco::parse_bytes as Parser),
        ("voc/Annotations/001.xml", voc::parse_bytes),
        ("via/v1.json", via::parse_bytes),
        ("open_images/validation-annotations-bbox.csv", open_images::parse_bytes),
        ("csv/train.csv", csv::parse_bytes),
        ("yolo/labels/train/a.txt", yolo::parse_bytes),
        ("yolo/data.yaml", yaml),
        ("coco/train/b.jpg", header),
    ] {
        let bytes = fs::read(fixtures().join(name)).unwrap();
        for length in 0..bytes.len() {
            drop(parser(&bytes[..length], "some.jpg", &lenient()));
        }
        if name.ends_with("json") {
            assert!(parser(&bytes[..bytes.len() - 1], name, &lenient()).is_err(), "{name}");
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => fs::copy(&path, &target).map(|_| ()).unwrap(),
        }
    }
}

#[test]
fn whole_data_sets_with_one_damaged_file_are_survived() {
    let mut state = 7;
    for (folder, format) in [
        ("coco", Format::Coco),
        ("coco_zero", Format::Coco),
        ("voc", Format::Voc),
        ("pets", Format::Pets),
        ("via", Format::Via),
        ("open_images", Format::OpenImages),
        ("yolo", Format::Yolo),
        ("yolo_bare", Format::Yolo),
        ("csv", Format::Csv),
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&fixtures().join(folder), copy.path());
        let mut files = Vec::new();
        files_below(copy.path(), &mut files);
        for path in files {
            let good = fs::read(&path).unwrap();
            for _ in 0..12 {
                fs::write(&path, damaged(&good, &mut state)).unwrap();
                drop(format.parse(&Source::new(copy.path()), &lenient()));
            }
            fs::write(&path, good).unwrap();
        }
        assert!(format.parse(&Source::new(copy.path()), &lenient()).is_ok(), "{folder}");
    }
}

/// Found by fuzzing: `image` allocates the length that the EXIF chunk of a WebP claims.
#[test]
fn a_webp_whose_exif_claims_gigabytes_costs_nothing() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decode/orientation_6.webp");
    let mut bytes = fs::read(fixture).unwrap();
    let upright = header_of_bytes(&bytes, "a.webp").unwrap().size;
    let exif = bytes.windows(4).position(|window| window == b"EXIF").unwrap();
    bytes[exif + 4..exif + 8].copy_from_slice(&0xF000_0000u32.to_le_bytes());
    PEAK.store(HELD.load(Ordering::Relaxed), Ordering::Relaxed);
    let lying = header_of_bytes(&bytes, "a.webp").unwrap().size;
    assert!(PEAK.load(Ordering::Relaxed) < MOST_BYTES);
    assert_eq!((lying.width, lying.height), (upright.height, upright.width), "without orientation");
}

#[test]
fn numbers_that_promise_much_cost_nothing() {
    let coco = br#"{"images":[{"id":1,"file_name":"a","width":4294967295,"height":4294967295}],
        "annotations":[{"id":1,"image_id":1,"category_id":4294967295,"bbox":[0,0,1e30,1e38]}],
        "categories":[{"id":4294967295,"name":"far"}]}"#;
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let parsed = coco::parse_bytes(coco, "huge.json", &ParseOptions::default()).unwrap();
    assert_eq!(parsed.dataset.class_map.len(), u32::MAX as usize);
    drop(yolo::parse_bytes(b"4294967294 0.5 0.5 1 1\n", "a.txt", &ParseOptions::default()));
    drop(yolo::names_of_yaml(b"nc: 4294967295\nnames: {4294967295: far}\n", "data.yaml"));
    let bomb = b"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nnames: [*b,*b,*b,*b,*b,*b]\n";
    assert!(yolo::names_of_yaml(bomb, "bomb.yaml").is_err());
    let deep = "[".repeat(100_000);
    assert!(yolo::names_of_yaml(deep.as_bytes(), "deep.yaml").is_err());
    assert!(via::parse_bytes(deep.as_bytes(), "deep.json", &ParseOptions::default()).is_err());
    assert!(
        coco::parse_bytes(format!("{{\"a\":{deep}").as_bytes(), "deep.json", &ParseOptions::default())
            .is_err()
    );
    assert!(
        voc::parse_bytes("<a>".repeat(100_000).as_bytes(), "deep.xml", &ParseOptions::default()).is_err()
    );
    assert!(PEAK.load(Ordering::Relaxed) < MOST_BYTES);
}
