//! What says how a tunnel shall be, the strongest first: command line, environment, file.

use super::ConfigError;
use super::file::ConfigFile;
use crate::args::environment;
use crate::args::up::UpOptions;
use crate::failure::Failure;

/// The layers, and which of them an error is about.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    /// Command line and environment.
    above: UpOptions,
    file: Option<ConfigFile>,
}

impl Layers {
    /// Lays the command line over this process's environment, and both over the file that either names.
    pub(crate) fn under(line: UpOptions) -> Result<Layers, Failure> {
        Layers::read(line.over(environment::from_environment()?))
    }

    /// Lays options over the file that they name.
    pub(crate) fn read(above: UpOptions) -> Result<Layers, Failure> {
        let file = above.config.as_deref().map(ConfigFile::read).transpose()?;
        Ok(Layers { above, file })
    }

    /// What they say together.
    pub(crate) fn options(&self) -> UpOptions {
        let file = self.file.as_ref().map(ConfigFile::options).unwrap_or_default();
        self.above.clone().over(file)
    }

    /// Options that do not go together: the file's by their place in it, others under the name that the user knows them by.
    pub(crate) fn failure(&self, error: &ConfigError, name: impl Fn(&str) -> String) -> Failure {
        let file = self.file.as_ref();
        Failure::config(error, |option| match file.and_then(|file| file.place(option, &self.above)) {
            Some(place) => format!("{place}: {option}"),
            None => name(option),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::args::environment::read_layer;
    use crate::config::UpConfig;

    #[test]
    fn the_file_says_what_no_layer_above_says_and_is_named_where_it_is_wrong() {
        let path = std::env::temp_dir().join(format!("vxgate-layers-{}", std::process::id()));
        fs::write(&path, "vni = 7\nmtu = 1400\npeer = [\"10.0.0.1\", \"10.0.0.1\"]\n").unwrap();
        let config = format!("--config={}", path.display());
        let layers = |line: &str| {
            let line = line.split_whitespace().map(str::to_owned).chain([config.clone()]);
            Layers::read(read_layer(line).unwrap()).unwrap()
        };
        let failure = |line: &str| {
            let layers = layers(line);
            let error = UpConfig::new(layers.options()).unwrap_err();
            layers.failure(&error, |option| format!("up: --{option}")).to_string()
        };
        let told = failure("");
        assert!(
            told.starts_with(&format!("vxgate: {}:3:1: peer: 10.0.0.1 is given twice", path.display())),
            "{told}"
        );
        let told = failure("--peer 10.0.0.2 --local 10.0.0.2");
        assert!(told.starts_with("vxgate: up: --peer: 10.0.0.2 is this host's own"), "{told}");
        let options = layers("--peer 10.0.0.2 --mtu 1300").options();
        assert_eq!(
            UpOptions { config: None, ..options },
            read_layer(["--peer=10.0.0.2", "--mtu=1300", "--vni=7"]).unwrap()
        );
        fs::remove_file(&path).unwrap();
    }
}
