//! What may be in the dependency tree: `deny.toml`, held against `cargo metadata`.
//!
//! cargo-deny reads the same file and knows more; this needs nothing that the build does not need.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Fails with every offence. `rules` is the text of `deny.toml`, `metadata` what `cargo metadata` has printed for one
/// platform.
pub(crate) fn check(rules: &str, metadata: &[u8]) -> Result<()> {
    let rules: Rules = toml::from_str(rules).context("deny.toml")?;
    let metadata: Metadata = serde_json::from_slice(metadata).context("cargo metadata")?;
    let offences = offences(&rules, &metadata);
    if !offences.is_empty() {
        bail!("the dependency tree is not what deny.toml allows:\n  {}", offences.join("\n  "));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
    skip: Vec<Skip>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    /// The crates that may depend on it all the same.
    #[serde(default)]
    wrappers: Vec<String>,
}

#[derive(Deserialize)]
struct Skip {
    /// `name@version`, the version cut short where that is enough.
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// None for the crates of the workspace.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

fn offences(rules: &Rules, metadata: &Metadata) -> Vec<String> {
    let by_id: BTreeMap<_, _> = metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let used: Vec<_> =
        metadata.resolve.nodes.iter().filter_map(|node| Some((*by_id.get(node.id.as_str())?, node))).collect();
    let mut offences = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for (package, node) in &used {
        versions.entry(&package.name).or_default().push(package);
        let Package { name, version, .. } = package;
        if let Some(source) = &package.source
            && !rules.sources.allow_registry.iter().any(|allowed| source.strip_prefix("registry+") == Some(allowed))
        {
            offences.push(format!("{name} {version} comes from {source}"));
        }
        let license = package.license.as_deref().unwrap_or("no license");
        if !permits(&rules.licenses.allow, license) {
            offences.push(format!("{name} {version} is under {license}"));
        }
        for dependency in node.dependencies.iter().filter_map(|id| by_id.get(id.as_str())) {
            let banned = rules.bans.deny.iter().find(|ban| ban.name == dependency.name);
            if banned.is_some_and(|ban| !ban.wrappers.contains(name)) {
                offences.push(format!("{name} {version} depends on {}, which is banned", dependency.name));
            }
        }
    }
    for (name, versions) in versions {
        let skipped = |package: &&&Package| rules.bans.skip.iter().any(|skip| skip.is(package));
        let left = versions.len() - versions.iter().filter(skipped).count();
        if left > 1 {
            let versions: Vec<_> = versions.iter().map(|package| package.version.as_str()).collect();
            offences.push(format!("{name} is there as {}", versions.join(" and ")));
        }
    }
    for skip in &rules.bans.skip {
        if !used.iter().any(|(package, _)| skip.is(package)) {
            offences.push(format!("{} is not there any more, so it needs no skip", skip.name));
        }
        if skip.reason.is_empty() {
            offences.push(format!("{} is skipped without a reason", skip.name));
        }
    }
    offences
}

impl Skip {
    fn is(&self, package: &Package) -> bool {
        self.name.split_once('@').is_some_and(|(name, version)| {
            let rest = package.version.strip_prefix(version);
            name == package.name && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// Whether an SPDX expression can be met with the licenses allowed. An exception (`WITH`) has to be allowed as written.
fn permits(allowed: &[String], expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "+WITH+");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut parser = Expression { allowed, words: &words, is_broken: false };
    parser.any() && parser.words.is_empty() && !parser.is_broken
}

struct Expression<'a> {
    allowed: &'a [String],
    words: &'a [&'a str],
    is_broken: bool,
}

impl Expression<'_> {
    fn any(&mut self) -> bool {
        let mut met = self.all();
        while self.takes("OR") {
            met |= self.all();
        }
        met
    }

    fn all(&mut self) -> bool {
        let mut met = self.one();
        while self.takes("AND") {
            met &= self.one();
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.takes("(") {
            let met = self.any();
            self.is_broken |= !self.takes(")");
            return met;
        }
        let Some((word, rest)) = self.words.split_first() else {
            self.is_broken = true;
            return false;
        };
        self.words = rest;
        let license = word.replace("+WITH+", " WITH ");
        self.allowed.contains(&license)
    }

    fn takes(&mut self, word: &str) -> bool {
        let Some((_, rest)) = self.words.split_first().filter(|(first, _)| **first == word) else { return false };
        self.words = rest;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [licenses]
        allow = ["MIT", "ISC"]
        [bans]
        deny = [{ crate = "banned" }, { crate = "wrapped", wrappers = ["wrapper"] }]
        skip = [{ crate = "old@1", reason = "old friends" }]
        [sources]
        allow-registry = ["https://registry"]
    "#;

    /// Packages as `name version license source`, the first of which depends on all others, and what is found wrong.
    fn found(packages: &[&str]) -> Vec<String> {
        let packages: Vec<_> = packages
            .iter()
            .map(|package| {
                let [name, version, license, source] = package.splitn(4, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{package}")
                };
                let license = license.replace('_', " ");
                let id = package;
                serde_json::json!({ "id": id, "name": name, "version": version, "license": license, "source": source })
            })
            .collect();
        let ids: Vec<_> = packages.iter().map(|package| package["id"].clone()).collect();
        let nodes = ids.iter().enumerate().map(|(at, id)| {
            let dependencies = if at == 0 { &ids[1..] } else { &[] };
            serde_json::json!({ "id": id, "dependencies": dependencies })
        });
        let nodes: Vec<_> = nodes.collect();
        let metadata = serde_json::json!({ "packages": packages, "resolve": { "nodes": nodes } });
        offences(&toml::from_str(RULES).unwrap(), &serde_json::from_value(metadata).unwrap())
    }

    #[test]
    fn what_is_allowed_passes() {
        let good = ["wrapper 0.1.0 MIT registry+https://registry", "wrapped 2.0.0 ISC registry+https://registry"];
        let old = ["old 1.2.3 MIT registry+https://registry", "old 2.0.0 MIT registry+https://registry"];
        assert_eq!(found(&[good, old].concat()), [""; 0]);
    }

    #[test]
    fn each_offence_is_named() {
        let old = "old 1.2.3 MIT registry+https://registry";
        for (packages, offence) in [
            (["a 1.0.0 GPL-3.0 registry+https://registry", old], "a 1.0.0 is under GPL-3.0"),
            (["a 1.0.0 MIT git+https://elsewhere", old], "a 1.0.0 comes from git+https://elsewhere"),
            (["a 1.0.0 MIT registry+https://elsewhere", old], "a 1.0.0 comes from registry+https://elsewhere"),
            (
                ["old 3.0.0 MIT registry+https://registry", "old 2.0.0 MIT registry+https://registry"],
                "old is there as 3.0.0 and 2.0.0",
            ),
            (
                ["old 10.0.0 MIT registry+https://registry", "a 1.0.0 MIT registry+https://registry"],
                "old@1 is not there any more, so it needs no skip",
            ),
        ] {
            assert!(found(&packages).iter().any(|found| found == offence), "{offence}: {:?}", found(&packages));
        }
        let dependents = [
            ["a 1.0.0 MIT registry+https://registry", "banned 1.0.0 MIT registry+https://registry"],
            ["a 1.0.0 MIT registry+https://registry", "wrapped 1.0.0 MIT registry+https://registry"],
        ];
        for packages in dependents {
            assert!(found(&packages)[0].contains("which is banned"), "{packages:?}");
        }
    }

    #[test]
    fn an_expression_is_met_by_one_of_its_alternatives() {
        let allowed = ["MIT", "ISC", "Apache-2.0", "GPL-2.0 WITH Exception"].map(str::to_owned);
        for met in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "GPL-2.0 WITH Exception",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "GPL-3.0 OR MIT AND ISC",
        ] {
            assert!(permits(&allowed, met), "{met}");
        }
        for unmet in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR ISC) AND GPL-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "MIT ISC",
            "(MIT",
            "MIT)",
            "no license",
            "MIT OR",
            "MIT OR (ISC",
            "GPL-2.0",
        ] {
            assert!(!permits(&allowed, unmet), "{unmet}");
        }
    }
}
