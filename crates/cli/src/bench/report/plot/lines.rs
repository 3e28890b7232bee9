//! Lines over an axis.

use super::axis::BELOW;
use super::svg::{Anchor, Place, Svg, text_width};
use super::{Axis, Caption, Look, Spread, WIDTH};

/// Units of the height.
const HEIGHT: f64 = 270.0;
/// Above the axes, for the title of the upright one.
const TOP: f64 = 28.0;

/// Marks that are closer than this across share the room for their labels.
const LABEL_ROOM: f64 = 40.0;
/// From the middle of a mark to that of its label.
const LABEL_AWAY: f64 = 13.0;
/// Half the height of a label, and of a mark.
const LABEL_HALF: f64 = 5.0;
const MARK: f64 = 5.0;

/// Lines, each a series of figures over another figure.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) caption: Caption,
    pub(crate) across: Axis,
    pub(crate) upright: Axis,
    pub(crate) lines: Vec<Line>,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) look: Look,
    /// Ascending.
    pub(crate) points: Vec<Point>,
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) across: f64,
    pub(crate) upright: Spread,
    /// A point without is only passed by the line.
    pub(crate) mark: Option<Mark>,
}

/// How a point is shown.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// What stands beside it.
    pub(crate) label: String,
    /// What is told of it.
    pub(crate) told: String,
}

impl Lines {
    /// Draws it; `None` where no point lies on the axes.
    pub(crate) fn svg(&self) -> Option<String> {
        let labels = self.upright.ticks().iter().map(|tick| text_width(&tick.label));
        let left = labels.fold(0.0, f64::max) + 10.0;
        let last_label = self.across.ticks().last().map_or(0.0, |tick| text_width(&tick.label));
        let right = WIDTH - (last_label / 2.0).max(8.0);
        let (top, bottom) = (TOP, HEIGHT - BELOW);
        let x = |position: f64| left + position * (right - left);
        let y = |position: f64| bottom - position * (bottom - top);

        let mut svg = Svg::open(&self.caption, HEIGHT);
        for tick in self.upright.ticks() {
            let at = y(tick.position);
            svg.line("grid", (left, at), (right, at));
            svg.text("tick", Anchor::End, (left - 6.0, at + 4.0), &tick.label);
        }
        svg.text("axis-title", Anchor::Start, (0.0, 12.0), self.upright.title());
        self.across.draw_below(&mut svg, (left, right), (top, bottom));
        svg.line("axis", (left, bottom), (right, bottom));

        let mut drawn = false;
        let place = |across: f64, upright: f64| {
            Some((x(self.across.position(across)?), y(self.upright.position(upright)?)))
        };
        let mut marks = Vec::new();
        for line in &self.lines {
            let class = line.look.class();
            let places = line.points.iter().map(|point| (point, place(point.across, point.upright.middle)));
            let places: Vec<_> = places.filter_map(|(point, at)| Some((point, at?))).collect();
            let path: Vec<_> = places.iter().map(|(_, at)| *at).collect();
            if path.len() > 1 {
                svg.path(&format!("series {class}"), &path);
            }
            for (point, at) in places {
                let ends = (point.upright.low, point.upright.high);
                if let (Some(low), Some(high)) = (place(point.across, ends.0), place(point.across, ends.1))
                    && low.1 - high.1 > 1.0
                {
                    svg.line(&format!("whisker {class}"), low, high);
                }
                marks.extend(point.mark.as_ref().map(|mark| (line.look, at, mark)));
                drawn = true;
            }
        }
        // Above all lines.
        for (look, at, mark) in &marks {
            svg.mark(*look, *at, &mark.told);
        }
        let mut taken: Vec<Area> = marks.iter().map(|(_, at, _)| Area::around(*at, MARK, MARK)).collect();
        for (index, (_, at, mark)) in marks.iter().enumerate() {
            // Of two at one place across, the upper has its label above and the lower below, where there is room.
            let others = marks.iter().enumerate().filter(|(other, _)| *other != index);
            let mut beside = others.filter(|(_, (_, other, _))| (other.0 - at.0).abs() < LABEL_ROOM);
            let is_lower = beside.any(|(other, (_, place, _))| (place.1, other) < (at.1, index));
            let (above, below) = (at.1 - LABEL_AWAY, at.1 + LABEL_AWAY);
            let half = text_width(&mark.label) / 2.0;
            let across = at.0.clamp(left + half, WIDTH - half);
            let places = if is_lower { [below, above] } else { [above, below] };
            let boxes = places.map(|middle| Area::around((across, middle), half, LABEL_HALF));
            let free = |area: &&Area| {
                area.bottom <= bottom
                    && area.top >= top - 20.0
                    && !taken.iter().any(|other| other.meets(area))
            };
            if let Some(area) = boxes.iter().find(free).copied() {
                svg.text("value", Anchor::Middle, (across, area.bottom - 1.0), &mark.label);
                taken.push(area);
            }
        }
        drawn.then(|| svg.close())
    }
}

/// A part of the drawing where something stands.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Area {
    fn around(middle: Place, half_width: f64, half_height: f64) -> Area {
        let (x, y) = middle;
        Area { left: x - half_width, top: y - half_height, right: x + half_width, bottom: y + half_height }
    }

    fn meets(&self, other: &Area) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}
