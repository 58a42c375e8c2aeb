//! COCO evaluation of a set of the size of val2017: 5,000 pictures, 36,781 boxes, 500,000 detections, 80 classes.

#![allow(clippy::unwrap_used, reason = "a bench")]

use criterion::{Criterion, criterion_group, criterion_main};
use effdet_metrics::{
    Annotation, BoxEdges, Category, CocoEvaluator, CocoParams, DetectionRecord, Detections, GroundTruth, Id,
};

const IMAGES: u64 = 5_000;
const BOXES: usize = 36_781;
const DETECTIONS: usize = 500_000;
const CLASSES: u64 = 80;

/// splitmix64, to need no crate of random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn unit(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1u64 << 53) as f64
    }
}

fn make() -> (GroundTruth, Detections) {
    let mut random = Random(2017);
    let anywhere = |random: &mut Random| {
        let (w, h) = (8.0 * 40f64.powf(random.unit()), 8.0 * 40f64.powf(random.unit()));
        [random.unit() * (640.0 - w), random.unit() * (640.0 - h), w, h]
    };
    let objects: Vec<(i64, i64, [f64; 4])> = (0..BOXES)
        .map(|_| {
            let class = (random.unit() * random.unit() * CLASSES as f64) as i64;
            (random.below(IMAGES) as i64, class, anywhere(&mut random))
        })
        .collect();
    let mut detections = Detections::new();
    for i in 0..DETECTIONS {
        let (image, class, bbox, score) = if i % 10 < 3 {
            let (image, class, [x, y, w, h]) = objects[random.below(BOXES as u64) as usize];
            let spread = 0.3 * random.unit();
            let mut shift = || spread * (random.unit() - 0.5);
            (image, class, [x + shift() * w, y + shift() * h, w, h], 1.0 - 2.0 * spread * shift().abs())
        } else {
            let bbox = anywhere(&mut random);
            (random.below(IMAGES) as i64, random.below(CLASSES) as i64, bbox, 0.3 * random.unit())
        };
        detections.push(DetectionRecord {
            image_id: Id::Int(image),
            category_id: Id::Int(class),
            bbox: BoxEdges::from_xywh(bbox),
            score,
        });
    }
    let annotations =
        objects.iter().map(|&(image, class, bbox)| Annotation::new(image, class, BoxEdges::from_xywh(bbox)));
    let categories = (0..CLASSES).map(|class| Category::new(class as i64, class.to_string()));
    let truth = GroundTruth::new((0..IMAGES as i64).map(Id::Int), categories, annotations).unwrap();
    (truth, detections)
}

fn coco(criterion: &mut Criterion) {
    let (truth, detections) = make();
    let evaluator = CocoEvaluator::new(&truth, CocoParams::default()).unwrap();
    let mut group = criterion.benchmark_group("effdet-metrics");
    group.sample_size(20);
    group.bench_function("coco/val2017/cpu", |b| b.iter(|| evaluator.evaluate(&detections).unwrap().stats));
    group.finish();
}

criterion_group!(benches, coco);
criterion_main!(benches);
