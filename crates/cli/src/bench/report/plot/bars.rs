//! Bars that lie, a group of them for each row: labels have the room they need, however many rows there are.

use super::axis::BELOW;
use super::svg::{Anchor, Svg, text_width};
use super::{Axis, Caption, Look, Section, Spread, WIDTH, label_width};

const BAR: f64 = 11.0;
const BAR_GAP: f64 = 2.0;
const ROW_GAP: f64 = 11.0;
const HEADING: f64 = 22.0;

/// Rows with a bar for each series.
#[derive(Clone, Debug)]
pub(crate) struct Bars {
    pub(crate) caption: Caption,
    /// From zero.
    pub(crate) axis: Axis,
    pub(crate) sections: Vec<Section<Vec<Bar>>>,
}

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) look: Look,
    pub(crate) figure: Spread,
    /// The figure as it is written at the bar's end.
    pub(crate) text: String,
    /// What is told of it.
    pub(crate) told: String,
}

impl Bars {
    /// Draws it; `None` where no bar can be drawn. A row without any is left out.
    pub(crate) fn svg(&self) -> Option<String> {
        let drawable = |bar: &&Bar| self.axis.position(bar.figure.middle).is_some();
        let bars = |row: &[Bar]| row.iter().filter(drawable).cloned().collect::<Vec<_>>();
        let rows = |section: &Section<Vec<Bar>>| -> Vec<(String, Vec<Bar>)> {
            let rows = section.rows.iter().map(|row| (row.label.clone(), bars(&row.content)));
            rows.filter(|(_, bars)| !bars.is_empty()).collect()
        };
        let sections: Vec<_> =
            self.sections.iter().map(|section| (&section.heading, rows(section))).collect();
        let all = || sections.iter().flat_map(|(_, rows)| rows);
        let row_height = |bars: usize| bars as f64 * (BAR + BAR_GAP) - BAR_GAP + ROW_GAP;
        let headings =
            sections.iter().filter(|(heading, rows)| heading.is_some() && !rows.is_empty()).count();
        let rows_height: f64 = all().map(|(_, bars)| row_height(bars.len())).sum();
        let bottom = 4.0 + headings as f64 * HEADING + rows_height;
        let left = label_width(&self.sections);
        let texts = all().flat_map(|(_, bars)| bars).map(|bar| text_width(&bar.text));
        let right = WIDTH - texts.reduce(f64::max)? - 8.0;
        let x = |figure: f64| self.axis.position(figure).map(|position| left + position * (right - left));

        let mut svg = Svg::open(&self.caption, bottom + BELOW);
        self.axis.draw_below(&mut svg, (left, right), (0.0, bottom));
        let mut top = 4.0;
        for (heading, rows) in &sections {
            if let Some(heading) = heading.as_deref().filter(|_| !rows.is_empty()) {
                svg.text("heading", Anchor::Start, (0.0, top + 13.0), heading);
                top += HEADING;
            }
            for (label, bars) in rows {
                let height = row_height(bars.len());
                let middle = top + (height - ROW_GAP) / 2.0;
                svg.text("label", Anchor::Start, (0.0, middle + 4.0), label);
                for (index, bar) in bars.iter().enumerate() {
                    let y = top + index as f64 * (BAR + BAR_GAP);
                    let Some(end) = x(bar.figure.middle) else { continue };
                    let class = bar.look.class();
                    // A bar of nothing is a line that can be seen.
                    let length = (end - left).max(1.0);
                    svg.rect(&format!("bar {class}"), (left, y), (length, BAR), &bar.told);
                    let mut text_at = left + length;
                    if let (Some(low), Some(high)) = (x(bar.figure.low), x(bar.figure.high))
                        && high - low > 1.0
                    {
                        svg.line("whisker", (low, y + BAR / 2.0), (high, y + BAR / 2.0));
                        text_at = text_at.max(high);
                    }
                    svg.text("value", Anchor::Start, (text_at + 5.0, y + BAR - 1.5), &bar.text);
                }
                top += height;
            }
        }
        svg.line("axis", (left, 0.0), (left, bottom));
        Some(svg.close())
    }
}
