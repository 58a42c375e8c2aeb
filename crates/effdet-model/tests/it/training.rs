//! A training step and detections from the same outputs.

use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor};
use effdet_core::{ImageSize, YxyxBox};
use effdet_heads::{
    Anchors, BatchTargets, DecodeConfig, DetectionLossConfig, MatchOptions, Truth, decode_batch,
};
use effdet_model::EfficientDetConfig;

#[test]
fn a_step_detects_from_the_outputs_of_its_loss_and_reaches_every_parameter() {
    let device = Device::flex().autodiff();
    device.seed(7);
    let config = EfficientDetConfig::named("tf_efficientdet_lite0").unwrap().with_num_classes(3);
    let size = ImageSize::new(64, 96);
    let model = config.init(&device).unwrap();
    let pictures = Tensor::random([2, 3, size.height, size.width], Distribution::Normal(0.0, 1.0), &device);
    let outputs = model.forward(pictures);
    let anchors = Anchors::for_features(&config.anchor_config(), size, &outputs.level_sizes()).unwrap();
    let decode = DecodeConfig { max_detections: 5, ..config.decode };

    let detect = |class_logits: &[Tensor<4>], box_deltas: &[Tensor<4>]| {
        decode_batch(class_logits, box_deltas, &anchors, 3, &decode, &[None, None]).unwrap()
    };
    let inner = |maps: &[Tensor<4>]| maps.iter().map(|map| map.clone().inner()).collect::<Vec<_>>();
    let detections = detect(&outputs.class_logits, &outputs.box_deltas);
    assert!(detections.iter().all(|picture| picture.len() == 5));
    assert_eq!(detections, detect(&inner(&outputs.class_logits), &inner(&outputs.box_deltas)));

    // no objects in the second picture, few levels with a match in the first
    let truths = [vec![Truth::new(YxyxBox::new(8.0, 8.0, 40.0, 44.0), 2)], vec![]];
    let targets = BatchTargets::assign(&Arc::new(anchors), &truths, &MatchOptions::default()).unwrap();
    let loss = DetectionLossConfig::default().init().unwrap();
    let parts = loss.forward(&outputs.class_logits, &outputs.box_deltas, &targets).unwrap();
    let gradients = parts.total.backward();
    let mut lacking = Lacking { gradients: &gradients, parameters: 0, with_gradient: 0 };
    burn::module::Module::visit(&model, &mut lacking);
    assert!(lacking.parameters > 300);
    assert_eq!(lacking.with_gradient, lacking.parameters);
}

struct Lacking<'a> {
    gradients: &'a burn::tensor::Gradients,
    parameters: usize,
    with_gradient: usize,
}

impl burn::module::ModuleVisitor for Lacking<'_> {
    fn visit_float<const D: usize>(&mut self, param: &burn::module::Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.parameters += 1;
            self.with_gradient += usize::from(param.val().grad(self.gradients).is_some());
        }
    }
}
