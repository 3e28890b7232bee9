//! Axes: from figures to places, with ticks at round numbers.

use super::WIDTH;
use super::svg::{Anchor, Svg, text_width};

/// What the ticks and the title of a lower axis take, below it.
pub(super) const BELOW: f64 = 42.0;

/// What is left free between two labels, at least.
const GAP: f64 = 6.0;

/// Beyond these a figure is a mistake, and its axis would show nothing of the others.
const LEAST: f64 = 1e-30;
const MOST: f64 = 1e30;

/// How much further than its figures a logarithmic axis reaches at each end, at least and as a part of its length:
/// marks and their labels lie on neither end.
const MARGIN: f64 = 1.15;
const MARGIN_PART: f64 = 0.13;

/// A scale with its ticks and its title.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    title: String,
    scale: Scale,
    ticks: Vec<Tick>,
}

/// A place on an axis that is labelled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Part of the length, from 0 to 1.
    pub(super) position: f64,
    pub(super) label: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Scale {
    /// Equal differences are equally long.
    Linear { from: f64, to: f64 },
    /// Equal ratios are equally long.
    Log { from: f64, to: f64 },
    /// Quantiles, from 0 to 1: each further nine is equally long. `to`: how many nines there are.
    Nines { to: f64 },
}

impl Axis {
    /// From zero to a round number that no figure exceeds; `None` without figures. Figures are 0 or more.
    pub(crate) fn from_zero(
        title: impl Into<String>,
        figures: impl IntoIterator<Item = f64>,
    ) -> Option<Axis> {
        let usable = figures.into_iter().filter(|figure| (0.0..=MOST).contains(figure));
        let most = usable.reduce(f64::max)?;
        let step = round_step(if most < LEAST { 1.0 } else { most } / 6.0);
        let count = (most / step - 1e-9).ceil().max(1.0) as u32;
        let scale = Scale::Linear { from: 0.0, to: f64::from(count) * step };
        let ticks = (0..=count).map(|index| f64::from(index) * step);
        Some(Axis::with_ticks(title, scale, ticks.map(|at| (at, multiple(at, step)))))
    }

    /// Around these figures on a logarithmic scale; `None` without any above 0.
    pub(crate) fn log(
        title: impl Into<String>,
        figures: impl IntoIterator<Item = f64>,
        label: impl Fn(f64) -> String,
    ) -> Option<Axis> {
        let usable = figures.into_iter().filter(|figure| (LEAST..=MOST).contains(figure));
        let range = usable.map(|figure| (figure, figure)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (least, most) = range?;
        let margin = (most / least).powf(MARGIN_PART).max(MARGIN);
        let (from, to) = (least / margin, most * margin);
        let all = round_ratios(from, to);
        let within = all.iter().filter(|tick| (from..=to).contains(*tick)).count();
        // Two say how far it is from one to the other.
        let (from, to) = if within < 2 { (*all.first()?, *all.last()?) } else { (from, to) };
        Some(Axis::with_ticks(title, Scale::Log { from, to }, all.into_iter().map(|at| (at, label(at)))))
    }

    /// With a tick at each of these, which are sizes or the like; `None` of nothing.
    pub(crate) fn at(title: impl Into<String>, places: &[f64]) -> Option<Axis> {
        let mut places: Vec<f64> = places.iter().copied().filter(|place| place.abs() <= MOST).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let (first, last) = (*places.first()?, *places.last()?);
        // Marks do not lie on the axis that crosses.
        let room = if last > first { (last - first) * 0.06 } else { 1.0 };
        let scale = Scale::Linear { from: first - room, to: last + room };
        Some(Axis::with_ticks(title, scale, places.into_iter().map(|at| (at, at.to_string()))))
    }

    /// Quantiles up to 99.9 %.
    pub(crate) fn nines(title: impl Into<String>) -> Axis {
        let ticks = [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %")];
        Axis::with_ticks(title, Scale::Nines { to: 3.0 }, ticks.map(|(at, label)| (at, label.to_owned())))
    }

    fn with_ticks(
        title: impl Into<String>,
        scale: Scale,
        ticks: impl IntoIterator<Item = (f64, String)>,
    ) -> Axis {
        let tick = |(at, label)| Some(Tick { position: scale.position(at)?, label });
        let ticks = ticks.into_iter().filter_map(tick).collect();
        Axis { title: title.into(), scale, ticks }
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    /// Draws it below, from `left` to `right`, with a grid from `bottom` up to `top`. Labels for which there is no room are
    /// left out.
    pub(super) fn draw_below(&self, svg: &mut Svg, (left, right): (f64, f64), (top, bottom): (f64, f64)) {
        let mut free_from = f64::NEG_INFINITY;
        for tick in &self.ticks {
            let (at, half) = (left + tick.position * (right - left), text_width(&tick.label) / 2.0);
            svg.line("grid", (at, top), (at, bottom));
            if at - half >= free_from {
                svg.text("tick", Anchor::Middle, (at, bottom + 16.0), &tick.label);
                free_from = at + half + GAP;
            }
        }
        svg.text("axis-title", Anchor::End, (WIDTH, bottom + BELOW - 6.0), &self.title);
    }

    /// Where a figure lies, from 0 to 1; `None` where it does not lie on the axis.
    pub(super) fn position(&self, figure: f64) -> Option<f64> {
        self.scale.position(figure)
    }
}

impl Scale {
    fn position(self, figure: f64) -> Option<f64> {
        let part = match self {
            Scale::Linear { from, to } => (figure - from) / (to - from),
            Scale::Log { from, to } => (figure / from).ln() / (to / from).ln(),
            Scale::Nines { to } => -(1.0 - figure).log10() / to,
        };
        // The ends are figures too, whatever the arithmetic makes of them. No NaN is within.
        (-1e-9..=1.0 + 1e-9).contains(&part).then(|| part.clamp(0.0, 1.0))
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below this.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(steps[3])
}

/// A multiple of a step, with the decimals that the step needs.
fn multiple(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0);
    if value == 0.0 {
        "0".to_owned()
    } else if value >= 1e6 || decimals > 6.0 {
        format!("{value:.0e}")
    } else {
        format!("{value:.0$}", decimals as usize)
    }
}

/// Ascending round numbers, at least two, of which the first is no more than `least` and the last no less than `most`.
fn round_ratios(least: f64, most: f64) -> Vec<f64> {
    let decades = (most / least).log10();
    let factors: &[f64] = match decades {
        ..1.0 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        ..2.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let stride = ((decades / 6.0).ceil() as i32).max(1);
    // With one more on either side, from which those that are needed are taken.
    let first = least.log10().floor() as i32 - stride;
    let last = most.log10().ceil() as i32 + stride;
    let powers = (first..=last).filter(|power| power.rem_euclid(stride) == 0);
    // Divided by a power that is exact, where it is a part, so that 0.3 is what is written so.
    let tick = |factor: f64, power: i32| {
        if power < 0 { factor / 10_f64.powi(-power) } else { factor * 10_f64.powi(power) }
    };
    let all: Vec<f64> =
        powers.flat_map(|power| factors.iter().map(move |factor| tick(*factor, power))).collect();
    let from = all.iter().rposition(|tick| *tick <= least * (1.0 + 1e-9)).unwrap_or(0);
    let to = all.iter().position(|tick| *tick >= most * (1.0 - 1e-9)).unwrap_or(all.len() - 1);
    // A single figure on a tick lies between its neighbours.
    if from < to {
        all[from..=to].to_vec()
    } else {
        all[to.saturating_sub(1)..=(from + 1).min(all.len() - 1)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Option<Axis>) -> Vec<String> {
        axis.unwrap().ticks.into_iter().map(|tick| tick.label).collect()
    }

    fn ratios(figures: &[f64]) -> Vec<String> {
        labels(Axis::log("", figures.iter().copied(), |at| at.to_string()))
    }

    #[test]
    fn linear_ticks_are_round_and_reach_over_every_figure() {
        for (most, expected) in [
            (1.0, "0 0.2 0.4 0.6 0.8 1.0"),
            (0.9, "0 0.2 0.4 0.6 0.8 1.0"),
            (7.3, "0 2 4 6 8"),
            (812.0, "0 200 400 600 800 1000"),
            (1201.0, "0 500 1000 1500"),
            (0.034, "0 0.01 0.02 0.03 0.04"),
            (0.0, "0 0.2"),
            (6e9, "0 1e9 2e9 3e9 4e9 5e9 6e9"),
            (6e-9, "0 1e-9 2e-9 3e-9 4e-9 5e-9 6e-9"),
        ] {
            let axis = Axis::from_zero("", [0.0, most]).unwrap();
            assert!(axis.position(most).is_some(), "{most}");
            let labels: Vec<String> = labels(Some(axis));
            assert_eq!(labels.join(" "), expected, "{most}");
        }
    }

    #[test]
    fn logarithmic_ticks_are_round_and_enclose_every_figure() {
        assert_eq!(ratios(&[0.8, 2.4]), ["0.7", "1", "1.5", "2"]);
        assert_eq!(ratios(&[0.3, 0.5]), ["0.3", "0.5"]);
        assert_eq!(ratios(&[1.0]), ["0.7", "1", "1.5"]);
        assert_eq!(ratios(&[12.0]), ["10", "15"]);
        assert_eq!(ratios(&[23.0, 800.0]), ["20", "50", "100", "200", "500", "1000"]);
        assert_eq!(ratios(&[1e-3, 1e3]), ["0.01", "1", "100"]);
        for figures in [[1e-30, 1e30], [1e-6, 1e30], [LEAST, LEAST], [MOST, MOST], [1.0, 1e7]] {
            let axis = Axis::log("", figures, |at| at.to_string()).unwrap();
            assert!(figures.iter().all(|figure| axis.position(*figure).is_some()), "{figures:?}: {axis:?}");
            assert!((2..=12).contains(&axis.ticks.len()), "{axis:?}");
        }
    }

    #[test]
    fn figures_that_no_axis_has_room_for_make_none_and_lie_on_none() {
        let wrong = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX];
        assert_eq!(Axis::from_zero("", wrong), None);
        assert_eq!(Axis::log("", wrong.into_iter().chain([0.0, -1.0]), |at| at.to_string()), None);
        assert_eq!(Axis::at("", &wrong), None);
        let axes = [
            Axis::from_zero("", [1.0]).unwrap(),
            Axis::log("", [1.0, 2.0], |at| at.to_string()).unwrap(),
            Axis::at("", &[18.0]).unwrap(),
            Axis::nines(""),
        ];
        for axis in axes {
            for figure in wrong {
                assert_eq!(axis.position(figure), None, "{axis:?}");
            }
        }
    }

    #[test]
    fn each_nine_of_a_quantile_is_equally_long() {
        let axis = Axis::nines("");
        for (quantile, position) in [(0.0, 0.0), (0.9, 1.0 / 3.0), (0.99, 2.0 / 3.0), (0.999, 1.0)] {
            assert!((axis.position(quantile).unwrap() - position).abs() < 1e-9, "{quantile}");
        }
        assert_eq!(axis.position(1.0), None);
    }

    #[test]
    fn sizes_are_ticks_themselves_and_one_alone_lies_in_the_middle() {
        assert_eq!(labels(Axis::at("", &[1400.0, 18.0, 512.0, 18.0])), ["18", "512", "1400"]);
        assert_eq!(Axis::at("", &[18.0]).unwrap().position(18.0), Some(0.5));
    }
}
