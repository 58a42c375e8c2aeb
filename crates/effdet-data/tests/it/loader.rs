//! Order, reproducibility and failures of the loader.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use effdet_core::{ImageSize, Letterbox, Placement, XyxyBox, YxyxBox};
use effdet_data::loader::{Layout, OnError, Sampler, Shard};
use effdet_data::transform::{Compose, RandomResizePad, ResizePad, Rng, Sample, effdet_train};
use effdet_data::{
    Batch, Error, Loader, LoaderOptions, Object, Pictures, Preprocess, Record, RecordId, Samples,
};
use image::RgbImage;
use rstest::rstest;

/// Pictures of one colour and one box each.
fn samples(count: usize) -> Arc<dyn Samples> {
    let sample = |i: usize| {
        let picture = RgbImage::from_pixel(30 + i as u32, 40, image::Rgb([i as u8; 3]));
        let bbox = XyxyBox::new(1.0, 2.0, 11.0 + i as f32, 20.0);
        let mut sample =
            Sample::new(picture, vec![Object { bbox, class_id: i as u32 + 1, ..Object::default() }]);
        sample.id = RecordId::Number(i as i64);
        sample.path = PathBuf::from(format!("picture_{i}.png"));
        sample
    };
    Arc::new((0..count).map(sample).collect::<Vec<_>>())
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions { batch_size: 4, workers, drop_last: false, ..LoaderOptions::train(7) }
}

fn jitter() -> RandomResizePad {
    RandomResizePad::new(ImageSize::square(32))
}

/// All that a batch holds, to be compared.
fn summary(batch: &Batch<usize>) -> impl PartialEq + std::fmt::Debug + use<> {
    let Batch { pixels, shape, targets, img_scale, img_size, indices, ids, is_padding, labels, .. } = batch;
    let first = (pixels.clone(), *shape, targets.clone(), img_scale.clone(), img_size.clone());
    (first, (indices.clone(), ids.clone(), is_padding.clone(), labels.clone()))
}

#[rstest]
fn batches_do_not_depend_on_the_number_of_workers(
    #[values(1, 2, 5)] workers: usize,
    #[values(Layout::Hwc, Layout::Chw)] layout: Layout,
) {
    let run = |workers: usize, epoch: u64| {
        let options = LoaderOptions { layout, ..options(workers) };
        let loader = Loader::new(samples(23), jitter(), options).unwrap().with_labels(|s| s.objects.len());
        loader.epoch(epoch).map(|batch| summary(&batch.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(run(workers, 3).len(), 6);
    assert!(run(workers, 3) == run(0, 3));
    assert!(run(workers, 4) != run(0, 3), "another epoch has another order and other random numbers");
}

#[rstest]
fn an_epoch_holds_every_picture_once(#[values(true, false)] shuffle: bool, #[values(0, 2)] workers: usize) {
    let loader = Loader::new(samples(23), jitter(), LoaderOptions { shuffle, ..options(workers) }).unwrap();
    let batches: Vec<Batch> = loader.epoch(0).map(Result::unwrap).collect();
    assert_eq!((batches.len(), loader.len()), (6, 6));
    assert_eq!(batches[5].shape, [3, 32, 32, 3]);
    let indices: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices.iter().copied().collect::<BTreeSet<_>>().len(), 23);
    assert_eq!(indices == (0..23).collect::<Vec<_>>(), !shuffle);
}

#[test]
fn drop_last_leaves_out_the_short_batch() {
    let drop_last = |count: usize| {
        let options = LoaderOptions { drop_last: true, ..options(2) };
        let loader = Loader::new(samples(count), jitter(), options).unwrap();
        let sizes: Vec<usize> = loader.epoch(0).map(|batch| batch.unwrap().len()).collect();
        assert_eq!(sizes.len(), loader.len());
        sizes
    };
    assert_eq!(drop_last(11), [4, 4]);
    assert_eq!(drop_last(8), [4, 4]);
    assert_eq!(drop_last(3), [0; 0]);
    assert_eq!(drop_last(0), [0; 0]);
}

#[test]
fn a_batch_describes_its_pictures() {
    let options = LoaderOptions { layout: Layout::Chw, batch_size: 2, workers: 2, ..LoaderOptions::eval() };
    let loader = Loader::new(samples(3), ResizePad::new(ImageSize::new(20, 32)), options).unwrap();
    let batch = loader.epoch(0).nth(1).unwrap().unwrap();
    assert_eq!(batch.shape, [1, 3, 20, 32]);
    assert_eq!(batch.pixels.len(), 3 * 20 * 32);
    assert_eq!((batch.img_size[0], batch.img_scale[0]), (ImageSize::new(40, 32), 2.0));
    let letterbox =
        Letterbox::new(ImageSize::new(40, 32), ImageSize::new(20, 32), Placement::TopLeft).unwrap();
    assert_eq!(batch.letterboxes, [Some(letterbox)]);
    assert_eq!((batch.indices[0], batch.ids[0].clone()), (2, RecordId::Number(2)));
    assert_eq!(batch.targets[0].boxes, [YxyxBox::new(1.0, 0.5, 10.0, 6.5)]);
    assert_eq!((batch.targets[0].classes[0], batch.labels.is_none()), (3, true));
    // The red plane: the picture in the left half, the fill's red in the right.
    assert_eq!((batch.pixels[0], batch.pixels[31], batch.pixels[20 * 32 + 31]), (2, 124, 116));
    let padded = batch.padded_targets(2);
    assert_eq!(padded.boxes, [1.0, 0.5, 10.0, 6.5, -1.0, -1.0, -1.0, -1.0]);
    assert_eq!((padded.classes, padded.cut_off), (vec![3.0, -1.0], 0));
    assert_eq!(batch.padded_targets(0).cut_off, 1);
}

#[test]
fn the_letterboxes_of_a_batch_lead_boxes_back() {
    let bbox = XyxyBox::new(1.0, 2.0, 11.0, 20.0);
    let batch = |transform: ResizePad| {
        let loader = Loader::new(samples(2), transform, LoaderOptions { shuffle: false, ..options(0) });
        loader.unwrap().epoch(0).next().unwrap().unwrap()
    };
    let centred = ResizePad { placement: Placement::Center, ..ResizePad::new(ImageSize::new(20, 32)) };
    let batch: Batch = batch(centred);
    assert_eq!(batch.letterboxes[0].unwrap().offset, (8, 0));
    assert_eq!(batch.letterboxes[0].unwrap().to_source(XyxyBox::from(batch.targets[0].boxes[0])), bbox);
    let jittered: Batch =
        Loader::new(samples(2), jitter(), options(0)).unwrap().epoch(0).next().unwrap().unwrap();
    assert_eq!(jittered.letterboxes, [None, None]);
}

#[test]
fn crowds_are_no_targets_unless_asked_for() {
    let objects = vec![
        Object { bbox: XyxyBox::new(0.0, 0.0, 9.0, 9.0), class_id: 1, is_crowd: true, ..Object::default() },
        Object { bbox: XyxyBox::new(0.0, 0.0, 9.0, 9.0), class_id: 2, ..Object::default() },
        Object {
            bbox: XyxyBox::new(0.0, 0.0, 9.0, 9.0),
            class_id: 3,
            is_group_of: true,
            ..Object::default()
        },
    ];
    let classes = |keep_crowds: bool| {
        let samples = vec![Sample::new(RgbImage::new(10, 10), objects.clone())];
        let options = LoaderOptions { keep_crowds, ..options(0) };
        let loader = Loader::new(Arc::new(samples), Compose::new(), options).unwrap();
        loader.epoch(0).next().unwrap().unwrap().targets[0].classes.clone()
    };
    assert_eq!((classes(false), classes(true)), (vec![2], vec![1, 2, 3]));
}

/// Panics at the picture of index 5.
fn panics_at_5(sample: Sample, _: &mut Rng) -> Sample {
    assert!(sample.id != RecordId::Number(5), "no fives");
    ResizePad::new(ImageSize::square(8)).fit(sample)
}

trait Fit {
    fn fit(&self, sample: Sample) -> Sample;
}

impl Fit for ResizePad {
    fn fit(&self, sample: Sample) -> Sample {
        effdet_data::transform::Transform::apply(self, sample, &mut Rng::new(0))
    }
}

#[rstest]
fn a_panicking_transform_is_reported_with_the_path(#[values(0, 2)] workers: usize) {
    let options = LoaderOptions { shuffle: false, ..options(workers) };
    let loader = Loader::new(samples(12), panics_at_5, options).unwrap();
    let mut epoch = loader.epoch(0);
    let batches: Vec<Batch> = epoch.by_ref().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 3]);
    assert_eq!((epoch.skipped(), batches[1].skipped.len()), (1, 1));
    let skipped = &batches[1].skipped[0];
    assert_eq!((skipped.index, skipped.name.as_str()), (5, "picture_5.png"));
    assert_eq!(skipped.error.to_string(), "picture_5.png: a worker panicked: no fives");
}

#[rstest]
fn a_failure_ends_the_epoch_where_asked(#[values(0, 2)] workers: usize) {
    let options = LoaderOptions { shuffle: false, on_error: OnError::Fail, ..options(workers) };
    let mut epoch = Loader::new(samples(12), panics_at_5, options).unwrap().epoch(0);
    assert_eq!(epoch.next().unwrap().unwrap().len(), 4);
    assert!(matches!(epoch.next(), Some(Err(Error::WorkerPanicked { name, .. })) if name == "picture_5.png"));
    assert!(epoch.next().is_none());
}

#[rstest]
fn a_replacement_keeps_the_number_of_batches(#[values(0, 1, 3)] workers: usize) {
    let options = LoaderOptions { shuffle: false, on_error: OnError::Replace, ..options(workers) };
    let mut epoch = Loader::new(samples(12), panics_at_5, options).unwrap().epoch(0);
    let indices: Vec<usize> = epoch.by_ref().flat_map(|batch| batch.unwrap().indices).collect();
    assert_eq!(indices.len(), 12);
    assert!(!indices.contains(&5) && epoch.skipped() >= 1);
    let again = LoaderOptions { workers: 2, ..options };
    let loader = Loader::new(samples(12), panics_at_5, again).unwrap();
    assert_eq!(loader.epoch(0).flat_map(|batch| batch.unwrap().indices).collect::<Vec<_>>(), indices);
}

fn record(path: PathBuf) -> Record {
    Record { id: RecordId::from_text(&path), path, size: None, objects: Vec::new() }
}

trait FromText {
    fn from_text(path: &Path) -> Self;
}

impl FromText for RecordId {
    fn from_text(path: &Path) -> Self {
        Self::Text(path.display().to_string())
    }
}

#[test]
fn unreadable_pictures_are_skipped_and_counted() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decode");
    let names = ["rgb.jpg", "truncated.jpg", "grey.jpg", "no_such_file.png", "rgba.png"];
    let records = names.map(|name| record(fixtures.join(name))).to_vec();
    let options = LoaderOptions { batch_size: 2, workers: 2, ..LoaderOptions::eval() };
    let skip = LoaderOptions { on_error: OnError::Skip, ..options };
    let pictures: Arc<dyn Samples> = Arc::new(Pictures::new(records));
    let transform = || effdet_train(&Preprocess::imagenet(ImageSize::square(32)));
    let mut epoch = Loader::new(Arc::clone(&pictures), transform(), skip).unwrap().epoch(0);
    let batches: Vec<Batch> = epoch.by_ref().map(Result::unwrap).collect();
    assert_eq!(batches.iter().flat_map(|batch| batch.indices.clone()).collect::<Vec<_>>(), [0, 2, 4]);
    assert_eq!(epoch.skipped(), 2);
    let messages: Vec<String> =
        batches.iter().flat_map(|batch| &batch.skipped).map(|skipped| skipped.error.to_string()).collect();
    assert!(messages[0].ends_with("truncated.jpg: the picture is truncated"), "{messages:?}");
    assert!(messages[1].ends_with("no_such_file.png: cannot be read"), "{messages:?}");
    let missing = batches.iter().flat_map(|batch| &batch.skipped).last().unwrap().to_string();
    assert!(
        missing.contains("no_such_file.png: cannot be read: ") && missing.contains("os error 2"),
        "{missing}"
    );
    assert_eq!(missing.matches("no_such_file.png").count(), 1, "{missing}");

    let failed = Loader::new(pictures, transform(), options).unwrap().epoch(0).find_map(Result::err);
    assert!(matches!(failed, Some(Error::Truncated { .. })));
}

#[test]
fn failures_after_the_last_batch_are_kept() {
    let options = LoaderOptions { shuffle: false, drop_last: true, batch_size: 5, ..options(2) };
    let mut epoch = Loader::new(samples(6), panics_at_5, options).unwrap().epoch(0);
    assert_eq!(epoch.by_ref().count(), 1);
    assert_eq!((epoch.skipped(), epoch.skipped_at_end().len()), (1, 1));
}

#[test]
fn pictures_of_different_sizes_are_an_error() {
    let mut epoch = Loader::new(samples(4), Compose::new(), LoaderOptions { shuffle: false, ..options(2) })
        .unwrap()
        .epoch(0);
    let error = epoch.next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "picture_1.png: the transforms gave a picture of 40x31 for a batch of 40x30"
    );
    assert!(epoch.next().is_none());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let message =
        |options| Loader::new(samples(4), Compose::new(), options).map(|_| ()).unwrap_err().to_string();
    assert_eq!(message(LoaderOptions { batch_size: 0, ..options(0) }), "the loader's batch size is 0");
    let shard = Shard { rank: 2, world_size: 2 };
    assert_eq!(
        message(LoaderOptions { shard, ..options(0) }),
        "the loader's rank 2 is not below the world size 2"
    );
    assert!(message(LoaderOptions { prefetch: 0, ..options(0) }).starts_with("the loader's prefetch is 0"));
}

#[rstest]
fn ranks_share_the_samples_evenly(
    #[values(true, false)] shuffle: bool,
    #[values(1, 2, 3, 7, 40)] world_size: usize,
) {
    let count = 23;
    let sampler = |rank: usize| Sampler { count, shuffle, seed: 1, shard: Shard { rank, world_size } };
    let mut real = Vec::new();
    for rank in 0..world_size {
        let positions = sampler(rank).positions(2);
        assert_eq!(positions.len(), count.div_ceil(world_size));
        real.extend(positions.iter().filter(|p| !p.is_padding).map(|p| p.index));
    }
    real.sort_unstable();
    assert_eq!(real, (0..count).collect::<Vec<_>>());
}

#[test]
fn the_ordered_sampler_is_timms() {
    // timm 1.0.31 OrderedDistributedSampler over 10 samples on 4 processes.
    let indices = |rank: usize| -> Vec<usize> {
        let shard = Shard { rank, world_size: 4 };
        let sampler = Sampler { count: 10, shuffle: false, seed: 0, shard };
        sampler.positions(0).iter().map(|position| position.index).collect()
    };
    assert_eq!([0, 1, 2, 3].map(indices), [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]);
}

/// Runs `job` and fails if it takes more than ten seconds.
fn in_time(job: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        job();
        let _ = done.send(());
    });
    assert_ne!(wait.recv_timeout(Duration::from_secs(10)), Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    thread.join().unwrap();
}

/// Counts the samples that are being made or were made.
#[derive(Clone)]
struct Counted(Arc<dyn Samples>, Arc<AtomicUsize>);

impl Samples for Counted {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Sample, Error> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.get(index)
    }

    fn name(&self, index: usize) -> String {
        self.0.name(index)
    }
}

/// Samples of which even the name panics.
struct Hopeless;

impl Samples for Hopeless {
    fn len(&self) -> usize {
        5
    }

    fn get(&self, index: usize) -> Result<Sample, Error> {
        panic!("no sample {index}")
    }

    fn name(&self, _: usize) -> String {
        panic!("no name")
    }
}

#[rstest]
fn samples_that_only_panic_do_not_hang_the_loader(#[values(0, 2)] workers: usize) {
    in_time(move || {
        let mut epoch = Loader::new(Arc::new(Hopeless), jitter(), options(workers)).unwrap().epoch(0);
        assert!(epoch.next().is_none());
        let skipped = epoch.skipped_at_end();
        assert_eq!(skipped.len(), 5);
        assert!(skipped[0].error.to_string().contains("no sample"), "{}", skipped[0].error);
    });
}

#[rstest]
fn dropping_an_epoch_early_joins_its_workers(
    #[values(0, 1, 5)] workers: usize,
    #[values(0, 1, 2)] taken: usize,
) {
    in_time(move || {
        let samples = samples(60);
        let alive = Arc::strong_count(&samples);
        let loader = Loader::new(Arc::clone(&samples), jitter(), options(workers)).unwrap();
        let mut epoch = loader.epoch(0);
        assert_eq!(epoch.by_ref().take(taken).count(), taken);
        drop(epoch);
        drop(loader);
        // The workers held the samples: they are gone.
        assert_eq!(Arc::strong_count(&samples), alive);
    });
}

#[test]
fn workers_stay_within_the_prefetch() {
    in_time(|| {
        let counted = Counted(samples(100), Arc::new(AtomicUsize::new(0)));
        let made = Arc::clone(&counted.1);
        let options = LoaderOptions { prefetch: 2, ..options(3) };
        let loader = Loader::new(Arc::new(counted), jitter(), options).unwrap();
        let mut epoch = loader.epoch(0);
        epoch.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        // One batch of four taken, at most two more made or under way.
        let made = made.load(Ordering::SeqCst);
        assert!((4..=12).contains(&made), "{made}");
    });
}
