//! The highest rate that something carries, by bisection.

/// How often the range is halved: what is found is exact to a 256th of the ceiling.
const STEPS: u32 = 8;
/// How often what was found is lowered, when it does not hold a second time.
const RETREATS: u32 = 10;
/// What it is lowered to each time.
const RETREAT: f64 = 0.95;

/// Which look at a rate a probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// One of many: short.
    Step,
    /// The last, which has to hold: longer.
    Verify,
}

/// Searches below `ceiling` for the highest rate at which `probe` answers something; answers what it said when the rate
/// that was found was verified. `None`: no rate holds.
///
/// A step that does not hold is tried once more, since a machine may have something else to do for a moment.
pub(crate) fn highest_rate<T, E>(
    ceiling: f64,
    mut probe: impl FnMut(f64, Probe) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let (mut low, mut high) = (0.0, ceiling);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        let holds = probe(middle, Probe::Step)?.is_some() || probe(middle, Probe::Step)?.is_some();
        if holds {
            low = middle;
        } else {
            high = middle;
        }
    }
    for _ in 0..=RETREATS {
        if low == 0.0 {
            break;
        }
        if let Some(held) = probe(low, Probe::Verify)? {
            return Ok(Some(held));
        }
        low *= RETREAT;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A channel that carries `capacity`, and stumbles at the probes with these numbers; the rate found, and the probes
    /// that it took.
    fn found(capacity: f64, ceiling: f64, stumbles: &[usize]) -> (Option<f64>, usize) {
        let mut probes = 0;
        let found = highest_rate(ceiling, |rate, _| {
            let stumbles = stumbles.contains(&probes);
            probes += 1;
            Ok::<_, std::convert::Infallible>((rate <= capacity && !stumbles).then_some(rate))
        });
        let Ok(found) = found;
        (found, probes)
    }

    #[test]
    fn the_capacity_of_a_channel_is_found() {
        for (capacity, ceiling) in [(100.0, 1000.0), (999.0, 1000.0), (1.3e6, 4e6), (500.0, 1000.0)] {
            let (found, _) = found(capacity, ceiling, &[]);
            let found = found.unwrap();
            assert!(found <= capacity && found > capacity - ceiling / 256.0, "{found} of {capacity}");
        }
    }

    #[test]
    fn one_stumble_does_not_halve_the_rate() {
        let (sure, _) = found(700.0, 1000.0, &[]);
        // The first probe, of 500, holds at its second try.
        assert_eq!(found(700.0, 1000.0, &[0]).0, sure);
        let (twice, _) = found(700.0, 1000.0, &[0, 1]);
        assert!(twice.unwrap() <= 500.0, "two in a row are believed");
    }

    #[test]
    fn a_rate_that_does_not_hold_again_is_lowered_until_it_does() {
        let (sure, probes) = found(700.0, 1000.0, &[]);
        let (lowered, more) = found(700.0, 1000.0, &[probes - 1]);
        assert_eq!((lowered.unwrap() * 1e6).round(), (sure.unwrap() * RETREAT * 1e6).round());
        assert_eq!(more, probes + 1);
    }

    #[test]
    fn a_channel_that_carries_nothing_has_no_rate_and_its_search_ends() {
        let (nothing, probes) = found(-1.0, 1000.0, &[]);
        assert_eq!((nothing, probes), (None, 2 * STEPS as usize));
    }
}
