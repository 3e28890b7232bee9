//! The manifests of `contrib/` that containers are made by: each variable in them is one of ours, and its value is one.

use std::collections::BTreeMap;

use yaml_rust2::{Yaml, YamlLoader};

use super::{VARIABLES, from_lookup};

/// Ours that are no option of `up`.
const OTHERS: &[&str] =
    &["SORACOM_AUTH_KEY_ID", "SORACOM_AUTH_KEY", "VXGATE_RUNTIME_DIR", "VXGATE_STATE_DIR", "VXGATE_LOG"];

fn documents(text: &str) -> Vec<Yaml> {
    YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// All lines that are commented out behind `#` and blanks are put in.
fn uncommented(text: &str, shown: &str) -> String {
    text.lines()
        .map(|line| {
            let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
            let set = rest.strip_prefix("# ").filter(|rest| rest.starts_with(shown));
            format!("{indent}{}\n", set.unwrap_or(rest))
        })
        .collect()
}

fn holds(variables: &BTreeMap<String, Option<String>>) {
    assert!(variables.len() >= 3, "{variables:?}");
    for (name, value) in variables {
        assert!(
            VARIABLES.iter().any(|(_, own)| own == name) || OTHERS.contains(&name.as_str()),
            "{name} is none of ours"
        );
        // What comes from the cluster, or from a secret's file, is not known here.
        let value = value.as_deref().filter(|value| !value.starts_with("file:"));
        if let Some(value) = value {
            from_lookup(|asked| (asked == name).then(|| value.into()))
                .unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn every_variable_of_the_compose_file_is_an_option_with_a_value_of_its_own() {
    let text = include_str!("../../../../../contrib/container/compose.yaml");
    for text in [text.to_owned(), uncommented(text, "VXGATE_"), uncommented(text, "SORACOM_")] {
        let file = documents(&text).remove(0);
        let variables = file["x-tunnel"]["environment"].as_hash().expect("variables");
        let variables = variables.iter().map(|(name, value)| {
            (name.as_str().expect("a name").to_owned(), value.as_str().map(str::to_owned))
        });
        holds(&variables.collect());
        for (service, one) in file["services"].as_hash().expect("services") {
            assert!(one["image"].as_str().is_some() || !one["<<"].is_badvalue(), "{service:?} has no image");
        }
        assert_eq!(file["x-tunnel"]["cap_drop"][0].as_str(), Some("ALL"));
        assert_eq!(file["x-tunnel"]["cap_add"].as_vec().expect("a list").len(), 1);
    }
}

#[test]
fn every_variable_of_the_sidecar_is_an_option_and_every_volume_is_there() {
    let text = include_str!("../../../../../contrib/kubernetes/sidecar.yaml");
    let documents = documents(text);
    let pod = documents.iter().find(|one| one["kind"].as_str() == Some("Pod")).expect("a pod");
    let sidecar = &pod["spec"]["initContainers"][0];
    let variables = sidecar["env"].as_vec().expect("variables").iter().map(|one| {
        (one["name"].as_str().expect("a name").to_owned(), one["value"].as_str().map(str::to_owned))
    });
    let variables: BTreeMap<_, _> = variables.collect();
    holds(&variables);

    let names = |list: &Yaml| -> Vec<String> {
        let names = list.as_vec().expect("a list").iter().map(|one| one["name"].as_str());
        names.map(|name| name.expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&sidecar["volumeMounts"]), names(&pod["spec"]["volumes"]));
    // A secret's file is one of the secret, where it is mounted.
    let secret = documents.iter().find(|one| one["kind"].as_str() == Some("Secret")).expect("a secret");
    for path in variables.values().flatten().filter_map(|value| value.strip_prefix("file:")) {
        let key = path.strip_prefix("/run/secrets/soracom/").expect("below the secret's mount");
        assert!(secret["stringData"][key].as_str().is_some(), "{path}");
    }
    // The probe asks where the metrics are.
    let port = sidecar["ports"]
        .as_vec()
        .expect("ports")
        .iter()
        .find(|port| port["name"].as_str() == Some("metrics"));
    let port = port.expect("a port")["containerPort"].as_i64().expect("a number");
    let metrics = variables["VXGATE_METRICS"].as_deref().expect("an address");
    assert!(metrics.ends_with(&format!(":{port}")), "{metrics}");
    let security = &sidecar["securityContext"];
    assert_eq!(security["capabilities"]["add"].as_vec().expect("a list").len(), 1);
    assert_eq!(security["allowPrivilegeEscalation"].as_bool(), Some(false));
}
