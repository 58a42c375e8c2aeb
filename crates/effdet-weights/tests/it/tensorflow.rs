//! Weights of the official TensorFlow implementation (`tools/golden/make_h5.py`).

use std::fs;
use std::path::{Path, PathBuf};

use effdet_weights::{Checkpoint, DType, Error, Format, convert_checkpoint};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keras.h5")
}

#[test]
fn a_keras_file_has_the_names_shapes_and_order_of_effdet() {
    let checkpoint = Checkpoint::open(fixture()).unwrap();
    assert_eq!(checkpoint.format(), Format::Hdf5);
    let names: Vec<_> = checkpoint.names().map(|n| (n, checkpoint.get(n).unwrap().shape.clone())).collect();
    let wanted = [
        ("backbone.blocks.0.0.bn1.running_var", vec![4]),
        ("backbone.blocks.0.0.conv_dw.weight", vec![4, 1, 3, 3]),
        ("backbone.conv_stem.weight", vec![4, 3, 3, 3]),
        ("class_net.bn_rep.0.0.bn.weight", vec![2]),
        ("class_net.predict.conv_pw.bias", vec![18]),
        ("fpn.cell.0.fnode.0.after_combine.conv.conv_pw.weight", vec![3, 2, 1, 1]),
        ("fpn.cell.0.fnode.0.combine.edge_weights", vec![2]),
        ("fpn.resample.3.conv.conv.bias", vec![2]),
    ];
    assert_eq!(names, wanted);

    // Element [o, i, h, w] is the variable's [h, w, i, o].
    let stem = checkpoint.read_f32("backbone.conv_stem.weight").unwrap();
    let at = |o: usize, i: usize, h: usize, w: usize| stem[((o * 3 + i) * 3 + h) * 3 + w];
    for (o, i, h, w) in [(0, 0, 0, 0), (3, 2, 1, 0), (1, 0, 2, 2)] {
        assert_eq!(at(o, i, h, w), (((h * 3 + w) * 3 + i) * 4 + o) as f32 / 8.0);
    }
    let depthwise = checkpoint.read_f32("backbone.blocks.0.0.conv_dw.weight").unwrap();
    assert_eq!(depthwise[..3], [0.0, 0.5, 1.0]);
    assert_eq!(checkpoint.read_f32("fpn.cell.0.fnode.0.combine.edge_weights").unwrap(), [0.0, 0.0]);
}

#[test]
fn a_converted_file_has_the_counters_that_pytorch_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("converted.safetensors");
    let keras = Checkpoint::open(fixture()).unwrap();
    convert_checkpoint(&keras, &path, &Default::default(), None).unwrap();
    let converted = Checkpoint::open(&path).unwrap();
    assert_eq!(converted.len(), keras.len() + 1);
    assert_eq!(converted.get("backbone.blocks.0.0.bn1.num_batches_tracked").unwrap().dtype, DType::I64);
    for name in keras.names() {
        assert_eq!(converted.read_f32(name).unwrap(), keras.read_f32(name).unwrap(), "{name}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.h5");
    let whole = fs::read(fixture()).unwrap();
    // Every cut in the structures, and every byte of them changed, gives a file or an error, and never more tensors.
    let mut refused = 0;
    for at in (8..whole.len()).step_by(37) {
        fs::write(&path, &whole[..at]).unwrap();
        if Checkpoint::open(&path).is_err() {
            refused += 1;
        }
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        fs::write(&path, &changed).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(&path) {
            assert!(checkpoint.len() <= 8);
            for name in checkpoint.names() {
                let _ = checkpoint.read_f32(name);
            }
        }
    }
    assert!(refused > 100, "{refused}");
    fs::write(&path, &whole[..8]).unwrap();
    assert!(matches!(Checkpoint::open(&path), Err(Error::Damaged { .. })));
}
