//! A detector trained by the reference implementation, in both of the forms it was saved in.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use effdet_weights::{Checkpoint, CheckpointOptions, Format};

/// The folder with the large reference files, or `None` where there is none.
fn shared(part: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("EFFDET_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = folder.join(part);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn a_trained_detector_has_the_reference_names_and_equal_weights_in_both_forms() {
    let Some(folder) = shared("checkpoints") else { return };
    let Some(shapes) = shared("golden/state-dict-shapes.json.gz") else { return };
    let shapes = flate2::read::GzDecoder::new(File::open(shapes).unwrap());
    let mut shapes: BTreeMap<String, BTreeMap<String, Vec<usize>>> = serde_json::from_reader(shapes).unwrap();
    let shapes = shapes.remove("tf_efficientdet_lite0").unwrap();

    let bare = Checkpoint::open(folder.join("tf_efficientdet_lite0-bccd.pth")).unwrap();
    let training = folder.join("tf_efficientdet_lite0-bccd.pth.tar");
    let averaged = Checkpoint::open(&training).unwrap();
    let last = Checkpoint::open_with(&training, &CheckpointOptions { use_ema: false }).unwrap();
    assert_eq!((bare.format(), bare.section()), (Format::Legacy, None));
    assert_eq!((averaged.format(), averaged.section()), (Format::Zip, Some("state_dict_ema")));
    assert_eq!(last.section(), Some("state_dict"));

    for checkpoint in [&bare, &averaged, &last] {
        assert_eq!(checkpoint.len(), 696);
        assert!(checkpoint.names().eq(shapes.keys()));
        for (name, shape) in &shapes {
            // Trained for 3 classes, not 90.
            if !name.starts_with("class_net.predict.conv_pw.") {
                assert_eq!(&checkpoint.get(name).unwrap().shape, shape, "{name}");
            }
        }
    }
    let mut changed = 0;
    for name in bare.names() {
        let value = bare.read_f32(name).unwrap();
        assert_eq!(value, averaged.read_f32(name).unwrap(), "{name}");
        changed += usize::from(value != last.read_f32(name).unwrap());
    }
    assert!(changed > 300, "the last weights should differ from the averaged ones, {changed} tensors do");
}
