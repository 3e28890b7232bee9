//! The report as a page: one file that needs no other, no script and no network. Well-formed XML as well.

use std::fmt::Write as _;

use super::charts::{Chart, charts};
use super::columns::{Cell, Medium, blocks, cpu_per};
use super::plot::{Escaped, Look, STYLE, key};
use super::row::{Row, Standing, groups, is_compared};
use super::sentences;
use crate::bench::model::Report;
use crate::print::units::Octets;

/// What the page looks like; the charts bring their own.
const PAGE_STYLE: &str = include_str!("html/style.css");

/// The report for a browser.
pub(crate) fn html(report: &Report) -> String {
    let mut out = String::new();
    write(&mut out, report).expect("a String takes all");
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let title =
        if is_compared(report) { "vxgate and the kernel's vxlan device" } else { "What vxgate carries" };
    let title = Escaped(title);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}, measured {}</title>\n<style>\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<p class=\"over\">vxgate bench</p>\n<h1>{title}</h1>\n<p class=\"summary\">{}</p>\n",
        Escaped(&report.started),
        Escaped(&sentences::summary(report))
    )?;
    if let Some(sentence) = sentences::incomplete(report) {
        writeln!(out, "<p class=\"warning\">{}</p>", Escaped(&sentence))?;
    }
    facts(out, report)?;
    out.push_str("</header>\n");
    if !report.loads.is_empty() {
        table(out, report)?;
    }
    for chart in charts(report) {
        section(out, &chart, is_compared(report))?;
    }
    method(out, report)?;
    out.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn facts(out: &mut String, report: &Report) -> std::fmt::Result {
    let mut facts = vec![
        ("version", report.version.clone()),
        ("measured", report.started.clone()),
        ("machine", sentences::machine(report)),
        ("link", sentences::link(report.link).to_owned()),
        ("inner MTU", format!("{} octets", report.mtu_octets)),
        ("rounds", report.rounds.to_string()),
    ];
    facts.extend(report.against.clone().map(|against| ("compared with", against)));
    let resident =
        report.resident_octets.map(|octets| format!("{} resident at most, one vxgate", Octets(octets)));
    facts.extend(resident.map(|resident| ("memory", resident)));
    out.push_str("<dl class=\"facts\">\n");
    for (name, value) in facts {
        writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Escaped(&value))?;
    }
    out.push_str("</dl>\n");
    Ok(())
}

fn table(out: &mut String, report: &Report) -> std::fmt::Result {
    let groups = groups(report);
    let rows: Vec<Row<'_>> = groups.iter().flat_map(|(_, rows)| rows).copied().collect();
    let blocks = blocks(&rows, is_compared(report), Medium::Page);
    let columns = 1 + blocks.iter().map(|block| block.columns.len()).sum::<usize>();

    out.push_str("<section>\n<h2>All loads</h2>\n\
         <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"All loads\">\n<table>\n<thead>\n<tr><th rowspan=\"2\" scope=\"col\">load</th>");
    for block in &blocks {
        write!(out, "<th colspan=\"{}\" scope=\"colgroup\">{}</th>", block.columns.len(), block.title)?;
    }
    out.push_str("</tr>\n<tr>");
    for column in blocks.iter().flat_map(|block| &block.columns) {
        write!(out, "<th scope=\"col\">{}</th>", column.name)?;
    }
    out.push_str("</tr>\n</thead>\n");
    let mut index = 0;
    for (group, rows) in &groups {
        let per =
            cpu_per(*group, rows).map_or_else(String::new, |per| format!(" <small>CPU per {per}</small>"));
        writeln!(
            out,
            "<tbody>\n<tr class=\"group\"><th colspan=\"{columns}\" scope=\"rowgroup\"><span>{}{per}</span></th></tr>",
            group.heading()
        )?;
        for row in rows {
            let (title, label) = (format!("{} ({})", row.load.title, row.load.name), row.label());
            write!(out, "<tr><th scope=\"row\" title=\"{}\">{}</th>", Escaped(&title), Escaped(&label))?;
            for block in &blocks {
                for (place, column) in block.columns.iter().enumerate() {
                    out.push_str(if place == 0 { "<td class=\"first\">" } else { "<td>" });
                    cell(out, column.cells[index].as_ref())?;
                    out.push_str("</td>");
                }
            }
            out.push_str("</tr>\n");
            index += 1;
        }
        out.push_str("</tbody>\n");
    }
    out.push_str("</table>\n</div>\n</section>\n");
    Ok(())
}

fn cell(out: &mut String, cell: Option<&Cell>) -> std::fmt::Result {
    let Some(Cell { text, standing }) = cell else { return Ok(()) };
    write!(out, "{}", Escaped(text))?;
    let Some(name) = standing.map(Standing::name) else { return Ok(()) };
    write!(out, " <span class=\"{name}\">{name}</span>")
}

fn section(out: &mut String, chart: &Chart, compared: bool) -> std::fmt::Result {
    writeln!(
        out,
        "<section class=\"chart\">\n<h2>{}</h2>\n<p class=\"note\">{}</p>",
        chart.title, chart.note
    )?;
    if let Some(kind) = chart.key {
        let mut keys = vec![(Look::Solid, "vxgate")];
        if compared {
            keys.push((Look::Dashed, "kernel"));
        }
        out.push_str("<ul class=\"legend\">");
        for (look, name) in keys {
            write!(out, "<li>{} {name}</li>", key(kind, look))?;
        }
        out.push_str("</ul>\n");
    }
    out.push_str("<div class=\"columns\">\n");
    for column in &chart.columns {
        out.push_str("<div>\n");
        for panel in column {
            writeln!(
                out,
                "<figure>\n<figcaption>{}</figcaption>\n{}</figure>",
                Escaped(&panel.title),
                panel.svg
            )?;
        }
        out.push_str("</div>\n");
    }
    out.push_str("</div>\n</section>\n");
    Ok(())
}

fn method(out: &mut String, report: &Report) -> std::fmt::Result {
    out.push_str(
        "<section>\n<h2>How it was measured</h2>\n\
         <p>Two hosts, network namespaces of one machine, are joined by a virtual link. Each sends to the other through \
         a VXLAN tunnel; the load is made by threads of this program in both hosts. One data plane is there at a time, \
         made anew for each measurement, and the load runs for a moment before it is measured.</p>\n",
    );
    if is_compared(report) {
        out.push_str(
            "<p>Each load runs over vxgate, then over the kernel's vxlan device, and so on in turn, round after round \
             (A B A B). The two of a round follow each other closely, so that what else the machine does weighs on both. \
             The ratio of a round is vxgate's figure over the kernel's; the ratio of a load is the median of these, \
             which is not the quotient of the two medians beside it. <em>Ahead</em> and <em>behind</em> mean: in every \
             round; <em>even</em>: in some rounds ahead and in others not.</p>\n",
        );
    }
    out.push_str(
        "<p>CPU is the time for which processors of the whole machine were busy, the making of the load included. Loss \
         is the part of the datagrams sent that did not arrive. Reordered are datagrams that arrived after a later one \
         of their flow, in all rounds together. The Internet mix is 7 packets of 40 octets to 4 of 576 and 1 of 1400. \
         The highest rate under 0.1 % loss is searched for by halving.</p>\n",
    );
    write!(out, "<p>To repeat it:</p>\n<pre><code>{}</code></pre>\n</section>\n", Escaped(&report.command))
}
