//! `vxgate doctor`: a line for each finding, its next step below it, and what it comes to.

use std::io::{self, Write};

use super::style::Style;
use super::units::Count;
use super::{Format, JsonList};
use crate::doctor::finding::{Finding, Verdict};

/// Where a finding begins: behind the verdict and the name of the check.
const INDENT: usize = 6 + 14;

/// Writes the findings.
pub(crate) fn write(out: &mut dyn Write, format: Format, findings: &[Finding]) -> io::Result<()> {
    match format {
        Format::Text(style) => {
            for finding in findings {
                let verdict = format!("{:<6}", finding.verdict.name());
                let verdict = match finding.verdict {
                    Verdict::Ok => style.good(verdict),
                    Verdict::Note => style.plain(verdict),
                    Verdict::Warn => style.doubtful(verdict),
                    Verdict::Fail => style.bad(verdict),
                };
                writeln!(out, "{verdict}{:<14}{}", finding.check, finding.found)?;
                if let Some(next_step) = &finding.next_step {
                    writeln!(out, "{:INDENT$}hint: {next_step}", "")?;
                }
            }
            writeln!(out, "{}", summary(findings, style))
        }
        Format::Json | Format::PrettyJson => {
            let mut list = JsonList::new(format == Format::PrettyJson);
            for finding in findings {
                list.element(out, finding)?;
            }
            list.end(out)
        }
    }
}

fn summary(findings: &[Finding], style: Style) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count() as u64;
    let (failures, warnings) = (count(Verdict::Fail), count(Verdict::Warn));
    match (failures, warnings) {
        (0, 0) => style.good("nothing is in the way").to_string(),
        (0, _) => style.doubtful(Count(warnings, "warning")).to_string(),
        (_, 0) => style.bad(Count(failures, "failure")).to_string(),
        (_, _) => format!("{}, {}", style.bad(Count(failures, "failure")), Count(warnings, "warning")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Check;

    fn written(format: Format, findings: &[Finding]) -> String {
        let mut out = Vec::new();
        write(&mut out, format, findings).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_has_verdict_check_and_finding_and_its_next_step_stands_below() {
        let findings = [
            Finding::ok(Check::Tun, "it opens"),
            Finding::note(Check::KernelVxlan, "there is none"),
            Finding::warn(Check::Mtu, "it is small", "make it larger"),
            Finding::fail(Check::Port, "it is taken", "free it"),
        ];
        let text = "ok    tun           it opens\n\
                    note  kernel-vxlan  there is none\n\
                    warn  mtu           it is small\n\
                    \x20                   hint: make it larger\n\
                    FAIL  port          it is taken\n\
                    \x20                   hint: free it\n";
        assert_eq!(written(Format::Text(Style::PLAIN), &findings), format!("{text}1 failure, 1 warning\n"));
        let json = r#"[{"check":"tun","verdict":"ok","found":"it opens","next_step":null}]"#;
        assert_eq!(written(Format::Json, &findings[..1]), format!("{json}\n"));
    }

    #[test]
    fn the_last_line_says_what_it_comes_to() {
        let ok = Finding::ok(Check::Tun, "it opens");
        let warn = Finding::warn(Check::Mtu, "it is small", "make it larger");
        let fail = Finding::fail(Check::Port, "it is taken", "free it");
        for (findings, last) in [
            (vec![ok.clone()], "nothing is in the way"),
            (vec![ok.clone(), warn.clone(), warn.clone()], "2 warnings"),
            (vec![fail.clone(), ok], "1 failure"),
            (vec![fail, warn], "1 failure, 1 warning"),
        ] {
            assert_eq!(written(Format::Text(Style::PLAIN), &findings).lines().last(), Some(last));
        }
    }
}
