//! The command line as a whole.

use proptest::prelude::*;

use super::*;

fn parse_line(line: &str) -> Result<Parsed, Failure> {
    parse(line.split_whitespace().map(OsString::from).collect())
}

fn run(line: &str) -> CommandLine {
    match parse_line(line) {
        Ok(Parsed::Run(command_line)) => command_line,
        other => panic!("{line}: {other:?}"),
    }
}

fn printed(line: &str) -> String {
    match parse_line(line) {
        Ok(Parsed::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

/// Every verb, as it is typed; the first is no verb at all.
fn verbs() -> Vec<String> {
    fn below(command: &clap::Command, path: &str, verbs: &mut Vec<String>) {
        verbs.push(path.to_owned());
        for sub in command.get_subcommands() {
            below(sub, &format!("{path} {}", sub.get_name()), verbs);
        }
    }
    let mut verbs = Vec::new();
    below(&command(), "vxgate", &mut verbs);
    verbs
}

#[test]
fn the_definition_is_consistent() {
    command().debug_assert();
}

#[test]
fn the_help_of_every_verb_has_an_example_of_it() {
    let verbs = verbs();
    assert!(verbs.len() > 18, "{verbs:?}");
    for verb in verbs {
        for help in ["-h", "--help"] {
            let text = printed(&format!("{verb} {help}"));
            let examples = text.split_once("Examples:").unwrap_or_else(|| panic!("{verb}: {text}")).1;
            let name = verb.trim_start_matches("vxgate ");
            assert!(examples.contains(name), "{verb}: {text}");
        }
    }
}

#[test]
fn the_examples_of_the_help_parse() {
    for verb in verbs() {
        let text = printed(&format!("{verb} --help"));
        let (_, examples) = text.split_once("Examples:\n").unwrap();
        for line in examples.lines().take_while(|line| line.starts_with("  ")) {
            assert!(line.len() <= 100, "{line}: it would be wrapped");
            let Some(start) = line.find("vxgate ") else { continue };
            let end = line[start..].find(['|', '>', '&', ')']).map_or(line.len(), |end| start + end);
            if line.contains("ln -s") {
                continue;
            }
            let CommandLine { command, .. } = run(&line[start..end]);
            match command {
                Some(Command::Fdb { verb: Some(verb) }) => match verb {
                    FdbCommand::Show(args) => drop(fdb::parse_show(&args.words).expect(line)),
                    FdbCommand::Add(args) | FdbCommand::Append(args) | FdbCommand::Replace(args) => {
                        drop(
                            fdb::parse_set(crate::control::protocol::FdbVerb::Add, &args.words).expect(line),
                        );
                    }
                    FdbCommand::Del(args) => drop(fdb::parse_del(&args.words).expect(line)),
                    FdbCommand::Flush(args) => drop(fdb::parse_flush(&args.words).expect(line)),
                },
                Some(Command::Peer { verb: Some(PeerCommand::Add(args)) }) => {
                    peer::parse_add(&args.words).expect(line);
                }
                Some(Command::Peer { verb: Some(PeerCommand::Del(args)) }) => {
                    drop(peer::parse_del(&args.words).expect(line));
                }
                Some(Command::Doctor(args)) => drop(crate::config::UpConfig::new(args.options).expect(line)),
                Some(Command::Up(options)) => drop(crate::config::UpConfig::new(*options).expect(line)),
                Some(Command::Init(args)) => {
                    drop(vxgate_gate::InitArguments::parse(&args.arguments).expect(line))
                }
                _ => {}
            }
        }
    }
}

#[test]
fn the_help_of_up_names_each_option_and_the_long_one_its_variable() {
    for help in ["-h", "--help"] {
        let text = printed(&format!("vxgate up {help}"));
        for (option, variable) in VARIABLES {
            assert!(text.contains(&format!("--{option} ")), "{option}");
            assert_eq!(text.contains(&format!("[env: {variable}]")), help == "--help", "{variable}: {text}");
        }
    }
}

#[test]
fn the_doctor_takes_every_option_of_up_with_its_variable() {
    let text = printed("vxgate doctor --help");
    for (option, variable) in VARIABLES {
        assert!(text.contains(&format!("--{option}")), "{option}");
        assert!(text.contains(&format!("[env: {variable}]")), "{variable}: {text}");
    }
}

#[test]
fn no_verb_shows_and_flags_stand_before_or_behind_the_verb() {
    let line = run("vxgate -j");
    assert!(line.command.is_none() && line.output.json);
    assert!(run("vxgate -j -p fdb show").output.pretty);
    match run("vxgate fdb show dev vxlan0 -s -j").command {
        Some(Command::Fdb { verb: Some(FdbCommand::Show(args)) }) => {
            assert_eq!(args.words, ["dev", "vxlan0"]);
            assert!(args.output.json && args.statistics);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_scripts_name_means_init() {
    for name in ["/opt/init_vxlan.sh", "init_vxlan", "./my-init_vxlan-2"] {
        match run(&format!("{name} eth0 172.21.0.100 vxlan0 10.225.194.171/9 - 100.64.158.4")).command {
            Some(Command::Init(args)) => assert_eq!(args.arguments.len(), 6),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(run("/opt/init_vxlan.d/vxgate show").command, Some(Command::Show { .. })));
    assert!(printed("/opt/init_vxlan.sh --help").contains("PHY_IF PHY_ADDR"));
}

#[test]
fn init_passes_every_argument_on() {
    match run("vxgate init --foreground eth0 172.21.0.100 vxlan0 10.0.0.1 -9 --peer").command {
        Some(Command::Init(args)) => {
            assert!(args.foreground);
            assert_eq!(args.arguments, ["eth0", "172.21.0.100", "vxlan0", "10.0.0.1", "-9", "--peer"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_wrong_argument_is_named_with_what_is_allowed() {
    for (line, message) in [
        (
            "vxgate fly",
            "vxgate: \"fly\": allowed are up, down, init, migrate, show, reload, check, explain, top, capture, fdb, peer, gate, doctor, lab, bench, completions, man",
        ),
        ("vxgate fdb fly", "vxgate: fdb: \"fly\": allowed are show, add, append, replace, del, flush"),
        ("vxgate --fly", "vxgate: \"--fly\": no such argument"),
        ("vxgate up --vni", "vxgate: up: --vni: a value is missing: --vni <VNI>"),
        (
            "vxgate up --vni 16777216",
            "vxgate: up: --vni \"16777216\": a VNI is a whole number from 0 to 16777215",
        ),
        ("vxgate up --vni=", "vxgate: up: --vni \"\": a VNI is a whole number"),
        ("vxgate up --vni 1 --vni 2", "vxgate: up: --vni: may be given once"),
        ("vxgate lab --keep --failover 2", "vxgate: lab: --keep: does not go together with --failover"),
        ("vxgate lab --failover 2 --keep", "vxgate: lab: --failover: does not go together with --keep"),
        ("vxgate up --vnis 1", "vxgate: up: \"--vnis\": no such argument; a similar one is --vni"),
        ("vxgate up --peer host", "vxgate: up: --peer \"host\": an IPv4 or IPv6 address"),
        ("vxgate up extra", "vxgate: up: \"extra\": no such argument"),
        ("vxgate lab a", "vxgate: lab: \"a\": no such argument"),
        ("vxgate lab --chek", "vxgate: lab: \"--chek\": no such argument; a similar one is --check"),
        ("vxgate completions", "vxgate: completions: <SHELL>"),
        ("vxgate completions dos", "vxgate: completions: <SHELL> \"dos\": allowed are bash, elvish"),
    ] {
        let failure = parse_line(line).expect_err(line);
        let text = failure.to_string();
        assert!(text.starts_with(message), "{line}: {text}");
        assert!(text.contains("\nhint: `vxgate ") && text.lines().count() == 2, "{line}: {text}");
        assert_eq!(failure.exit_code(), std::process::ExitCode::from(2), "{line}");
    }
}

proptest! {
    #[test]
    fn any_arguments_parse_or_say_why(
        verb in prop::sample::select(vec!["up", "down", "init", "migrate", "show", "fdb", "peer", "lab", "bench", "man", "completions"]),
        arguments: Vec<Vec<u8>>,
    ) {
        use std::os::unix::ffi::OsStringExt as _;
        let mut line = vec!["vxgate".into(), verb.into()];
        line.extend(arguments.into_iter().map(OsString::from_vec));
        let _ = parse(line).map_err(|failure| failure.to_string());
    }

    #[test]
    fn options_with_any_values_parse_or_say_why(
        options in prop::collection::vec((0..VARIABLES.len(), "[ -~]{0,12}|[0-9./:]{0,12}|on|off|inherit|hash"), 0..6),
    ) {
        let mut line = vec!["vxgate".to_owned(), "up".to_owned()];
        line.extend(options.into_iter().map(|(option, value)| format!("--{}={value}", VARIABLES[option].0)));
        if let Ok(Parsed::Run(CommandLine { command: Some(Command::Up(options)), .. })) =
            parse(line.into_iter().map(OsString::from).collect())
        {
            let _ = crate::config::UpConfig::new(*options).map_err(|error| (error.to_string(), error.hint()));
        }
    }
}
