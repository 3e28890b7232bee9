//! Ratios: a row for each, a dot for each time it was taken, a stroke at its median, and a line where both are equal.

use super::axis::BELOW;
use super::svg::{Anchor, Svg, text_width};
use super::{Axis, Caption, Section, WIDTH, label_width};

const ROW: f64 = 21.0;
const HEADING: f64 = 24.0;

/// Rows of ratios.
#[derive(Clone, Debug)]
pub(crate) struct Dots {
    pub(crate) caption: Caption,
    /// Logarithmic, around 1.
    pub(crate) axis: Axis,
    pub(crate) sections: Vec<Section<Ratio>>,
}

/// One ratio.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    pub(crate) each: Vec<f64>,
    pub(crate) median: f64,
    /// The median as it is written at the row's end.
    pub(crate) text: String,
    /// What is told of it.
    pub(crate) told: String,
    /// Less is better.
    pub(crate) less: bool,
}

impl Dots {
    /// Draws it; `None` where no ratio lies on the axis. A row whose ratios do not is only written.
    pub(crate) fn svg(&self) -> Option<String> {
        let ratios = || self.sections.iter().flat_map(|section| &section.rows).map(|row| &row.content);
        ratios().find(|ratio| self.axis.position(ratio.median).is_some())?;
        let left = label_width(&self.sections) + 6.0;
        let right = WIDTH - ratios().map(|ratio| text_width(&ratio.text)).fold(0.0, f64::max) - 16.0;
        let x = |figure: f64| self.axis.position(figure).map(|position| left + position * (right - left));
        let sections = || self.sections.iter().filter(|section| !section.rows.is_empty());
        let height = |section: &Section<Ratio>| {
            section.rows.len() as f64 * ROW + if section.heading.is_some() { HEADING } else { 0.0 }
        };
        let bottom = sections().map(height).sum::<f64>() + 4.0;

        let mut svg = Svg::open(&self.caption, bottom + BELOW);
        self.axis.draw_below(&mut svg, (left, right), (0.0, bottom));
        let equal = x(1.0);
        if let Some(equal) = equal {
            svg.line("reference", (equal, 0.0), (equal, bottom));
        }
        let mut top = 0.0;
        for section in sections() {
            if let Some(heading) = &section.heading {
                let base = top + 16.0;
                svg.text("heading", Anchor::Start, (0.0, base), heading);
                let less = section.rows.iter().any(|row| row.content.less);
                match equal {
                    Some(equal) if less => {
                        svg.text("hint", Anchor::End, (equal - 6.0, base), "\u{2190} better")
                    }
                    Some(equal) => svg.text("hint", Anchor::Start, (equal + 6.0, base), "better \u{2192}"),
                    None => {}
                }
                top += HEADING;
            }
            for row in &section.rows {
                let middle = top + ROW / 2.0;
                svg.text("label", Anchor::Start, (0.0, middle + 4.0), &row.label);
                svg.text("value", Anchor::End, (WIDTH, middle + 4.0), &row.content.text);
                let places: Vec<f64> = row.content.each.iter().filter_map(|ratio| x(*ratio)).collect();
                let least = places.iter().copied().reduce(f64::min);
                let most = places.iter().copied().reduce(f64::max);
                if let (Some(least), Some(most)) = (least, most) {
                    svg.line("range", (least, middle), (most, middle));
                }
                for place in places {
                    svg.dot((place, middle), &row.content.told);
                }
                if let Some(median) = x(row.content.median) {
                    svg.line("median", (median, middle - 8.0), (median, middle + 8.0));
                }
                top += ROW;
            }
        }
        Some(svg.close())
    }
}
