use std::fmt::Write;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::coco::CocoParams;
use crate::names::{Named, by_name};
use crate::{Findings, Id};

/// All that a COCO evaluation found.
///
/// Serialises as an object with the keys `AP`, `AP50`, `AP75`, `APs`, `APm`, `APl`, `AR1`, `AR10`, `AR100`, `ARs`,
/// `ARm`, `ARl` (of other area ranges and numbers of detections `AP_name`, `AR_name`, `AR300`), `AP_per_iou`,
/// `iou_thresholds`, `per_class` and `findings`. Numbers without an object to measure are -1, as in pycocotools.
#[derive(Debug, Clone)]
pub struct CocoReport {
    /// The 12 numbers in pycocotools' order: AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl.
    pub stats: [f64; 12],
    /// The same over all categories, by name.
    pub metrics: CocoMetrics,
    /// Each evaluated category; empty if categories were not told apart.
    pub per_class: Vec<ClassMetrics>,
    /// What in the input did not take part as it stands.
    pub findings: Findings,
    params: CocoParams,
    groups: usize,
    precision: Vec<f64>,
    recall: Vec<f64>,
}

/// Averages over IoU thresholds, of one category or of all.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoMetrics {
    /// Average precision over all IoU thresholds.
    pub ap: f64,
    /// Average precision at IoU 0.50.
    pub ap50: f64,
    /// Average precision at IoU 0.75.
    pub ap75: f64,
    /// Average precision at each IoU threshold.
    pub ap_per_iou: Vec<f64>,
    /// Average precision in each area range but `all`, by its name.
    pub ap_per_area: Vec<(String, f64)>,
    /// Average recall for each number of detections.
    pub ar: Vec<(usize, f64)>,
    /// Average recall in each area range but `all`, by its name.
    pub ar_per_area: Vec<(String, f64)>,
}

/// The numbers of one category.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMetrics {
    /// Id of the category.
    pub id: Id,
    /// Its name, made distinct by the id where two categories share one.
    pub name: String,
    /// Its averages.
    pub metrics: CocoMetrics,
    /// Labelled objects that count.
    pub ground_truth: usize,
    /// Detections handed in.
    pub detections: usize,
}

impl CocoMetrics {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("AP", &self.ap)?;
        map.serialize_entry("AP50", &self.ap50)?;
        map.serialize_entry("AP75", &self.ap75)?;
        for (area, value) in &self.ap_per_area {
            map.serialize_entry(&area_key("AP", area), value)?;
        }
        for (limit, value) in &self.ar {
            map.serialize_entry(&format!("AR{limit}"), value)?;
        }
        for (area, value) in &self.ar_per_area {
            map.serialize_entry(&area_key("AR", area), value)?;
        }
        map.serialize_entry("AP_per_iou", &self.ap_per_iou)
    }
}

fn area_key(kind: &str, area: &str) -> String {
    match area {
        "small" | "medium" | "large" => format!("{kind}{}", &area[..1]),
        other => format!("{kind}_{other}"),
    }
}

impl Named for ClassMetrics {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Serialize for ClassMetrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.metrics.entries(&mut map)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("ground_truth", &self.ground_truth)?;
        map.serialize_entry("detections", &self.detections)?;
        map.end()
    }
}

#[derive(Serialize)]
struct PerClass<'a>(#[serde(serialize_with = "by_name_of_slice")] &'a [ClassMetrics]);

fn by_name_of_slice<S: Serializer>(list: &&[ClassMetrics], serializer: S) -> Result<S::Ok, S::Error> {
    by_name(list, serializer)
}

impl Serialize for CocoReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.metrics.entries(&mut map)?;
        map.serialize_entry("iou_thresholds", &self.params.iou_thresholds)?;
        map.serialize_entry("per_class", &PerClass(&self.per_class))?;
        map.serialize_entry("findings", &self.findings)?;
        map.end()
    }
}

/// The raw curves of an evaluation, on the way to a report.
pub(crate) struct Summary<'a> {
    pub(crate) params: &'a CocoParams,
    pub(crate) precision: Vec<f64>,
    pub(crate) recall: Vec<f64>,
    pub(crate) objects: Vec<usize>,
    pub(crate) considered: Vec<usize>,
    pub(crate) categories: Vec<(Id, String)>,
    pub(crate) findings: Findings,
}

impl Summary<'_> {
    pub(crate) fn into_report(self, kept: impl Fn(usize) -> bool) -> CocoReport {
        let groups = self.objects.len();
        let mut report = CocoReport {
            stats: [-1.0; 12],
            metrics: CocoMetrics::undefined(),
            per_class: Vec::new(),
            findings: self.findings,
            params: self.params.clone(),
            groups,
            precision: self.precision,
            recall: self.recall,
        };
        report.metrics = report.averages(0..groups);
        report.stats = report.headline();
        if self.params.use_categories {
            let classes = self.categories.into_iter().enumerate().filter(|(group, _)| kept(*group));
            report.per_class = classes
                .map(|(group, (id, name))| ClassMetrics {
                    id,
                    name,
                    metrics: report.averages(group..group + 1),
                    ground_truth: self.objects[group],
                    detections: self.considered[group],
                })
                .collect();
        }
        report
    }
}

impl CocoMetrics {
    fn undefined() -> Self {
        let (ap_per_iou, ap_per_area, ar, ar_per_area) = Default::default();
        Self { ap: -1.0, ap50: -1.0, ap75: -1.0, ap_per_iou, ap_per_area, ar, ar_per_area }
    }
}

impl CocoReport {
    /// What was measured.
    pub fn params(&self) -> &CocoParams {
        &self.params
    }

    /// Number of categories in [`precision`](Self::precision) and [`recall`](Self::recall): all of the ground
    /// truth in the order of their ids, or 1 if they were not told apart.
    pub fn categories(&self) -> usize {
        self.groups
    }

    /// Precision at recall threshold `r` (the envelope), -1 without objects: pycocotools'
    /// `eval['precision'][t, r, k, a, m]`.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn precision(&self, t: usize, r: usize, k: usize, a: usize, m: usize) -> f64 {
        assert!(r < self.params.recall_thresholds.len(), "recall threshold {r} is out of range");
        self.precision[self.index(t, k, a, m) * self.params.recall_thresholds.len() + r]
    }

    /// The highest recall that was reached, -1 without objects: pycocotools' `eval['recall'][t, k, a, m]`.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn recall(&self, t: usize, k: usize, a: usize, m: usize) -> f64 {
        self.recall[self.index(t, k, a, m)]
    }

    fn index(&self, t: usize, k: usize, a: usize, m: usize) -> usize {
        let (areas, limits) = (self.params.area_ranges.len(), self.params.max_detections.len());
        let thresholds = self.params.iou_thresholds.len();
        assert!(
            t < thresholds && a < areas && m < limits,
            "threshold {t}, area {a} or limit {m} is out of range"
        );
        ((k * areas + a) * limits + m) * thresholds + t
    }

    /// Mean of the defined precisions, -1 if there are none.
    fn mean_precision(
        &self,
        ts: &[usize],
        ks: std::ops::Range<usize>,
        a: Option<usize>,
        m: Option<usize>,
    ) -> f64 {
        let (Some(a), Some(m)) = (a, m) else { return -1.0 };
        let recalls = self.params.recall_thresholds.len();
        let curves = ks.flat_map(|k| ts.iter().map(move |&t| (t, k)));
        mean(curves.flat_map(|(t, k)| {
            let start = self.index(t, k, a, m) * recalls;
            self.precision[start..start + recalls].iter().copied()
        }))
    }

    fn mean_recall(
        &self,
        ts: &[usize],
        ks: std::ops::Range<usize>,
        a: Option<usize>,
        m: Option<usize>,
    ) -> f64 {
        let (Some(a), Some(m)) = (a, m) else { return -1.0 };
        mean(ks.flat_map(|k| ts.iter().map(move |&t| self.recall(t, k, a, m))))
    }

    fn thresholds(&self) -> Vec<usize> {
        (0..self.params.iou_thresholds.len()).collect()
    }

    fn at_iou(&self, iou: f64) -> Vec<usize> {
        self.thresholds().into_iter().filter(|&t| self.params.iou_thresholds[t] == iou).collect()
    }

    fn area(&self, name: &str) -> Option<usize> {
        self.params.area_ranges.iter().position(|range| range.name == name)
    }

    fn averages(&self, ks: std::ops::Range<usize>) -> CocoMetrics {
        let (ts, all) = (self.thresholds(), self.area("all"));
        let last = self.params.max_detections.len().checked_sub(1);
        let limits = self.params.max_detections.iter().enumerate();
        let areas: Vec<_> =
            self.params.area_ranges.iter().enumerate().filter(|(_, r)| r.name != "all").collect();
        let per_area = |value: &dyn Fn(usize) -> f64| -> Vec<(String, f64)> {
            areas.iter().map(|(a, range)| (range.name.clone(), value(*a))).collect()
        };
        CocoMetrics {
            ap: self.mean_precision(&ts, ks.clone(), all, last),
            ap50: self.mean_precision(&self.at_iou(0.5), ks.clone(), all, last),
            ap75: self.mean_precision(&self.at_iou(0.75), ks.clone(), all, last),
            ap_per_iou: ts.iter().map(|&t| self.mean_precision(&[t], ks.clone(), all, last)).collect(),
            ap_per_area: per_area(&|a| self.mean_precision(&ts, ks.clone(), Some(a), last)),
            ar: limits.map(|(m, &limit)| (limit, self.mean_recall(&ts, ks.clone(), all, Some(m)))).collect(),
            ar_per_area: per_area(&|a| self.mean_recall(&ts, ks.clone(), Some(a), last)),
        }
    }

    fn headline(&self) -> [f64; 12] {
        let (ts, ks, limits) = (self.thresholds(), 0..self.groups, &self.params.max_detections);
        let quirks = self.params.pycocotools_quirks;
        let limit = |m: usize| (m < limits.len()).then_some(m);
        let first = if quirks { limits.iter().position(|&n| n == 100) } else { limit(limits.len() - 1) };
        let last = if quirks { limit(2) } else { limit(limits.len() - 1) };
        let all = self.area("all");
        let precision = |ts: &[usize], a, m| self.mean_precision(ts, ks.clone(), a, m);
        let recall = |a, m| self.mean_recall(&ts, ks.clone(), a, m);
        [
            precision(&ts, all, first),
            precision(&self.at_iou(0.5), all, last),
            precision(&self.at_iou(0.75), all, last),
            precision(&ts, self.area("small"), last),
            precision(&ts, self.area("medium"), last),
            precision(&ts, self.area("large"), last),
            recall(all, limit(0)),
            recall(all, limit(1)),
            recall(all, limit(2)),
            recall(self.area("small"), last),
            recall(self.area("medium"), last),
            recall(self.area("large"), last),
        ]
    }

    /// The 12 numbers as pycocotools' `summarize` prints them.
    pub fn table(&self) -> String {
        let (ious, limits) = (&self.params.iou_thresholds, &self.params.max_detections);
        let span = format!("{:.2}:{:.2}", ious[0], ious[ious.len() - 1]);
        let limit = |m: usize| limits.get(m).copied();
        let last = limits.last().copied();
        let rows = [
            (true, None, "all", last),
            (true, Some("0.50"), "all", last),
            (true, Some("0.75"), "all", last),
            (true, None, "small", last),
            (true, None, "medium", last),
            (true, None, "large", last),
            (false, None, "all", limit(0)),
            (false, None, "all", limit(1)),
            (false, None, "all", limit(2)),
            (false, None, "small", last),
            (false, None, "medium", last),
            (false, None, "large", last),
        ];
        let mut table = String::new();
        for (&(is_precision, iou, area, limit), value) in rows.iter().zip(self.stats) {
            let (title, kind) =
                if is_precision { ("Average Precision", "(AP)") } else { ("Average Recall", "(AR)") };
            let limit = limit.map_or_else(|| "-".into(), |n| n.to_string());
            let iou = iou.unwrap_or(&span);
            let _ = writeln!(
                table,
                " {title:<18} {kind} @[ IoU={iou:<9} | area={area:>6} | maxDets={limit:>3} ] = {value:.3}"
            );
        }
        table
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.filter(|&v| v > -1.0).fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { -1.0 } else { sum / count as f64 }
}
