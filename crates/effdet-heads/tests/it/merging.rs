//! Fusion, merging and slices against the packages that people use for them.
//!
//! The fixture is written by `tools/golden/make_merging.py`.

use effdet_core::{Detection, ImageSize, XyxyBox, tiles};
use effdet_heads::{FusionConfig, MergeConfig, merge_boxes, weighted_box_fusion};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    fusions: Vec<Fusion>,
    merges: Vec<Merge>,
    slices: Vec<Slices>,
}

#[derive(Deserialize)]
struct Fusion {
    config: FusionConfig,
    views: Vec<Vec<Row>>,
    fused: Vec<Row>,
}

#[derive(Deserialize)]
struct Merge {
    config: MergeConfig,
    boxes: Vec<Row>,
    merged: Vec<Row>,
}

#[derive(Deserialize)]
struct Slices {
    picture: [usize; 2],
    tile: [usize; 2],
    overlap: f64,
    slices: Vec<[usize; 4]>,
}

/// `x1, y1, x2, y2, score, class`.
#[derive(Deserialize)]
struct Row(f32, f32, f32, f32, f32, u32);

fn detections(rows: &[Row]) -> Vec<Detection> {
    let detection = |row: &Row| Detection {
        bbox: XyxyBox::new(row.0, row.1, row.2, row.3),
        score: row.4,
        class_id: row.5,
    };
    rows.iter().map(detection).collect()
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/merging.json")).unwrap()
}

fn assert_same(actual: &[Detection], expected: &[Detection]) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert_eq!(actual.class_id, expected.class_id);
        assert!((actual.score - expected.score).abs() < 2e-5, "{actual:?} is not {expected:?}");
        let corners = <[f32; 4]>::from(actual.bbox).into_iter().zip(<[f32; 4]>::from(expected.bbox));
        for (a, b) in corners {
            assert!((a - b).abs() < 2e-3, "{actual:?} is not {expected:?}");
        }
    }
}

#[test]
fn weighted_box_fusion_equals_the_authors_package() {
    let cases = fixture().fusions;
    assert_eq!(cases.len(), 4);
    for Fusion { config, views, fused } in cases {
        let views: Vec<_> = views.iter().map(|rows| detections(rows)).collect();
        assert_same(&weighted_box_fusion(&views, &config).unwrap(), &detections(&fused));
    }
}

#[test]
fn merging_equals_sahi() {
    let cases = fixture().merges;
    assert_eq!(cases.len(), 4);
    for Merge { config, boxes, merged } in cases {
        assert_same(&merge_boxes(&detections(&boxes), &config), &detections(&merged));
    }
}

#[test]
fn tiles_equal_the_slices_of_sahi() {
    let cases = fixture().slices;
    assert_eq!(cases.len(), 5);
    for Slices { picture: [height, width], tile: [tile_height, tile_width], overlap, slices } in cases {
        let tiles = tiles(ImageSize::new(height, width), ImageSize::new(tile_height, tile_width), overlap);
        let edges =
            |tile: effdet_core::Tile| [tile.x, tile.y, tile.x + tile.size.width, tile.y + tile.size.height];
        assert_eq!(tiles.unwrap().into_iter().map(edges).collect::<Vec<_>>(), slices);
    }
}
