//! What a request asks for: its query and its `Accept`.

use axum::extract::Query;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode, Uri};
use effdet::prelude::*;
use serde::Deserialize;

use crate::refusal::Refusal;

/// What is sent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// The detections.
    Json,
    /// The picture with boxes.
    #[serde(alias = "jpg")]
    Jpeg,
    /// The picture with boxes.
    Png,
}

impl Format {
    const ALL: [Self; 3] = [Self::Json, Self::Jpeg, Self::Png];

    pub fn mime(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    score: Option<f32>,
    iou: Option<f32>,
    max_detections: Option<usize>,
    labels: Option<bool>,
    format: Option<Format>,
}

/// A request's options, those it does not name being the server's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DetectOptions {
    pub decode: DecodeConfig,
    pub format: Format,
    /// Whether boxes that are drawn have labels.
    pub labels: bool,
}

impl DetectOptions {
    pub fn parse(uri: &Uri, headers: &HeaderMap, defaults: DecodeConfig) -> Result<Self, Refusal> {
        let Query(parameters) = Query::<Parameters>::try_from_uri(uri).map_err(|rejection| {
            let text = rejection.body_text();
            let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Refusal::bad_request("bad_parameter", format!("query parameters: {reason}"))
        })?;
        let format = match parameters.format {
            Some(format) => format,
            None => accepted(headers)?,
        };
        let mut decode = defaults;
        if let Some(score) = parameters.score {
            decode.score_threshold = fraction("score", score)?;
            if matches!(decode.nms.method, NmsMethod::SoftGaussian { .. } | NmsMethod::SoftLinear) {
                // The score asked for is that of the result, which soft suppression lowers.
                decode.nms.score_threshold = score.max(NmsConfig::default().score_threshold);
            }
        }
        if let Some(iou) = parameters.iou {
            decode.nms.iou_threshold = fraction("iou", iou)?;
        }
        if let Some(most) = parameters.max_detections {
            decode.max_detections = most;
        }
        Ok(Self { decode, format, labels: parameters.labels.unwrap_or(true) })
    }
}

fn fraction(name: &str, value: f32) -> Result<f32, Refusal> {
    match value {
        0.0..=1.0 => Ok(value),
        _ => Err(Refusal::bad_request("bad_parameter", format!("{name} is {value}: expected 0 to 1"))),
    }
}

/// The format that `Accept` likes best; JSON where it does not care.
///
/// # Reference
/// RFC 9110, section 12.5.1: of the ranges that a type is in, the most specific one says its quality.
fn accepted(headers: &HeaderMap) -> Result<Format, Refusal> {
    let values: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty() {
        return Ok(Format::Json);
    }
    let ranges: Vec<(&str, f32)> = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            (name, quality.unwrap_or(1.0))
        })
        .collect();
    let quality = |format: Format| {
        let mime = format.mime();
        let group = mime.split('/').next().unwrap_or_default();
        let specificity = |range: &str| match range.split_once('/') {
            _ if range.eq_ignore_ascii_case(mime) => 3,
            Some((of, "*")) if of.eq_ignore_ascii_case(group) => 2,
            Some(("*", "*")) => 1,
            _ => 0,
        };
        let best = ranges.iter().map(|(range, quality)| (specificity(range), *quality));
        let best = best.max_by_key(|(specificity, _)| *specificity);
        best.filter(|(specificity, _)| *specificity > 0).map_or(0.0, |(_, quality)| quality)
    };
    // Of equal ones the first, so the order of `ALL` decides.
    let best = Format::ALL.into_iter().rev().max_by(|a, b| quality(*a).total_cmp(&quality(*b)));
    best.filter(|format| quality(*format) > 0.0).ok_or_else(|| {
        let offered = Format::ALL.map(Format::mime).join(", ");
        let message = format!("nothing of `Accept: {}` is offered: {offered}", values.join(", "));
        Refusal::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn parse(query: &str, accept: Option<&'static str>) -> Result<DetectOptions, Refusal> {
        let uri = format!("/v1/detect?{query}").parse().unwrap();
        let accept = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
        DetectOptions::parse(&uri, &accept.into_iter().collect(), DecodeConfig::default())
    }

    #[test]
    fn what_is_not_named_is_the_servers() {
        let options = parse("", None).unwrap();
        assert_eq!(options.decode, DecodeConfig::default());
        assert_eq!((options.format, options.labels), (Format::Json, true));
        let options = parse("score=0.25&iou=0.4&max_detections=7&labels=false&format=jpg", None).unwrap();
        let NmsConfig { iou_threshold, .. } = options.decode.nms;
        assert_eq!(
            (options.decode.score_threshold, iou_threshold, options.decode.max_detections),
            (0.25, 0.4, 7)
        );
        assert_eq!((options.format, options.labels), (Format::Jpeg, false));
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (query, named) in [
            ("score=1.5", "score"),
            ("score=nan", "score"),
            ("score=high", "score"),
            ("iou=-1", "iou"),
            ("max_detections=-3", "max_detections"),
            ("labels=maybe", "labels"),
            ("format=gif", "gif"),
            ("scor=0.5", "scor"),
        ] {
            let refusal = parse(query, None).unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{query}");
            assert!(refusal.message.contains(named), "{query}: {}", refusal.message);
        }
    }

    #[test]
    fn accept_chooses_the_format_unless_the_query_does() {
        for (accept, format) in [
            ("*/*", Format::Json),
            ("image/*", Format::Jpeg),
            ("IMAGE/PNG", Format::Png),
            ("image/png;q=0.5, image/jpeg;q=0.4", Format::Png),
            ("text/html, */*;q=0.1", Format::Json),
            ("application/json;q=0, */*", Format::Jpeg),
        ] {
            assert_eq!(parse("", Some(accept)).unwrap().format, format, "{accept}");
        }
        assert_eq!(parse("format=png", Some("text/html")).unwrap().format, Format::Png);
        assert_eq!(parse("", Some("text/html")).unwrap_err().status, StatusCode::NOT_ACCEPTABLE);
    }

    #[test]
    fn soft_suppression_keeps_scores_down_to_the_one_asked_for() {
        let soft = NmsConfig { method: NmsMethod::SoftGaussian { sigma: 0.5 }, ..NmsConfig::default() };
        let defaults = DecodeConfig { nms: soft, ..DecodeConfig::default() };
        let uri = "/v1/detect?score=0.4".parse().unwrap();
        let options = DetectOptions::parse(&uri, &HeaderMap::new(), defaults).unwrap();
        assert_eq!(options.decode.nms.score_threshold, 0.4);
    }
}
