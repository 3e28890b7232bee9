//! What the machine's processors did (proc_stat(5)).

use std::fs;
use std::io;
use std::time::Duration;

/// Processor time that the whole machine has spent since it booted: user, nice, system, irq and softirq, which is
/// where the kernel's share of a data plane is done. Guests are in user already; idle, waiting for a disk, and what a
/// hypervisor stole are nobody's work. In steps of a tick, 10 ms, for each processor.
///
/// # Errors
/// Where `/proc` is not mounted.
pub fn busy() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    parse(&text)
        .map(ticks)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no cpu line"))
}

fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else { return None };
    Some(user + nice + system + irq + softirq)
}

fn ticks(ticks: u64) -> Duration {
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_secs_f64(ticks as f64 / hertz as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_and_idling_waiting_and_stolen_time_are_not() {
        let text = "cpu  1 20 300 9000 9000 4000 50000 9000000 0 0\ncpu0 7 7 7 7 7 7 7 7 7 7\n";
        assert_eq!(parse(text), Some(54_321));
        assert_eq!(parse("cpu0 1 2 3 4 5 6 7\n"), None);
        assert_eq!(parse("cpu  1 2 3\n"), None);
        assert!(busy().unwrap() > Duration::ZERO);
    }
}
