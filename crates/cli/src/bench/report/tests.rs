use roxmltree::{Document, Node, ParsingOptions};

use super::{html, json, sample, table};
use crate::bench::model::{Report, Sample};

/// Figures that no page may show as they are, and sizes that no chart may be torn by.
const EXTREMES: [f64; 8] =
    [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 1e-15];

fn with_all(mut report: Report, change: impl Fn(&mut Sample)) -> Report {
    for load in &mut report.loads {
        load.vxgate.iter_mut().chain(&mut load.kernel).for_each(&change);
    }
    report
}

fn with_rounds(mut report: Report, vxgate: usize, kernel: usize) -> Report {
    for load in &mut report.loads {
        load.vxgate.truncate(vxgate);
        load.kernel.truncate(kernel);
    }
    report
}

fn alone_and_interrupted() -> Report {
    with_rounds(sample::alone(), 1, 0)
}

/// Reports as they may come, each with its name.
fn reports() -> Vec<(String, Report)> {
    let mut reports = vec![
        ("full".to_owned(), sample::full()),
        ("alone".to_owned(), sample::alone()),
        ("alone-interrupted".to_owned(), alone_and_interrupted()),
        (
            "default".to_owned(),
            sample::only(&["tcp1", "tcp4", "udp-flat-18-1", "udp-flat-1400-1", "rtt-idle"]),
        ),
        ("one".to_owned(), sample::only(&["udp-lossless-18-1"])),
        ("none".to_owned(), sample::only(&[])),
        ("round".to_owned(), with_rounds(sample::full(), 1, 1)),
        ("interrupted".to_owned(), with_rounds(sample::full(), 2, 1)),
        ("before-kernel".to_owned(), with_rounds(sample::full(), 1, 0)),
        ("nothing".to_owned(), with_rounds(sample::full(), 0, 0)),
    ];
    let bare = |sample: &mut Sample| {
        *sample = Sample { loss: None, reordered: None, cpu_seconds: None, latency: None, ..*sample };
    };
    reports.push(("bare".to_owned(), with_all(sample::full(), bare)));
    let no_curve = |sample: &mut Sample| {
        sample.latency.iter_mut().for_each(|times| times.curve.clear());
    };
    reports.push(("no-curve".to_owned(), with_all(sample::full(), no_curve)));
    for extreme in EXTREMES {
        let everywhere = |sample: &mut Sample| {
            sample.figure = extreme;
            sample.loss = Some(extreme);
            sample.cpu_seconds = Some(extreme);
            if let Some(times) = &mut sample.latency {
                (times.p50, times.p99, times.p999) = (extreme, extreme, extreme);
                times.curve.fill(extreme);
            }
        };
        reports.push((format!("all {extreme:e}"), with_all(sample::full(), everywhere)));
        let mut one = sample::full();
        for load in &mut one.loads {
            everywhere(&mut load.vxgate[1]);
        }
        reports.push((format!("one {extreme:e}"), one));
        let mut kernel = sample::full();
        for load in &mut kernel.loads {
            load.kernel.iter_mut().for_each(everywhere);
        }
        reports.push((format!("kernel {extreme:e}"), kernel));
    }
    let mut markup = sample::full();
    let text = "<script>alert('&amp;')</script> ]]> \u{1b}[1m \0 \"";
    for field in
        [&mut markup.version, &mut markup.command, &mut markup.cpu, &mut markup.kernel, &mut markup.started]
    {
        *field = text.to_owned();
    }
    for load in &mut markup.loads {
        (load.name, load.title) = (text.to_owned(), text.to_owned());
    }
    reports.push(("markup".to_owned(), markup));
    reports
}

fn parsed<T>(page: &str, look: impl FnOnce(&Document<'_>) -> T) -> T {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    look(&Document::parse_with_options(page, options).expect("well-formed"))
}

fn named<'a>(document: &'a Document<'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    document.descendants().filter(move |node| node.has_tag_name(name) || node.tag_name().name() == name)
}

fn text(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect()
}

fn titles(report: &Report) -> Vec<String> {
    parsed(&html(report), |document| named(document, "figcaption").map(text).collect())
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_from_elsewhere() {
    for (name, report) in reports() {
        let page = html(&report);
        parsed(&page, |document| {
            for node in document.descendants().filter(Node::is_element) {
                let element = node.tag_name().name();
                assert!(
                    !["script", "link", "img", "iframe", "image", "use"].contains(&element),
                    "{name}: {element}"
                );
                for attribute in node.attributes() {
                    assert!(!["href", "src", "style"].contains(&attribute.name()), "{name}: {attribute:?}");
                }
            }
            let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
            let mut unique = ids.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), ids.len(), "{name}: {ids:?}");
            for labels in document.descendants().filter_map(|node| node.attribute("aria-labelledby")) {
                assert!(labels.split(' ').all(|label| ids.contains(&label)), "{name}: {labels}");
            }
        });
        assert!(!page.contains("url(") && !page.contains("@import"), "{name}");
    }
}

#[test]
fn no_figure_is_shown_that_is_none() {
    for (name, report) in reports() {
        for (kind, shown) in
            [("html", html(&report)), ("table", table(&report, true)), ("json", json(&report))]
        {
            // As words: `inf` is part of others.
            let words: Vec<&str> = shown.split(|c: char| !c.is_alphanumeric()).collect();
            for word in ["NaN", "inf"] {
                assert!(!words.contains(&word), "{kind} of {name}");
            }
        }
    }
}

#[test]
fn every_drawing_has_marks_within_its_bounds_and_no_two_labels_in_one_place() {
    for (name, report) in reports() {
        parsed(&html(&report), |document| {
            for svg in named(document, "svg").filter(|svg| svg.attribute("class") == Some("plot")) {
                let title = svg
                    .children()
                    .find(|node| node.tag_name().name() == "title")
                    .and_then(|node| node.text());
                let name = format!("{name}, {title:?}");
                let number = |node: Node<'_, '_>, attribute| -> f64 {
                    node.attribute(attribute).unwrap_or("0").parse().unwrap()
                };
                let class = |node: &Node<'_, '_>| node.attribute("class").unwrap_or_default().to_owned();
                let classes: Vec<String> = svg.descendants().map(|node| class(&node)).collect();
                let drawn = |start: &str| classes.iter().any(|class| class.starts_with(start));
                assert!(drawn("mark") || drawn("bar") || drawn("median"), "{name}: empty axes");
                let description = svg.children().find(|node| node.tag_name().name() == "desc").unwrap();
                assert!(text(description).len() > 20, "{name}");

                let size: Vec<f64> =
                    svg.attribute("viewBox").unwrap().split(' ').map(|part| part.parse().unwrap()).collect();
                for node in svg.descendants().filter(Node::is_element) {
                    for (attributes, most) in
                        [(["x", "x1", "x2", "cx"], size[2]), (["y", "y1", "y2", "cy"], size[3])]
                    {
                        for attribute in attributes {
                            let at = number(node, attribute);
                            assert!((-4.0..=most).contains(&at), "{name}: {node:?} {attribute} {at}");
                        }
                    }
                    assert!(number(node, "x") + number(node, "width") <= size[2], "{name}: {node:?}");
                }
                let ticks: Vec<(f64, f64)> = svg
                    .descendants()
                    .filter(|node| node.tag_name().name() == "text")
                    .map(|node| (number(node, "x"), number(node, "y")))
                    .collect();
                for (index, (x, y)) in ticks.iter().enumerate() {
                    for (other_x, other_y) in &ticks[..index] {
                        let apart = (x - other_x).abs() >= 12.0 || (y - other_y).abs() >= 10.0;
                        assert!(apart, "{name}: two texts at {x},{y} and {other_x},{other_y}");
                    }
                }
            }
        });
    }
}

#[test]
fn there_is_a_chart_for_what_was_measured_and_none_for_what_was_not() {
    assert_eq!(
        titles(&sample::full()),
        [
            "TCP and round trips",
            "UDP",
            "Throughput by streams",
            "Connections opened and closed",
            "Flat out, 1 flow",
            "Flat out, 8 flows",
            "Under 0.1 % loss, 1 flow",
            "Under 0.1 % loss, 8 flows",
            "Idle",
            "Beside a TCP stream",
            "TCP, by streams",
            "TCP connections",
            "Round trips",
            "UDP",
        ]
    );
    assert_eq!(
        titles(&sample::only(&["tcp1"])),
        ["TCP and round trips", "Throughput by streams", "TCP, by streams"]
    );
    assert_eq!(titles(&sample::only(&["rtt-loaded"])), ["TCP and round trips", "Beside a TCP stream"]);
    assert_eq!(titles(&sample::only(&[])), [""; 0]);
    assert_eq!(titles(&with_rounds(sample::full(), 0, 0)), [""; 0]);
    assert_eq!(titles(&sample::alone())[0], "Throughput by streams", "no ratios without a kernel");
    let nan = with_all(sample::only(&["udp-flat-18-1"]), |sample| {
        (sample.figure, sample.cpu_seconds) = (f64::NAN, Some(f64::NAN));
    });
    assert_eq!(titles(&nan), [""; 0]);
}

#[test]
fn the_summary_says_what_the_figures_say() {
    let summary = |report: &Report| {
        parsed(&html(report), |document| {
            text(named(document, "p").find(|node| node.attribute("class") == Some("summary")).unwrap())
        })
    };
    assert_eq!(
        summary(&sample::full()),
        "vxgate carries 1.24 times as much in one TCP stream as the kernel's vxlan device, delivers 2.36 times as many \
         UDP datagrams of 18 octets, takes 1.96 times as long for a round trip and carries 0.79 times as many TCP \
         connections a second. It is ahead in every round of 16 of the 19 loads, behind in every round of 2 and now ahead, now \
         behind in 1."
    );
    assert_eq!(
        summary(&sample::alone()),
        "vxgate carries 7.40 Gb/s in one TCP stream, delivers 812 kpps of UDP datagrams of 18 octets, takes 46.0 \u{b5}s \
         for a round trip and carries 11.8 k/s of TCP connections. The kernel's device was not measured beside it."
    );
    assert_eq!(
        summary(&sample::only(&["imix"])),
        "vxgate delivers 2.20 times as many UDP datagrams as the kernel's vxlan device. It is ahead in every round of \
         the only load."
    );
    assert_eq!(summary(&sample::only(&[])), "Nothing was measured.");
}

#[test]
fn a_run_that_ended_early_says_so() {
    let sentence = "Not measured to the end: some loads have 1 of the 3 rounds that were asked for.";
    let interrupted = with_rounds(sample::full(), 2, 1);
    assert!(html(&interrupted).contains(sentence) && table(&interrupted, false).contains(sentence));
    assert!(
        !html(&sample::full()).contains("to the end")
            && !table(&sample::full(), false).contains("to the end")
    );
    assert!(!html(&sample::alone()).contains("to the end"), "a kernel that was not asked for is not missing");
}

#[test]
fn a_ratio_is_of_the_two_of_a_round_and_the_json_has_them() {
    let mut report = sample::only(&["tcp1"]);
    let load = &mut report.loads[0];
    for (index, (vxgate, kernel)) in [(10.0, 10.0), (30.0, 20.0), (60.0, 30.0)].into_iter().enumerate() {
        (load.vxgate[index].figure, load.kernel[index].figure) = (vxgate, kernel);
    }
    let value: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
    let load = &value["loads"][0];
    assert_eq!((&load["ratios"], &load["ratio"]), (&serde_json::json!([1.0, 1.5, 2.0]), &1.5.into()));
    assert_eq!((&load["name"], &value["link"]), (&"tcp1".into(), &"wire".into()));
    let alone: serde_json::Value = serde_json::from_str(&json(&sample::alone())).unwrap();
    assert_eq!(alone["loads"][0]["ratio"], serde_json::Value::Null);
    let page = html(&report);
    assert!(page.contains(">1.50 <span") && page.contains("1.00 1.50 2.00"), "{page}");
    let row = table(&report, false);
    assert!(row.contains("1.50  1.00-2.00"), "{row}");
}

#[test]
fn better_is_green_and_worse_is_red_where_every_round_says_so_and_colour_is_asked_for() {
    let (good, bad, end) = ("\u{1b}[32m", "\u{1b}[31m", "\u{1b}[0m");
    let painted = |name: &str| {
        let shown = table(&sample::only(&[name]), true);
        let ratio = shown.lines().find(|line| line.starts_with("  ")).map(str::to_owned);
        ratio.filter(|_| shown.contains(end)).map_or("plain", |_| {
            if shown.contains(good) {
                "good"
            } else if shown.contains(bad) {
                "bad"
            } else {
                "plain"
            }
        })
    };
    // More is better, but of round trips less.
    assert_eq!(painted("tcp1"), "good");
    assert_eq!(painted("conn"), "bad");
    assert_eq!(painted("tcp16"), "plain");
    assert_eq!(painted("rtt-idle"), "bad");
    assert_eq!(painted("rtt-loaded"), "good");
    for (name, report) in reports() {
        assert!(!table(&report, false).contains('\u{1b}'), "{name}");
    }
}

#[test]
fn the_table_is_not_wider_than_a_terminal() {
    for (name, report) in reports().into_iter().filter(|(name, _)| !name.contains(' ') && name != "markup") {
        let shown = table(&report, false);
        assert!(shown.lines().all(|line| line.chars().count() <= 110), "{name}\n{shown}");
    }
}

#[test]
fn the_table_reads_so() {
    assert_eq!(table(&sample::full(), false), include_str!("golden/full.txt"));
    assert_eq!(table(&alone_and_interrupted(), false), include_str!("golden/alone.txt"));
}
