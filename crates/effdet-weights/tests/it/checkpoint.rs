//! Sound files of every format.

use std::collections::BTreeMap;

use crate::common::{SHAPES, expected, fixture};
use effdet_weights::{Checkpoint, CheckpointOptions, DType, Error, Format};
use rstest::rstest;

#[rstest]
#[case::zip("zip.pth", Format::Zip, DType::F32)]
#[case::legacy("legacy.pth", Format::Legacy, DType::F32)]
#[case::tar("tar.pth", Format::Tar, DType::F32)]
#[case::half("half.pth", Format::Zip, DType::F16)]
#[case::bench("bench.pth", Format::Zip, DType::F32)]
fn bare_weights_are_read_from_every_format(#[case] file: &str, #[case] format: Format, #[case] dtype: DType) {
    let checkpoint = Checkpoint::open(fixture(file)).unwrap();
    assert_eq!(checkpoint.format(), format);
    assert_eq!(checkpoint.section(), None);
    assert!(checkpoint.metadata().is_empty());
    let mut names: Vec<_> = SHAPES.iter().map(|(name, _)| *name).chain(["bn1.num_batches_tracked"]).collect();
    names.sort_unstable();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), names);
    for (name, shape) in SHAPES {
        let info = checkpoint.get(name).unwrap();
        assert_eq!((info.dtype, info.shape.as_slice()), (dtype, shape), "{name}");
        assert_eq!(checkpoint.read_f32(name).unwrap(), expected(name, shape), "{name}");
    }
    assert_eq!(checkpoint.get("bn1.num_batches_tracked").unwrap().shape, [0usize; 0]);
    assert_eq!(checkpoint.read_f32("bn1.num_batches_tracked").unwrap(), [7.0]);
}

#[test]
fn a_bench_inside_another_module_is_taken_off_with_its_anchors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lightning.safetensors");
    let bytes = 1.5f32.to_le_bytes();
    let names = ["model.model.backbone.conv_stem.weight", "model.model.fpn.weight", "model.anchors.boxes"];
    let views =
        names.map(|name| (name, safetensors::tensor::TensorView::new(DType::F32, vec![1], &bytes).unwrap()));
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["backbone.conv_stem.weight", "fpn.weight"]);
}

#[rstest]
fn training_dictionaries_give_the_averaged_weights_unless_told_otherwise(
    #[values("training.pth.tar", "training_legacy.pth.tar")] file: &str,
) {
    for (use_ema, section, shift) in [(true, "state_dict_ema", 0.0), (false, "state_dict", 1.0)] {
        let checkpoint = Checkpoint::open_with(fixture(file), &CheckpointOptions { use_ema }).unwrap();
        assert_eq!(checkpoint.section(), Some(section));
        assert_eq!(checkpoint.len(), SHAPES.len() + 1);
        for (name, shape) in SHAPES {
            let values: Vec<_> = expected(name, shape).iter().map(|value| value + shift).collect();
            assert_eq!(checkpoint.read_f32(name).unwrap(), values, "{name}");
        }
    }
}

#[test]
fn every_element_type_and_memory_layout_reads_as_f32_in_row_major_order() {
    let checkpoint = Checkpoint::open(fixture("mixed.pth")).unwrap();
    let read = |name: &str| checkpoint.read_f32(name).unwrap();
    for name in ["f64", "f16", "bf16"] {
        assert_eq!(read(name), [0.0, 0.125, 0.25, 0.375, 0.5, 0.625], "{name}");
    }
    for name in ["i64", "i32", "i16", "i8"] {
        assert_eq!(read(name), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0], "{name}");
    }
    assert_eq!(read("u8"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(read("bool"), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(checkpoint.get("transposed").unwrap().shape, [3, 2]);
    assert_eq!(read("transposed"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(read("scalar"), [0.5]);
    assert_eq!(read("channels_last"), (0..16u8).map(f32::from).collect::<Vec<_>>());
}

#[test]
fn safetensors_give_tensors_and_metadata() {
    let folder = tempfile::tempdir().unwrap();
    // The extension says nothing.
    let path = folder.path().join("weights.bin");
    let ones = 1.0f32.to_le_bytes().repeat(6);
    let tensors = [
        ("module.a", safetensors::tensor::TensorView::new(DType::F32, vec![2, 3], &ones).unwrap()),
        ("module.c", safetensors::tensor::TensorView::new(DType::C64, vec![3], &ones).unwrap()),
    ];
    let metadata = std::collections::HashMap::from([("effdet.model".to_owned(), "tiny".to_owned())]);
    std::fs::write(&path, safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();

    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.format(), Format::Safetensors);
    assert_eq!(checkpoint.metadata(), &BTreeMap::from([("effdet.model".to_owned(), "tiny".to_owned())]));
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(checkpoint.read_f32("a").unwrap(), [1.0; 6]);
    assert!(matches!(checkpoint.read_f32("c"), Err(Error::UnsupportedDType { dtype: DType::C64, .. })));
    assert!(matches!(checkpoint.read_f32("b"), Err(Error::NoSuchTensor { name, .. }) if name == "b"));
}

#[test]
fn two_names_that_differ_by_a_wrapper_prefix_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let one = 1.0f32.to_le_bytes();
    let view = || safetensors::tensor::TensorView::new(DType::F32, vec![1], &one).unwrap();
    let bytes = safetensors::serialize([("module.a", view()), ("a", view())], None).unwrap();
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(Checkpoint::open(&path), Err(Error::DuplicateName { name, .. }) if name == "a"));
}
