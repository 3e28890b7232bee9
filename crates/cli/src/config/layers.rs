//! What says how tunnels shall be, the strongest first: command line, environment, file.
//!
//! A file of several tunnels and a command line go together by one rule: what the line says of a tunnel (its device, its peers, its
//! MTU) it says of the one that `--dev` names; what a process has once it may always say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args as _, Command};

use super::ConfigError;
use super::file::{ConfigFile, OF_THE_PROCESS};
use super::several;
use crate::args::environment::{self, VARIABLES};
use crate::args::up::UpOptions;
use crate::args::up::gate::PeersSource;
use crate::config::UpConfig;
use crate::failure::Failure;

/// The layers of one tunnel, and which of them an error is about.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    /// Command line and environment.
    above: UpOptions,
    file: Option<ConfigFile>,
    /// Which tunnel of the file.
    tunnel: usize,
}

impl Layers {
    /// Lays the command line over this process's environment, and both over the file that either names.
    pub(crate) fn under(line: UpOptions) -> Result<Layers, Failure> {
        Layers::read(line.over(environment::from_environment()?))
    }

    /// Lays options over the file that they name.
    pub(crate) fn read(above: UpOptions) -> Result<Layers, Failure> {
        let file = above.config.as_deref().map(ConfigFile::read).transpose()?;
        Ok(Layers { above, file, tunnel: 0 })
    }

    /// Whether there is a file.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The files that what they say is read from, again at each reload.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let each = self.each().unwrap_or_default();
        let lists = each.iter().filter_map(|layers| match layers.options().gate.gate_peers {
            Some(PeersSource::File(path)) => Some(path),
            Some(PeersSource::Stdin | PeersSource::Json(_)) | None => None,
        });
        self.above.config.clone().into_iter().chain(lists).collect()
    }

    /// The same with the file as it is now. The environment of a process does not change.
    pub(crate) fn read_again(&self) -> Result<Layers, Failure> {
        // Whoever opens a pipe waits for who writes to it, and what was read from one is gone.
        if let Some(path) = &self.above.config
            && path.metadata().is_ok_and(|file| !file.is_file())
        {
            let what = format!("--config {}", path.display());
            return Err(Failure::failed(what, "it is no regular file, and cannot be read again")
                .with_hint("write the configuration to a file, and start the tunnel from that".to_owned()));
        }
        Layers::read(self.above.clone())
    }

    /// The layers of a file alone.
    pub(crate) fn of_file(file: ConfigFile) -> Layers {
        Layers { above: UpOptions::default(), file: Some(file), tunnel: 0 }
    }

    /// The same for each tunnel that is asked for: all of the file, or the one that `--dev` names.
    pub(crate) fn each(&self) -> Result<Vec<Layers>, Failure> {
        let Some(file) = self.file.as_ref().filter(|file| file.has_sections()) else {
            return Ok(vec![self.clone()]);
        };
        let all = (0..file.count()).map(|tunnel| Layers { tunnel, ..self.clone() });
        if let Some(dev) = &self.above.dev {
            let mut named = all.filter(|layers| file.options(layers.tunnel).dev.as_ref() == Some(dev));
            let one = named.next().ok_or_else(|| {
                let here: Vec<String> = (0..file.count())
                    .filter_map(|tunnel| Some(file.options(tunnel).dev?.to_string()))
                    .collect();
                Failure::usage(format!("up: --dev {dev}"), "the file has no tunnel of that name")
                    .with_hint(format!("it has {}", here.join(", ")))
            })?;
            return Ok(vec![one]);
        }
        let all: Vec<Layers> = all.collect();
        if all.len() > 1 {
            self.check_line()?;
        }
        Ok(all)
    }

    /// The same for the only tunnel.
    pub(crate) fn only(&self, verb: &str) -> Result<Layers, Failure> {
        let mut each = self.each()?;
        match (each.pop(), each.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(Failure::usage(verb, "the file has several tunnels")
                .with_hint("name one with --dev".to_owned())),
        }
    }

    /// Refuses options of a tunnel above a file of several.
    fn check_line(&self) -> Result<(), Failure> {
        let allowed =
            |option: &str| OF_THE_PROCESS.contains(&option) || ["config", "dry-run"].contains(&option);
        let options = UpOptions::augment_args(Command::new("up"));
        let names = options.get_arguments().filter_map(clap::Arg::get_long).filter(|option| !allowed(option));
        for option in names {
            if self.above.sets(option) {
                let variable =
                    VARIABLES.iter().find(|(own, _)| *own == option).map_or("", |(_, variable)| variable);
                let why = format!("it, or {variable}, is about one tunnel, and the file has several");
                return Err(Failure::usage(format!("up: --{option}"), why)
                    .with_hint("write it into the file, or name one of its tunnels with --dev".to_owned()));
            }
        }
        Ok(())
    }

    /// What they say together.
    pub(crate) fn options(&self) -> UpOptions {
        let file = self.file.as_ref().map(|file| file.options(self.tunnel)).unwrap_or_default();
        self.above.clone().over(file)
    }

    /// Where this tunnel begins in the file.
    pub(crate) fn beginning(&self) -> Option<&str> {
        self.file.as_ref()?.beginning(self.tunnel)
    }

    /// Where an option of it stands in the file.
    pub(crate) fn place(&self, option: &str) -> Option<&str> {
        self.file.as_ref()?.place(option, &self.above, self.tunnel)
    }

    /// Options that do not go together: the file's by their place in it, others under the name that the user knows them by.
    pub(crate) fn failure(&self, error: &ConfigError, name: impl Fn(&str) -> String) -> Failure {
        Failure::config(error, |option| match (self.place(option), self.beginning()) {
            (Some(place), _) => format!("{place}: {option}"),
            // What the tunnel leaves out.
            (None, Some(beginning)) if !self.above.sets(option) => format!("{beginning}: {option}"),
            (None, _) => name(option),
        })
    }
}

/// All that is wrong in a text, and the tunnels that it makes.
pub(crate) fn check(text: &str, path: &Path) -> (Vec<UpConfig>, Vec<Failure>) {
    let (file, mut problems) = ConfigFile::look(text, path);
    let layers = Layers::of_file(file);
    // From the file alone each tunnel can be told.
    let each = layers.each().unwrap_or_default();
    let mut configs = Vec::new();
    for one in each {
        match UpConfig::new(one.options()) {
            Ok(config) => configs.push((one, config)),
            Err(error) => {
                let place = path.display().to_string();
                problems.push(one.failure(&error, |option| format!("{place}: {option}")));
            }
        }
    }
    problems.extend(several::problems(&configs));
    // What stands twice in all tunnels is told once.
    let mut told = BTreeSet::new();
    problems.retain(|problem| told.insert(problem.to_string()));
    (configs.into_iter().map(|(_, config)| config).collect(), problems)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::args::environment::read_layer;

    /// A file that goes with its test.
    fn with_file(
        name: &str,
        text: &str,
        use_it: impl FnOnce(&dyn Fn(&str) -> Result<Layers, Failure>, &str),
    ) {
        let path = std::env::temp_dir().join(format!("vxgate-layers-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        let config = format!("--config={}", path.display());
        let layers = |line: &str| {
            let line = line.split_whitespace().map(str::to_owned).chain([config.clone()]);
            Layers::read(read_layer(line).unwrap())
        };
        use_it(&layers, &path.display().to_string());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_file_says_what_no_layer_above_says_and_is_named_where_it_is_wrong() {
        with_file("one", "vni = 7\nmtu = 1400\npeer = [\"10.0.0.1\", \"10.0.0.1\"]\n", |layers, path| {
            let failure = |line: &str| {
                let layers = layers(line).unwrap();
                let error = UpConfig::new(layers.options()).unwrap_err();
                layers.failure(&error, |option| format!("up: --{option}")).to_string()
            };
            let told = failure("");
            assert!(
                told.starts_with(&format!("vxgate: {path}:3:1: peer: 10.0.0.1 is given twice")),
                "{told}"
            );
            let told = failure("--peer 10.0.0.2 --local 10.0.0.2");
            assert!(told.starts_with("vxgate: up: --peer: 10.0.0.2 is this host's own"), "{told}");
            let options = layers("--peer 10.0.0.2 --mtu 1300").unwrap().options();
            assert_eq!(
                UpOptions { config: None, ..options },
                read_layer(["--peer=10.0.0.2", "--mtu=1300", "--vni=7"]).unwrap()
            );
        });
    }

    const TWO: &str = "[[tunnel]]\ndev = \"a\"\nvni = 10\n[[tunnel]]\ndev = \"b\"\nvni = 11\nport = 4790\n";

    #[test]
    fn a_line_says_something_of_the_tunnel_that_it_names_or_of_the_process() {
        with_file("two", TWO, |layers, _| {
            let devs = |line: &str| -> Vec<String> {
                let each = layers(line).unwrap().each().unwrap();
                each.iter().map(|one| one.options().dev.expect("a name").to_string()).collect()
            };
            assert_eq!(devs(""), ["a", "b"]);
            assert_eq!(devs("--dev b --mtu 1300"), ["b"]);
            assert_eq!(devs("--metrics 127.0.0.1:9789"), ["a", "b"]);
            let refused = |line: &str| layers(line).unwrap().each().map(drop).unwrap_err().to_string();
            let told = refused("--mtu 1300");
            assert!(
                told.starts_with("vxgate: up: --mtu: it, or VXGATE_MTU, is about one tunnel")
                    && told.contains("--dev"),
                "{told}"
            );
            let told = refused("--dev c");
            assert!(told.contains("no tunnel of that name") && told.contains("it has a, b"), "{told}");
            assert!(
                layers("").unwrap().only("doctor").is_err()
                    && layers("--dev a").unwrap().only("doctor").is_ok()
            );
        });
    }

    #[test]
    fn check_finds_all_that_is_wrong_and_tells_both_places_of_what_stands_twice() {
        let (configs, problems) = check(TWO, Path::new("vx.toml"));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(configs.len(), 2);
        let (_, problems) =
            check(&TWO.replace("\"b\"", "\"a\"").replace("vni = 10", "vnii = 10"), Path::new("vx.toml"));
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("vxgate: vx.toml:3:1: \"vnii\": no such option"), "{told:?}");
        assert!(
            told[1].starts_with("vxgate: vx.toml:5:1: dev: a is the tunnel at vx.toml:2:1, too"),
            "{told:?}"
        );
        let (_, problems) =
            check(&TWO.replace("vni = 11", "peer = [\"10.0.0.1\", \"10.0.0.1\"]"), Path::new("vx.toml"));
        assert!(
            problems[0].to_string().starts_with("vxgate: vx.toml:6:1: peer: 10.0.0.1 is given twice"),
            "{problems:?}"
        );
    }
}
