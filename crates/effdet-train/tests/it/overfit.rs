//! A detector learns eight pictures by heart.

use crate::common;
use effdet_data::LoaderOptions;
use effdet_data::transform::effdet_eval;
use effdet_train::{
    CocoMetric, Curve, DataLoader, DefaultModule, Ending, Engine, Interval, Metric, Schedule, Session,
    TrainConfig, Warmup,
};

#[test]
fn eight_pictures_are_learnt_to_an_average_precision_above_0_99() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = common::pictures(folder.path(), 8);
    let mut model = common::model(1);
    let options = LoaderOptions { batch_size: 8, workers: 1, ..LoaderOptions::train(0) };
    let train = DataLoader::new(dataset.clone(), effdet_eval(model.preprocess()), options).unwrap();
    let valid = DataLoader::valid(dataset, model.preprocess(), 8).unwrap();
    let config = TrainConfig {
        epochs: 60,
        lr: 1e-2,
        validate_every: 65,
        schedule: Schedule {
            interval: Interval::Step,
            warmup: Warmup { length: 10, from: None, prefix: true },
            curve: Curve::Cosine { min: 0.0, lift: 0.01 },
            noise: None,
        },
        ..TrainConfig::default()
    };
    // The running statistics follow at 1 % a step; the second half trains with them as they are.
    let frozen = TrainConfig { freeze_batch_norm: true, epochs: 130, lr: 6e-3, ..config.clone() };
    let mut session = Session::default();
    let metrics: [Box<dyn Metric>; 1] = [Box::new(CocoMetric::default())];
    let ending = Engine {
        model: &mut model,
        module: &mut DefaultModule,
        train: &train,
        valid: Some(&valid),
        metrics: &metrics,
        callbacks: Vec::new(),
        folder: None,
        session: &mut session,
        collective: None,
    }
    .run(&[config, frozen], false)
    .unwrap();
    assert_eq!(ending, Ending::Finished);
    for record in &session.state.history {
        if let Some(ap) = record.metric("AP") {
            println!("{} {:.4} AP {ap:.4}", record.epoch, record.train.total);
        }
    }
    let ap = session.state.history.last().unwrap().metric("AP").unwrap();
    assert!(ap > 0.99, "AP {ap}");
}
