//! Which of several instances this one is: by number, or by the number at the end of its host or pod name.

use crate::config::{Environment, Problem, Problems};

/// This instance among those that share the sources of one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// This one, from 0.
    pub instance: usize,
    /// How many there are.
    pub of: usize,
    /// Whether they ask providers from one address, and so share the quotas that are counted by address.
    pub shared_address: bool,
}

impl Cluster {
    /// Whether there is but one instance.
    pub fn is_alone(&self) -> bool {
        self.of == 1
    }

    /// Reads what is written for `instance`: a number, or `auto`.
    pub(super) fn read(
        instance: &str,
        of: usize,
        shared_address: bool,
        environment: &Environment,
        problems: &mut Problems,
        place: &str,
    ) -> Cluster {
        let found = match instance {
            "auto" => ordinal(environment).ok_or_else(|| {
                let expected = "a name in POD_NAME or HOSTNAME that ends in - and a number, as a StatefulSet gives";
                let found = NAMES.iter().find_map(|name| Some(format!("{name}={}", environment.variable(name)?)));
                format!("expected {expected}, found {}", found.unwrap_or_else(|| "neither".to_owned()))
            }),
            number => number.parse().map_err(|_| format!("expected a number or auto, found {number:?}")),
        };
        let bounded = found.and_then(|instance: usize| match instance < of {
            true => Ok(instance),
            false => Err(format!("expected less than cluster.of ({of}), found {instance}")),
        });
        let instance = bounded.unwrap_or_else(|message| {
            problems.push(Problem::new("cluster.instance", place, message));
            0
        });
        Cluster { instance, of, shared_address }
    }
}

/// `tidegate-2` is 2.
fn ordinal(environment: &Environment) -> Option<usize> {
    let name = NAMES.iter().find_map(|name| environment.variable(name))?;
    // A host name may have its domain with it.
    let host = name.split('.').next().unwrap_or(name);
    host.rsplit_once('-')?.1.parse().ok()
}

/// Where the name of a pod stands: the first by the manifest's own choice, the second by Kubernetes.
const NAMES: [&str; 2] = ["POD_NAME", "HOSTNAME"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;

    fn read(variables: &[(&str, &str)], text: &str) -> Result<Cluster, String> {
        let environment = Environment::of(variables.iter().copied());
        let loaded = Loader::new(&environment).text("t.toml", text).load();
        loaded.into_result().map(|settings| settings.cluster).map_err(|error| error.to_string())
    }

    #[test]
    fn an_instance_is_known_by_number_or_name() {
        let check = |variables: &[(&str, &str)], text: &str, expected: (usize, usize)| {
            let cluster = read(variables, text).unwrap();
            assert_eq!((cluster.instance, cluster.of), expected, "{variables:?} {text}");
        };
        check(&[], "", (0, 1));
        check(&[], "[cluster]\ninstance = 1\nof = 3", (1, 3));
        check(&[("INGESTION_CLUSTER__INSTANCE", "2")], "[cluster]\ninstance = 1\nof = 3", (2, 3));
        let auto = "[cluster]\ninstance = \"auto\"\nof = 3";
        check(&[("HOSTNAME", "tidegate-2")], auto, (2, 3));
        check(&[("HOSTNAME", "tidegate-1.tidegate.default.svc")], auto, (1, 3));
        check(&[("HOSTNAME", "worker-7"), ("POD_NAME", "tide-gate-0")], auto, (0, 3));
    }

    #[test]
    fn an_instance_that_is_none_is_refused() {
        let check = |variables: &[(&str, &str)], text: &str, part: &str| {
            let told = read(variables, text).unwrap_err();
            assert!(told.contains("cluster.") && told.contains(part), "{told}");
        };
        check(
            &[],
            "[cluster]\ninstance = 3\nof = 3",
            "t.toml line 2: cluster.instance: expected less than cluster.of (3), found 3",
        );
        check(&[], "[cluster]\ninstance = 1", "less than cluster.of (1)");
        check(&[], "[cluster]\nof = 0", "from 1 to 1024");
        check(&[], "[cluster]\ninstance = \"first\"\nof = 3", "expected a number from 0, or auto");
        let auto = "[cluster]\ninstance = \"auto\"\nof = 3";
        check(&[], auto, "found neither");
        check(&[("HOSTNAME", "laptop")], auto, "found HOSTNAME=laptop");
        check(&[("HOSTNAME", "tidegate-5")], auto, "less than cluster.of (3), found 5");
    }
}
