//! One network serves pictures of any size.

use burn::tensor::{Device, Tensor};
use effdet_bifpn::FpnGraph;
use effdet_core::ImageSize;
use effdet_heads::Frame;
use effdet_model::{EfficientDetConfig, Predictor};

fn predictor(config: EfficientDetConfig) -> Predictor {
    let config = EfficientDetConfig { channels: 8, cells: 1, repeats: 1, ..config }.with_num_classes(3);
    Predictor::new(config.init(&Device::flex()).unwrap(), config)
}

#[test]
fn sizes_change_between_calls_and_need_not_divide() {
    let configs = [
        EfficientDetConfig::named("tf_efficientdet_lite0").unwrap(),
        EfficientDetConfig::named("tf_efficientdet_d7x").unwrap(),
        EfficientDetConfig::named("resdet50").unwrap(),
        // averages blocks when it downsamples, and so rounds odd sizes down where all others round up
        EfficientDetConfig::with_backbone_named("mobilenetv4_conv_aa_medium").unwrap(),
        EfficientDetConfig::with_backbone_named("efficientnet_x_b3").unwrap(),
    ];
    for config in configs {
        let name = config.name.clone();
        let predictor = predictor(config);
        for (height, width) in [(64, 64), (97, 131), (33, 200), (64, 64)] {
            let size = ImageSize { height, width };
            let frame = Frame { scale: 1.0, size: Some(size), offset: (0.0, 0.0) };
            let pictures = Tensor::zeros([2, 3, height, width], &Device::flex());
            let detections = predictor.detect(pictures, &[Some(frame), None]).unwrap();
            assert_eq!(detections.len(), 2, "{name} {height}x{width}");
            for found in &detections[0] {
                let inside =
                    found.bbox.x1 >= 0.0 && found.bbox.x2 <= width as f32 && found.bbox.y2 <= height as f32;
                assert!(inside, "{name}: {found:?} outside {height}x{width}");
            }
        }
    }
}

#[test]
fn what_cannot_be_built_says_why() {
    let message = |config: EfficientDetConfig| config.init(&Device::flex()).unwrap_err().to_string();
    let good = || EfficientDetConfig::named("efficientdet_d0").unwrap();
    assert!(
        EfficientDetConfig::named("efficientdet_d9").unwrap_err().to_string().contains("efficientdet_d0")
    );
    assert!(message(good().with_num_classes(0)).contains("number of classes"));
    assert!(
        message(EfficientDetConfig { backbone: "efficientnet_b9".into(), ..good() })
            .contains("efficientnet_b0")
    );
    assert!(message(EfficientDetConfig { backbone_indices: vec![2, 3, 9], ..good() }).contains("9"));
    assert!(message(EfficientDetConfig { channels: 0, ..good() }).contains("channels"));
    let finer = message(good().with_fpn(FpnGraph::named("bifpn_fa", 2, 6).unwrap()));
    assert!(
        finer.contains("is 8 (map 2 of ") && finer.contains("level 2 of the feature network has 4"),
        "{finer}"
    );
    assert!(message(EfficientDetConfig { aspect_ratios: vec![], ..good() }).contains("aspect"));
}
