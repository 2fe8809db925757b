//! Calls and refusals over time, as bars.

use serde::Deserialize;

use super::filters;
use crate::model::UsagePoint;
use crate::store::usage::UsageOf;
use crate::store::{Store, Stored, now};

/// The range that a page asks for.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RangeQuery {
    /// `hour`, `day`, `week` or `month`.
    #[serde(default)]
    pub range: String,
    /// Where the list of keys goes on.
    pub after: Option<String>,
}

/// Two counts as two rectangles, one upon the other.
pub struct Bar {
    pub words: String,
    pub x: i64,
    pub width: i64,
    pub allowed_y: i64,
    pub allowed_height: i64,
    pub refused_y: i64,
    pub refused_height: i64,
}

/// A chart, ready to be drawn: 40 to 800 wide, 10 to 190 high.
pub struct Chart {
    pub range: &'static str,
    pub bars: Vec<Bar>,
    pub points: Vec<UsagePoint>,
    pub allowed: i64,
    pub refused: i64,
    pub top: i64,
    pub from_words: String,
    pub to_words: String,
}

/// Name, words, length and step.
type Range = (&'static str, &'static str, i64, i64);

const DAY: Range = ("day", "Last day", 86_400, 3600);

const RANGES: [Range; 4] = [
    ("hour", "Last hour", 3600, 60),
    DAY,
    ("week", "Last 7 days", 7 * 86_400, 6 * 3600),
    ("month", "Last 30 days", 30 * 86_400, 86_400),
];

impl Chart {
    /// The counts of that range.
    pub async fn of(store: &Store, of: UsageOf<'_>, range: &str) -> Stored<Self> {
        let (name, _, length, step) = RANGES.into_iter().find(|r| r.0 == range).unwrap_or(DAY);
        let end = (now() / step + 1) * step;
        let from = end - length;
        let points = store.usage(of, from, end, step).await?;
        Ok(Self::draw(name, points, from, end, step))
    }

    fn draw(range: &'static str, points: Vec<UsagePoint>, from: i64, end: i64, step: i64) -> Self {
        const HEIGHT: i64 = 170;
        let steps = ((end - from) / step).max(1);
        let top = points
            .iter()
            .map(|p| p.allowed + p.refused)
            .max()
            .unwrap_or(0)
            .max(1);
        let scaled = |count: i64| {
            let height = count.saturating_mul(HEIGHT) / top;
            // What was, is seen.
            if count > 0 { height.max(1) } else { 0 }
        };
        let bars = points
            .iter()
            .map(|p| {
                let (allowed_height, refused_height) = (scaled(p.allowed), scaled(p.refused));
                Bar {
                    words: format!(
                        "{}: {} let in, {} refused",
                        filters::moment_words(p.start),
                        p.allowed,
                        p.refused
                    ),
                    x: 40 + (p.start - from) / step * 760 / steps,
                    width: (760 / steps - 2).max(1),
                    allowed_y: 190 - allowed_height,
                    allowed_height,
                    refused_y: 190 - allowed_height - refused_height,
                    refused_height,
                }
            })
            .collect();
        Self {
            range,
            bars,
            allowed: points.iter().map(|p| p.allowed).sum(),
            refused: points.iter().map(|p| p.refused).sum(),
            points,
            top,
            from_words: filters::moment_words(from),
            to_words: filters::moment_words(end),
        }
    }

    pub fn ranges(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        RANGES.into_iter().map(|(name, words, _, _)| (name, words))
    }

    pub fn is_range(&self, range: &str) -> bool {
        self.range == range
    }

    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    pub fn summary(&self) -> String {
        format!(
            "From {} to {}: {} calls let in, {} refused, at most {} at a time",
            self.from_words, self.to_words, self.allowed, self.refused, self.top
        )
    }
}
