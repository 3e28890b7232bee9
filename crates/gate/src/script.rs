//! The line that runs the Gate's init script, found in what runs at boot.
//!
//! ```text
//! /etc/rc.local    sudo /root/init_vxlan.sh eth0 $IP vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 >> /var/log/vxlan 2>&1 &
//! crontab          @reboot root sleep 30 && /root/init_vxlan.sh ...
//! a systemd unit   ExecStart=/bin/sh -c '/root/init_vxlan.sh ...'
//! ```
//!
//! Nothing is run and nothing is guessed: where an argument depends on what only a running shell knows, the error names it.

mod words;

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use self::words::{Line, Unclosed, Variables, Word, assignment};
use crate::{InitArguments, InitError};

/// What the names of our variables begin with.
const VARIABLES: &str = "VXGATE_";

/// What the script's name holds, however it was called when it was saved.
const NAME: &str = "init_vxlan";

/// Programs that run the command behind them.
const WRAPPERS: &[&str] = &[
    "ash",
    "bash",
    "busybox",
    "chroot",
    "chrt",
    "command",
    "dash",
    "doas",
    "env",
    "eval",
    "exec",
    "flock",
    "ionice",
    "ip",
    "ksh",
    "nice",
    "nohup",
    "nsenter",
    "runuser",
    "setsid",
    "sh",
    "source",
    ".",
    "stdbuf",
    "su",
    "sudo",
    "systemd-cat",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "zsh",
];

/// Programs that only speak of it.
const TALKERS: &[&str] = &["echo", "printf", "logger", ":", "alias"];

/// Words of the shell's own in front of a command.
const RESERVED: &[&str] = &["if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"];

/// A line that runs the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptLine {
    /// Where it begins, from 1.
    pub line: usize,
    /// The arguments behind the script's name, as the script would see them.
    pub words: Vec<String>,
    /// What they ask for.
    pub arguments: InitArguments,
    /// Options for `vxgate init` that its environment holds there, as in `VXGATE_MTU=1400`; the script itself knows none.
    pub environment: BTreeMap<String, String>,
}

/// Finds the lines of a text that run the script, or `vxgate init` in its place.
///
/// `variables` says what the text does not: `("IP", "172.21.0.100")` for a line with `$IP`.
///
/// ```
/// let text = "#!/bin/sh\nIP=172.21.0.100\n/root/init_vxlan.sh eth0 $IP vxlan0 10.225.194.171 9 100.64.158.4 > /var/log/vxlan 2>&1\n";
/// let lines = vxgate_gate::script::find(text, [])?;
/// assert_eq!(lines[0].line, 3);
/// assert_eq!(lines[0].arguments.local, "172.21.0.100".parse::<std::net::IpAddr>().expect("an address"));
/// # Ok::<(), vxgate_gate::script::ScriptError>(())
/// ```
///
/// # Errors
/// No line does, or the first that does cannot be understood.
pub fn find(
    text: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<ScriptLine>, ScriptError> {
    let mut variables = Variables::new(variables.into_iter().collect::<BTreeMap<_, _>>());
    let mut found = Vec::new();
    let mut commented = None;
    for (line, text) in logical_lines(text) {
        let text = text.trim();
        if text.starts_with('#') {
            commented = commented.or(text.contains(NAME).then_some(line));
            continue;
        }
        match unit_setting(text) {
            Some(("Environment", value)) => {
                // What is no assignment there is systemd's to refuse.
                let _ = assignments(value, &mut variables);
            }
            Some((_, command)) => {
                let command = command.trim_start_matches(['-', '@', ':', '+', '!']);
                found.extend(find_in_line(command, line, &mut variables)?);
            }
            None => found.extend(find_in_line(text, line, &mut variables)?),
        }
    }
    if found.is_empty() { Err(ScriptError::None { commented }) } else { Ok(found) }
}

/// Finds the script in words that a shell has made already.
///
/// # Errors
/// [`ScriptError::Arguments`], on line 1.
pub fn of_words(words: &[String]) -> Result<ScriptLine, ScriptError> {
    let made: Vec<Word> = words.iter().map(|text| Word { text: text.clone(), unknown: None }).collect();
    let behind = position(&made).map_or(0, |script| script.end);
    let words = words[behind..].to_vec();
    let arguments =
        InitArguments::parse(&words).map_err(|source| ScriptError::Arguments { line: 1, source })?;
    let environment = environment(&made[..behind], &Variables::default());
    Ok(ScriptLine { line: 1, words, arguments, environment })
}

/// Lines with their numbers, those that end in a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end_matches('\r');
        let backslashes = line.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let continues = backslashes % 2 == 1 && !line.trim_start().starts_with('#');
        let part = if continues { &line[..line.len() - 1] } else { line };
        match lines.last_mut() {
            Some((_, joined)) if goes_on => joined.push_str(part),
            Some(_) | None => lines.push((number, part.to_owned())),
        }
        goes_on = continues;
    }
    lines
}

/// A setting of a systemd unit that holds a command or variables.
fn unit_setting(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let name = name.trim_end();
    let is_command = name.strip_prefix("Exec").is_some_and(|rest| rest.chars().all(char::is_alphabetic));
    (is_command || name == "Environment").then_some((name, value.trim_start()))
}

fn assignments(text: &str, variables: &mut Variables) -> Result<(), Unclosed> {
    let mut line = Line::new(text);
    while let Some(words) = line.command(variables)? {
        words.iter().for_each(|word| assign(word, variables));
    }
    Ok(())
}

fn assign(word: &Word, variables: &mut Variables) {
    if let Some((name, value)) = assignment(&word.text) {
        variables.assign(name, &Word { text: value.to_owned(), unknown: word.unknown.clone() });
    }
}

/// Finds the script in one line, command by command: what a command assigns holds for those behind it.
fn find_in_line(text: &str, line: usize, variables: &mut Variables) -> Result<Vec<ScriptLine>, ScriptError> {
    let mut found = Vec::new();
    let mut commands = Line::new(text);
    loop {
        let words = match commands.command(variables) {
            Ok(Some(words)) => words,
            Ok(None) => return Ok(found),
            Err(Unclosed(quote)) if text.contains(NAME) => return Err(ScriptError::Unclosed { line, quote }),
            // A line of another kind, and none of ours.
            Err(_) => return Ok(found),
        };
        let words = command_of(&words);
        let declared = words.iter().take_while(|word| assignment(&word.text).is_some()).count();
        let declares = words.first().is_some_and(|word| {
            ["export", "readonly", "declare", "typeset", "local"].contains(&word.text.as_str())
        });
        if declares || declared == words.len() {
            words.iter().for_each(|word| assign(word, variables));
            continue;
        }
        let mut lines = find_in_command(&words[declared..], line, variables)?;
        for found in &mut lines {
            found.environment.extend(environment(&words[..declared], variables));
        }
        found.extend(lines);
    }
}

/// Finds the script in one command.
fn find_in_command(
    words: &[Word],
    line: usize,
    variables: &mut Variables,
) -> Result<Vec<ScriptLine>, ScriptError> {
    let first = words.first().map_or("", |word| base_name(&word.text));
    let is_wrapped = WRAPPERS.contains(&first);
    if let Some(script) = position(words) {
        let arguments = &words[script.end..];
        if script.start == 0 || is_wrapped {
            let environment = environment(&words[..script.start], variables);
            return parse(arguments, line).map(|found| vec![ScriptLine { environment, ..found }]);
        }
        // An unknown program in front: it runs the script if what stands behind can be nothing else.
        let is_certain = !TALKERS.contains(&first);
        return Ok(parse(arguments, line).ok().filter(|_| is_certain).into_iter().collect());
    }
    // sh -c 'init_vxlan.sh ...'
    let command = words.windows(2).find(|pair| {
        is_wrapped
            && pair[0].text.starts_with('-')
            && pair[0].text.ends_with('c')
            && pair[1].text.contains(NAME)
    });
    match command {
        Some([_, Word { unknown: Some(unknown), .. }]) => {
            Err(ScriptError::Unknown { line, written: unknown.written.clone(), why: unknown.why })
        }
        Some([_, inner]) => find_in_line(&inner.text, line, variables),
        Some(_) | None => Ok(Vec::new()),
    }
}

/// Reads the arguments of the script.
fn parse(words: &[Word], line: usize) -> Result<ScriptLine, ScriptError> {
    if let Some(unknown) = words.iter().find_map(|word| word.unknown.clone()) {
        return Err(ScriptError::Unknown { line, written: unknown.written, why: unknown.why });
    }
    let words: Vec<String> = words.iter().map(|word| word.text.clone()).collect();
    let arguments = InitArguments::parse(&words).map_err(|source| ScriptError::Arguments { line, source })?;
    Ok(ScriptLine { line, words, arguments, environment: BTreeMap::new() })
}

/// Our variables that are set in front of a command or before it.
fn environment(front: &[Word], variables: &Variables) -> BTreeMap<String, String> {
    let front = front.iter().filter(|word| word.unknown.is_none()).filter_map(|word| assignment(&word.text));
    let all = variables.known(VARIABLES).chain(front.filter(|(name, _)| name.starts_with(VARIABLES)));
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The words of a command without what a crontab or the shell's own grammar has in front.
fn command_of(words: &[Word]) -> &[Word] {
    let rest = behind_schedule(words);
    let own = rest.iter().take_while(|word| RESERVED.contains(&word.text.as_str())).count();
    &rest[own..]
}

/// Behind the time of a crontab's line, and the user that a system's crontab has there.
fn behind_schedule(words: &[Word]) -> &[Word] {
    let is_field = |word: &Word| {
        !word.text.is_empty() && word.text.chars().all(|c| c.is_ascii_digit() || "*/,-".contains(c))
    };
    let rest = match words {
        [when, rest @ ..] if when.text.starts_with('@') && !when.text.contains('/') => rest,
        [fields @ .., _] if fields.len() >= 5 && fields[..5].iter().all(is_field) => &words[5..],
        [..] => return words,
    };
    match rest {
        [user, command, ..]
            if is_user(&user.text) && !WRAPPERS.contains(&user.text.as_str()) && command.text != "init" =>
        {
            if command.text.contains(['/', '='])
                || WRAPPERS.contains(&command.text.as_str())
                || is_script(&command.text)
            {
                &rest[1..]
            } else {
                rest
            }
        }
        [..] => rest,
    }
}

fn is_user(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_script(text: &str) -> bool {
    let name = base_name(text);
    name.contains(NAME) && !name.contains(char::is_whitespace)
}

/// Where the script, or `vxgate init`, stands; its arguments begin at the range's end. The last counts: a lock's or a log's file in
/// front may have its name.
fn position(words: &[Word]) -> Option<Range<usize>> {
    let start = (0..words.len()).rev().find(|&at| {
        let is_init = words.get(at + 1).is_some_and(|next| next.text == "init");
        is_script(&words[at].text) || (base_name(&words[at].text) == "vxgate" && is_init)
    })?;
    let behind = if is_script(&words[start].text) { start + 1 } else { start + 2 };
    let options = words[behind..].iter().take_while(|word| word.text == "--foreground").count();
    Some(start..behind + options)
}

/// Why no tunnel is found in a text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScriptError {
    /// No line runs the script.
    #[error("no line runs init_vxlan.sh{}", commented.map(|line| format!("; line {line} is a comment")).unwrap_or_default())]
    None {
        /// The first line that would, were it no comment.
        commented: Option<usize>,
    },
    /// An argument holds what only a running shell knows.
    #[error("line {line}: the value of {written} is not known: {why}")]
    Unknown {
        /// The line, from 1.
        line: usize,
        /// As it is written there: `$IP`, `$(hostname -I)`.
        written: String,
        /// Why.
        why: &'static str,
    },
    /// The arguments are not the script's.
    #[error("line {line}: {source}")]
    Arguments {
        /// The line, from 1.
        line: usize,
        /// Which argument, and why.
        source: InitError,
    },
    /// A quote has no end on its line.
    #[error("line {line}: {quote} is opened and not closed")]
    Unclosed {
        /// The line, from 1.
        line: usize,
        /// Which one.
        quote: char,
    },
}

impl ScriptError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            ScriptError::None { .. } => {
                "give its arguments instead: PHY_IF PHY_ADDR VXLAN_IF VXLAN_ADDR NETMASK [VNI] PEER..."
                    .to_owned()
            }
            ScriptError::Unknown { written, .. } => {
                let name = written.trim_start_matches(['$', '{']).trim_end_matches('}');
                if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !name.starts_with(|c: char| c.is_ascii_digit())
                {
                    format!("say it: --set {name}=VALUE")
                } else {
                    "write the line with the value in its place and give that as one argument".to_owned()
                }
            }
            ScriptError::Arguments { source, .. } => source.hint(),
            ScriptError::Unclosed { .. } => {
                "give the line's arguments instead, without the quotes around it".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARGS: &str = "eth0 172.21.0.100 vxlan0 10.225.194.171/9 10.255.255.255 100.64.158.4 100.64.158.132";

    fn seed() -> InitArguments {
        InitArguments::parse(&ARGS.split(' ').collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn values_that_double_at_each_line_cost_no_more_than_the_longest_text() {
        let mut text = "v0=AAAAAAAAAAAAAAAA\n".to_owned();
        for line in 1..40 {
            text.push_str(&format!("v{line}=$v{0}$v{0}\n", line - 1));
        }
        let error = find(&format!("{text}/init_vxlan.sh $v39 b c d e"), []).unwrap_err().to_string();
        assert!(
            error.contains("line 41: the value of $v39 is not known: the values there are longer"),
            "{error}"
        );
    }

    #[test]
    fn the_line_is_found_whatever_stands_around_it() {
        for text in [
            "/root/init_vxlan.sh ARGS",
            "init_vxlan.sh ARGS",
            "  /home/ec2-user/init_vxlan.sh ARGS > /home/ec2-user/init_vxlan.log 2>&1",
            "sudo /root/init_vxlan.sh ARGS >> /var/log/vxlan 2>&1 &",
            "sudo -E nohup bash -x /root/init_vxlan.sh ARGS &",
            "sleep 30 && /root/init_vxlan.sh ARGS || logger failed",
            "[ -x /root/init_vxlan.sh ] && /root/init_vxlan.sh ARGS",
            "if [ -f /root/init_vxlan.sh ]; then /root/init_vxlan.sh ARGS; fi",
            "(cd /root; ./init_vxlan.sh ARGS)",
            "su - ec2-user -c \"sudo /root/init_vxlan.sh ARGS\"",
            "flock /run/init_vxlan.lock /root/init_vxlan.sh ARGS",
            "LANG=C PATH=/sbin:/bin /root/init_vxlan.sh ARGS",
            "\"/opt/my gate/init_vxlan.sh\" ARGS # at boot",
            "$HOME/init_vxlan.sh ARGS",
            "SCRIPT=/root/init_vxlan.sh\n$SCRIPT ARGS",
            "own-wrapper --flag /root/init_vxlan.sh ARGS",
            "@reboot /root/init_vxlan.sh ARGS",
            "@reboot root /root/init_vxlan.sh ARGS >/dev/null 2>&1",
            "@reboot root sleep 30; /root/init_vxlan.sh ARGS",
            "@reboot root sudo init_vxlan.sh ARGS",
            "*/5 * * * * root /root/init_vxlan.sh ARGS",
            "0 4 1-7 * 1,3 /root/init_vxlan.sh ARGS",
            "[Unit]\nDescription=Bob's tunnel\n[Service]\nExecStart=/root/init_vxlan.sh ARGS\n",
            "ExecStart=-/bin/sh -c '/root/init_vxlan.sh ARGS'",
            "ExecStartPre = +@/root/init_vxlan.sh init_vxlan ARGS",
            "vxgate init ARGS",
            "/usr/local/bin/vxgate init --foreground ARGS",
            "IP=172.21.0.100\nexport PEERS='100.64.158.4 100.64.158.132'\n\
             /root/init_vxlan.sh eth0 $IP vxlan0 10.225.194.171 \"255.128.0.0\" ${PEERS}",
            "Environment=IP=172.21.0.100 \"IN=10.225.194.171\"\nExecStart=/init_vxlan.sh eth0 $IP vxlan0 ${IN} 9 10 100.64.158.4 100.64.158.132",
            "/root/init_vxlan.sh eth0 172.21.0.100 \\\n  vxlan0 10.225.194.171 9 \\\n  100.64.158.4 100.64.158.132\r\n",
        ] {
            let text = text.replace("ARGS", ARGS);
            let found = find(&text, []).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].arguments, seed(), "{text}");
        }
    }

    #[test]
    fn what_only_speaks_of_the_script_is_not_taken_for_it() {
        for text in [
            "",
            "chmod +x /root/init_vxlan.sh",
            "curl -o /root/init_vxlan.sh https://example.net/init_vxlan.sh",
            "echo /root/init_vxlan.sh ARGS",
            "logger \"starting /root/init_vxlan.sh ARGS\"",
            "cat > /root/init_vxlan.sh",
            "tail -f /var/log/init_vxlan.log",
            "vxgate up --peer 100.64.158.4",
            "echo \"unclosed",
        ] {
            let text = text.replace("ARGS", ARGS);
            assert_eq!(find(&text, []), Err(ScriptError::None { commented: None }), "{text}");
        }
        let error = find(&format!("#!/bin/sh\n# /root/init_vxlan.sh {ARGS}\n"), []).unwrap_err();
        assert_eq!(error.to_string(), "no line runs init_vxlan.sh; line 2 is a comment");
    }

    #[test]
    fn two_lines_are_two_tunnels_in_their_order() {
        let found = find(
            &format!("/init_vxlan.sh {ARGS}\n\n/init_vxlan.sh {}", ARGS.replace("vxlan0", "vxlan1")),
            [],
        )
        .unwrap();
        let tunnels: Vec<_> =
            found.iter().map(|found| (found.line, found.arguments.device.as_str())).collect();
        assert_eq!(tunnels, [(1, "vxlan0"), (3, "vxlan1")]);
    }

    #[test]
    fn each_thing_that_cannot_be_known_is_an_error_that_names_it() {
        for (text, message, hint) in [
            (
                "\ninit_vxlan.sh eth0 $IP vxlan0 10.0.0.1 9",
                "line 2: the value of $IP is not known: nothing there sets it",
                "--set IP=VALUE",
            ),
            (
                "IP=$(hostname -I)\ninit_vxlan.sh eth0 ${IP} vxlan0 10.0.0.1 9",
                "line 2: the value of ${IP} is not known: it is what a command prints",
                "--set IP=VALUE",
            ),
            (
                "IP=1.2.3.4\nIP=1.2.3.5\nsudo init_vxlan.sh eth0 $IP vxlan0 10.0.0.1 9",
                "line 3: the value of $IP is not known: it is set more than once",
                "--set IP",
            ),
            (
                "init_vxlan.sh eth0 `hostname -I` vxlan0 10.0.0.1 9",
                "line 1: the value of `hostname -I` is not known",
                "as one argument",
            ),
            (
                "init_vxlan.sh $1 $2",
                "line 1: the value of $1 is not known: only the running script",
                "as one argument",
            ),
            (
                "for P in 1.2.3.4 1.2.3.5; do sudo init_vxlan.sh eth0 1.2.3.3 vxlan0 10.0.0.1 9 $P; done",
                "line 1: the value of $P",
                "--set P",
            ),
            ("init_vxlan.sh eth0 172.21.0.100", "line 1: VXLAN_IF is missing", "PHY_IF"),
            (
                "init_vxlan.sh eth0 172.21.0.100 vxlan0 10.0.0.1 10.255.255.255",
                "line 1: NETMASK",
                "10.0.0.1/9",
            ),
            ("init_vxlan.sh eth0 'oops", "line 1: ' is opened and not closed", "without the quotes"),
            ("bash -c \"init_vxlan.sh eth0 $IP vxlan0 10.0.0.1 9\"", "line 1: the value of $IP", "--set IP"),
        ] {
            let error = find(text, []).expect_err(text);
            assert!(error.to_string().starts_with(message), "{text}: {error}");
            assert!(error.hint().contains(hint), "{text}: {}", error.hint());
        }
        let set = [("IP".to_owned(), "1.2.3.4".to_owned())];
        let found = find("IP=$(hostname -I)\ninit_vxlan.sh eth0 $IP vxlan0 10.0.0.1 9", set).unwrap();
        assert_eq!(found[0].words, ["eth0", "1.2.3.4", "vxlan0", "10.0.0.1", "9"]);
    }

    #[test]
    fn options_in_the_environment_of_vxgate_init_are_told() {
        let text =
            "A=1\nexport VXGATE_MTU=1400\nVXGATE_AGEING=60 LANG=C sudo VXGATE_WORKERS=2 vxgate init ARGS";
        let found = find(&text.replace("ARGS", ARGS), []).unwrap().remove(0);
        let told: Vec<_> = found.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(told, ["VXGATE_AGEING=60", "VXGATE_MTU=1400", "VXGATE_WORKERS=2"]);
        let words: Vec<_> =
            format!("VXGATE_MTU=1400 vxgate init {ARGS}").split(' ').map(str::to_owned).collect();
        assert_eq!(of_words(&words).unwrap().environment["VXGATE_MTU"], "1400");
    }

    #[test]
    fn words_of_the_command_line_are_the_arguments_with_or_without_the_script() {
        for front in ["", "/root/init_vxlan.sh ", "sudo nohup /root/init_vxlan.sh ", "vxgate init "] {
            let words: Vec<_> = format!("{front}{ARGS}").split(' ').map(str::to_owned).collect();
            assert_eq!(of_words(&words).unwrap().arguments, seed(), "{front}");
        }
        assert!(matches!(of_words(&["eth0".to_owned()]), Err(ScriptError::Arguments { .. })));
    }

    proptest! {
        #[test]
        fn any_words_come_back_however_they_are_quoted(
            words in prop::collection::vec("[ -~]{0,12}", 0..9),
            wrapper in prop::sample::select(vec!["", "sudo ", "@reboot root ", "ExecStart=", "nohup sh -x "]),
            behind in prop::sample::select(vec!["", " > log 2>&1 &", " # why", "; exit 0", "\nexit 0\n"]),
        ) {
            let quoted: Vec<_> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
            let line = format!("{wrapper}/root/init_vxlan.sh {}{behind}", quoted.join(" "));
            match (find(&line, []), InitArguments::parse(&words)) {
                (Ok(found), Ok(arguments)) => {
                    prop_assert_eq!(&found[0].words, &words);
                    prop_assert_eq!(&found[0].arguments, &arguments);
                }
                (Err(ScriptError::Arguments { source, .. }), Err(error)) => prop_assert_eq!(source, error),
                (found, parsed) => prop_assert!(false, "{line}: {found:?} {parsed:?}"),
            }
        }

        #[test]
        fn any_text_is_searched_to_its_end(text in "\\PC{0,80}|(init_vxlan|[$({}\"'`\\\\ a&<>;|#=\n]){0,20}") {
            let _ = find(&text, []).map_err(|error| (error.to_string(), error.hint()));
        }
    }
}
