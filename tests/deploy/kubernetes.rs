//! The manifests of Kubernetes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::docker::instruction;
use crate::{Folder, PROGRAM, files, read, root, told, tool, yaml};

const FOLDER: &str = "tuning/k8s";

/// The one object of a file.
fn manifest(name: &str) -> Option<Value> {
    let mut documents = yaml(&format!("{FOLDER}/{name}.yaml"))?;
    assert_eq!(documents.len(), 1, "{name}");
    Some(documents.remove(0))
}

/// The pod of the StatefulSet and its one container.
fn pod(set: &Value) -> (&Value, &Value) {
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    (pod, &pod["containers"][0])
}

#[test]
fn the_manifests_are_ones_that_kubernetes_takes() {
    let validate = |path: &str| tool("kubernetes-validate", &["--strict", path]);
    for path in files(FOLDER) {
        let path = path.to_str().unwrap();
        if path.ends_with("kustomization.yaml") {
            continue;
        }
        let Some(checked) = validate(path) else { return };
        let told = told(&checked);
        assert!(checked.status.success(), "{told}");
        // The Prometheus operator brings its own kinds: the test below knows that one.
        assert!(told.contains("passed for resource") || path.ends_with("servicemonitor.yaml"), "{told}");
    }
    let folder = Folder::new("manifest");
    let wrong = folder.0.join("wrong.yaml");
    std::fs::write(&wrong, read("tuning/k8s/statefulset.yaml").replace("enableServiceLinks", "enableServiceLink"))
        .unwrap();
    assert!(!validate(wrong.to_str().unwrap()).unwrap().status.success(), "the check finds nothing");
}

#[test]
fn the_manifests_are_put_together() {
    let Some(kustomization) = manifest("kustomization") else { return };
    let mut listed: Vec<&str> =
        kustomization["resources"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    listed.sort_unstable();
    let there = files(FOLDER);
    let there: Vec<&str> = there.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let there: Vec<&str> = there.into_iter().filter(|name| *name != "kustomization.yaml").collect();
    assert_eq!(listed, there);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(kustomization["images"][0]["newTag"], version.as_str());
    let Some(built) = tool("kubectl", &["kustomize", FOLDER]) else { return };
    assert!(built.status.success(), "{}", told(&built));
    let text = String::from_utf8(built.stdout).unwrap();
    assert_eq!(text.matches("\nkind: ").count(), listed.len());
    assert!(text.contains(&format!("image: registry.example.com/tidegate:{version}")), "{text}");
}

#[test]
fn the_pods_have_cpus_of_their_own_and_no_privilege() {
    let Some(set) = manifest("statefulset") else { return };
    let (pod, container) = pod(&set);
    let resources = &container["resources"];
    assert_eq!(resources["requests"], resources["limits"], "the class is not Guaranteed: no CPU is pinned");
    assert!(resources["limits"]["cpu"].as_str().unwrap().parse::<u32>().is_ok(), "only whole CPUs are pinned");
    assert!(resources["limits"]["memory"].is_string());
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let profile = &pod["securityContext"]["seccompProfile"];
    assert_eq!(
        (&profile["type"], &profile["localhostProfile"]),
        (&Value::from("Localhost"), &Value::from("tidegate.json"))
    );
    let user = format!("{0}:{0}", pod["securityContext"]["runAsUser"]);
    assert_eq!(instruction("USER"), [user.as_str()]);
    assert_eq!(pod["securityContext"]["fsGroup"], pod["securityContext"]["runAsGroup"]);
    let own = &container["securityContext"];
    assert_eq!(
        (&own["readOnlyRootFilesystem"], &own["allowPrivilegeEscalation"]),
        (&Value::from(true), &Value::from(false))
    );
    assert_eq!(own["capabilities"]["drop"][0], "ALL");
    // The kernel ends it later than it ends itself.
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 30);
}

#[test]
fn names_in_the_manifests_exist() {
    let (Some(set), Some(service), Some(secret), Some(monitor), Some(budget)) = (
        manifest("statefulset"),
        manifest("service"),
        manifest("secret"),
        manifest("servicemonitor"),
        manifest("poddisruptionbudget"),
    ) else {
        return;
    };
    let (_, container) = pod(&set);
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    // The ServiceMonitor, of whose kind no schema is at hand.
    assert_eq!(
        (&monitor["apiVersion"], &monitor["kind"]),
        (&"monitoring.coreos.com/v1".into(), &"ServiceMonitor".into())
    );
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"]);
    let [endpoint] = &monitor["spec"]["endpoints"].as_array().unwrap()[..] else { panic!("expected one endpoint") };
    let allowed = ["port", "path", "interval", "scrapeTimeout", "authorization"];
    assert!(endpoint.as_object().unwrap().keys().all(|key| allowed.contains(&key.as_str())), "{endpoint}");
    let ports = service["spec"]["ports"].as_array().unwrap();
    let port = ports.iter().find(|port| port["name"] == endpoint["port"]).expect("a port of the service");
    assert_eq!((&port["targetPort"], &endpoint["path"]), (&container["ports"][0]["name"], &"/metrics".into()));
    assert_eq!(container["ports"][0]["containerPort"].to_string(), instruction("EXPOSE")[0]);
    assert_eq!(endpoint["authorization"]["type"], "Bearer");
    let key_exists = |reference: &Value| {
        assert_eq!(reference["name"], secret["metadata"]["name"]);
        let key = reference["key"].as_str().unwrap();
        assert!(secret["stringData"][key].is_string(), "the secret has no {key}");
    };
    key_exists(&endpoint["authorization"]["credentials"]);
    // Variables are settings, secrets of sources, or the pod's name.
    let known = read(".env.example");
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let is_known = known.lines().any(|line| line.trim_start_matches("# ").split('=').next() == Some(name));
        assert!(is_known || name == "POD_NAME", "{name} is no variable of the program");
        match &variable["valueFrom"]["secretKeyRef"] {
            Value::Null => assert_eq!(variable["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name", "{variable}"),
            reference => key_exists(reference),
        }
    }
    for (key, value) in secret["stringData"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        assert!(value.is_empty() || value.starts_with("placeholder"), "{key} holds what may be a secret");
    }
    // What is mounted is where the program looks.
    let paths: Vec<&str> =
        container["volumeMounts"].as_array().unwrap().iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
    assert!(paths.contains(&instruction("VOLUME")[0].as_str()), "{paths:?}");
    assert_eq!(container["args"][2].as_str().unwrap().rsplit_once('/').unwrap().0, paths[0]);
}

#[test]
fn the_pods_divide_the_sources_of_their_configuration() {
    let (Some(set), Some(config)) = (manifest("statefulset"), manifest("configmap")) else { return };
    let folder = Folder::new("pods");
    let (_, container) = pod(&set);
    let arguments: Vec<&str> = container["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let (name, text) = config["data"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(arguments, ["run", "--config", &format!("/etc/tidegate/{name}")]);
    std::fs::write(folder.0.join(name), text.as_str().unwrap()).unwrap();
    let replicas = set["spec"]["replicas"].as_u64().unwrap();
    let mut owned = Vec::new();
    for index in 0..replicas {
        let output = Command::new(PROGRAM)
            .args(["check", "--config", name])
            .env("POD_NAME", format!("tidegate-{index}"))
            .env("INGESTION_ADMIN__TOKEN", "0123456789abcdef")
            .current_dir(&folder.0)
            .output()
            .unwrap();
        let told = told(&output);
        assert!(output.status.success() && !told.contains("warning"), "{told}");
        assert!(told.contains(&format!("instance {index} of {replicas}: ")), "{told}");
        let own: Vec<String> =
            told.lines().filter_map(|line| line.strip_prefix("source ")).map(str::to_owned).collect();
        assert!(!own.is_empty(), "pod {index} has nothing to do");
        owned.extend(own.iter().map(|line| line.split(':').next().unwrap().to_owned()));
    }
    owned.sort();
    let count = owned.len();
    owned.dedup();
    assert_eq!(owned.len(), count, "a source has two owners");
    assert!(text.as_str().unwrap().contains(&format!("of = {replicas} ")));
}

#[test]
fn probes_and_prometheus_are_answered() {
    let (Some(set), Some(monitor), Some(secret)) =
        (manifest("statefulset"), manifest("servicemonitor"), manifest("secret"))
    else {
        return;
    };
    let (_, container) = pod(&set);
    let token = secret["stringData"]["admin-token"].as_str().unwrap();
    let folder = Folder::new("probes");
    let mut engine = Command::new(PROGRAM)
        .args(["run", "--for", "60s"])
        .env("INGESTION_ADMIN__LISTEN", "0.0.0.0:0")
        .env("INGESTION_ADMIN__TOKEN", token)
        .current_dir(&folder.0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let port = listening(&mut engine);
    // As the kubelet asks: by an address of the server's own, with no header but Host.
    let ask = |path: &str, header: &str| -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let path = |probe: &str| container[probe]["httpGet"]["path"].as_str().unwrap().to_owned();
    assert_eq!((path("startupProbe"), path("livenessProbe")), ("/livez".to_owned(), "/livez".to_owned()));
    assert_eq!(path("readinessProbe"), "/readyz");
    assert_eq!(ask(&path("livenessProbe"), ""), 200);
    assert!(matches!(ask(&path("readinessProbe"), ""), 200 | 503));
    let metrics = monitor["spec"]["endpoints"][0]["path"].as_str().unwrap();
    assert_eq!(ask(metrics, ""), 401);
    assert_eq!(ask(metrics, &format!("Authorization: Bearer {token}\r\n")), 200);
    engine.kill().unwrap();
    engine.wait().unwrap();
}

/// The port of its admin server.
fn listening(engine: &mut std::process::Child) -> u16 {
    use std::io::BufRead as _;
    let mut log = std::io::BufReader::new(engine.stderr.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the engine ended before it listened");
        if let Some((_, rest)) = line.split_once("the admin server listens address=") {
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return rest.trim().rsplit(':').next().unwrap().parse().unwrap();
        }
    }
}

#[test]
fn the_profile_that_the_doctor_names_is_the_one_there_is() {
    assert!(root().join("tuning/docker/seccomp.json").exists());
    for path in ["src/doctor/kernel.rs", "tuning/k8s/statefulset.yaml"] {
        assert!(read(path).contains("/var/lib/kubelet/seccomp/tidegate.json"), "{path}");
    }
    assert!(read("src/doctor/kernel.rs").contains("seccomp=tuning/docker/seccomp.json"));
}
