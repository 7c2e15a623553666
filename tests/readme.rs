//! Runs the commands of `README.md` and `tuning/README.md` as a reader would: in a fresh folder, block by block, with the
//! built program first on the path. What each block came to is printed (`cargo test --test readme -- --nocapture`).
//!
//! How to write a block:
//! - ` ```sh `: a script; every command is run. ` ```console `: lines that begin with `$ ` are run, with the lines they go
//!   on in; the rest shows output and is not compared. Any other language is not run. A fence without a language fails.
//! - A comment on the line before a fence says what is special:
//!   `<!-- readme-test: skip REASON -->` for a block that cannot be run; `<!-- readme-test: exit 0|1 -->` for the statuses
//!   its last command may have; `<!-- readme-test: file NAME -->` writes the block into that file of the folder.
//!
//! What is done to commands: `cargo run … --` and `target/release/tidegate` become the built program; other cargo
//! commands are left out, since a test cannot build inside the build that runs it. Ports of loopback become free ones,
//! and 9464 that of an engine that runs meanwhile. A command that does not end by itself is interrupted after
//! [`BOUND`] s, as by Ctrl-C, and must end then. A command behind one with `&` waits for its port and its file. The
//! folder has the data of a short run of the embedded default, and a copy of `tuning/`.
//!
//! Skipped with a report is what needs a program or a Python module that is not installed, what changes the host
//! (sudo, docker, kubectl, systemctl, folders of the system), and what would ask a provider.

mod common;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Engine, Folder};

#[test]
fn the_readme_can_be_followed() {
    let ran = Document::new("README.md").follow();
    assert!(ran >= 8, "only {ran} blocks could be run");
}

#[test]
fn the_tuning_readme_can_be_followed() {
    Document::new("tuning/README.md").follow();
}

#[test]
fn blocks_are_read_as_they_are_meant() {
    let text = "<!-- readme-test: exit 0|1 -->\n```console\n$ a |\n    b\nout\n$ c\n```\n1. x\n\n   ```sh\n   d \\\n     e\n\
                   for i in 1; do\n     f\n   done\n   cat <<E\n   $ g\n   E\n   h &\n   ```\n```\nnothing\n```\n";
    let blocks = Block::all("x.md", text);
    let languages: Vec<&str> = blocks.iter().map(|block| block.language.as_str()).collect();
    assert_eq!(languages, ["console", "sh", ""]);
    assert_eq!(blocks[0].commands(), ["a |\n    b", "c"]);
    assert_eq!((blocks[0].statuses(), blocks[1].statuses()), (vec![0, 1], vec![0]));
    assert_eq!(blocks[1].commands(), ["d \\\n  e", "for i in 1; do\n  f\ndone", "cat <<E\n$ g\nE", "h &"]);
    assert_eq!((blocks[0].line, blocks[2].line), (2, 21));
    for (command, part) in [
        ("tidegate fetch binance ticker BTC-USDT", "provider"),
        ("tidegate run --config my.toml", "provider"),
        ("sudo ls", "host"),
        ("tidegate run --data /var/lib/tidegate", "host"),
        ("echo a | no-such-program", "no-such-program"),
        ("python3 -c 'import no_such_module, sys'", "no_such_module"),
        ("python3 - <<E\nimport no_such_module\nE", "no_such_module"),
    ] {
        let why = Block::of("sh", command).cannot_run(&std::env::var("PATH").unwrap());
        assert!(why.as_ref().is_some_and(|why| why.contains(part)), "{command}: {why:?}");
    }
    let fine = "tidegate fetch binance ticker BTC-USDT --sim && tidegate --for 1s; X=1 ls | cat # sudo\ncd x";
    assert_eq!(Block::of("sh", fine).cannot_run(&std::env::var("PATH").unwrap()), None);
}

/// A fenced block.
#[derive(Debug)]
struct Block {
    file: String,
    /// Line of the fence.
    line: usize,
    language: String,
    /// What the comment before it says.
    marker: String,
    text: String,
}

impl Block {
    fn of(language: &str, text: &str) -> Block {
        let (language, text) = (language.to_owned(), text.to_owned());
        Block { file: String::new(), line: 0, language, marker: String::new(), text }
    }

    fn all(file: &str, text: &str) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(Block, usize)> = None;
        let mut marker = "";
        for (line, number) in text.lines().zip(1..) {
            let bare = line.trim_start();
            if let Some(language) = bare.strip_prefix("```") {
                match open.take() {
                    Some((block, _)) => blocks.push(block),
                    None => {
                        let mut block = Block::of(language.trim(), "");
                        (block.file, block.line, block.marker) = (file.to_owned(), number, marker.to_owned());
                        open = Some((block, line.len() - bare.len()));
                    }
                }
            } else if let Some((block, indent)) = &mut open {
                let indent = (*indent).min(line.len() - bare.len());
                block.text.push_str(&line[indent..]);
                block.text.push('\n');
            }
            marker =
                bare.strip_prefix("<!-- readme-test:").and_then(|rest| rest.strip_suffix("-->")).unwrap_or("").trim();
        }
        assert!(open.is_none(), "{file}: a fence is never closed");
        blocks
    }

    /// The commands, each whole.
    fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        let mut open = String::new();
        for line in self.text.lines() {
            let line = match self.language.as_str() {
                "console" if open.is_empty() => match line.strip_prefix("$ ") {
                    Some(command) => command,
                    None => continue,
                },
                _ => line,
            };
            if open.is_empty() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
                continue;
            }
            open.push_str(line);
            if is_whole(&open) {
                commands.push(std::mem::take(&mut open));
            } else {
                open.push('\n');
            }
        }
        assert!(open.is_empty(), "{}:{}: a command that never ends: {open}", self.file, self.line);
        commands
    }

    fn statuses(&self) -> Vec<i32> {
        let named =
            self.marker.strip_prefix("exit ").map(|list| list.split('|').map(|code| code.trim().parse().unwrap()));
        named.map_or(vec![0], Iterator::collect)
    }

    /// Why it cannot be run here, if so.
    fn cannot_run(&self, path: &str) -> Option<String> {
        if let Some(why) = self.marker.strip_prefix("skip ") {
            return Some(why.to_owned());
        }
        for command in self.commands() {
            let code: String =
                command.lines().map(|line| line.split(" # ").next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
            let words: Vec<&str> = code.split_whitespace().collect();
            let has = |word: &str| words.contains(&word);
            let at_system = |word: &&str| ["/etc/", "/var/", "/usr/", "/opt/"].iter().any(|dir| word.contains(dir));
            if ["sudo", "docker", "kubectl", "systemctl"].iter().any(|word| has(word)) || words.iter().any(at_system) {
                return Some("it changes the host".to_owned());
            }
            if has("tidegate") {
                let config = words.iter().position(|word| *word == "--config").and_then(|at| words.get(at + 1));
                let is_asked = has("fetch") && !has("--sim") && !has("--base-url");
                if is_asked || (config.is_some_and(|file| *file != "sim.toml") && !has("check") && !has("doctor")) {
                    return Some("it would ask a provider".to_owned());
                }
            }
            // What a command is fed is no command.
            let fed = code.lines().next().is_some_and(|line| line.contains("<<"));
            let code = if fed { code.lines().next().unwrap_or_default().to_owned() } else { code };
            for part in code.split(['|', ';', '&', '\n', '(']) {
                let program = part.split_whitespace().find(|word| !word.contains('='));
                let is_name =
                    |name: &&str| name.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char));
                let Some(program) = program.filter(|_| !is_quoted(&code, part)).filter(is_name) else { continue };
                if !["tidegate", "cargo"].contains(&program) && !bash(path, &format!("command -v {program}")) {
                    return Some(format!("it needs {program}, which is not installed"));
                }
            }
            let imports = command.split("import ").skip(1).filter(|_| command.contains("python3"));
            for module in imports.flat_map(|rest| rest.split(['\n', ';', '\'', '"']).next().unwrap_or("").split(',')) {
                let module = module.split_whitespace().next().unwrap_or_default();
                if !bash(path, &format!("python3 -c 'import {module}'")) {
                    return Some(format!("it needs the Python module {module}, which is not installed"));
                }
            }
        }
        None
    }
}

/// Whether `part` of `code` stands within quotes.
fn is_quoted(code: &str, part: &str) -> bool {
    let at = part.as_ptr() as usize - code.as_ptr() as usize;
    let mut quote = None;
    for char in code[..at].chars() {
        match quote {
            Some(open) if open == char => quote = None,
            None if char == '"' || char == '\'' => quote = Some(char),
            _ => {}
        }
    }
    quote.is_some()
}

/// Whether a command is complete, as bash sees it.
fn is_whole(command: &str) -> bool {
    let first = command.lines().next().filter(|line| !line.contains("<<<"));
    if let Some((before, word)) = first.and_then(|line| line.split_once("<<")) {
        let word = word.split_whitespace().next().unwrap_or_default().trim_matches(['-', '\'', '"']);
        if !before.is_empty() && !word.is_empty() {
            return command.lines().skip(1).any(|line| line.trim() == word);
        }
    }
    !command.ends_with('\\')
        && Command::new("bash").args(["-n", "-c", command]).stderr(Stdio::null()).status().unwrap().success()
}

fn bash(path: &str, script: &str) -> bool {
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

struct Document {
    file: &'static str,
    folder: Folder,
    path: String,
    /// The ports that stand for those in the document.
    ports: BTreeMap<u16, u16>,
    /// An engine for commands that ask one.
    running: Option<(Engine, Folder)>,
}

impl Document {
    fn new(file: &'static str) -> Document {
        let folder = Folder::new(&format!("readme-{}", file.replace('/', "-")));
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::create_dir(folder.path("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tidegate"), folder.path("bin/tidegate")).unwrap();
        let copied = Command::new("cp").arg("-r").arg(root.join("tuning")).arg(&folder.0).status().unwrap();
        assert!(copied.success());
        let ran = folder.run(&["--for", "3s"]);
        assert!(ran.status.success(), "{ran:?}");
        let readers = root.join("target/readers/bin");
        let path =
            [folder.path("bin").display().to_string(), readers.display().to_string(), std::env::var("PATH").unwrap()]
                .join(":");
        Document { file, folder, path, ports: BTreeMap::new(), running: None }
    }

    /// Runs every block that can be; gives how many were.
    fn follow(mut self) -> usize {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(self.file)).unwrap();
        let (mut ran, mut failures) = (0, Vec::new());
        for block in Block::all(self.file, &text) {
            let place = format!("{}:{}", self.file, block.line);
            if let Some(name) = block.marker.strip_prefix("file ") {
                self.folder.write(name, &block.text);
                continue;
            }
            match block.language.as_str() {
                "" => failures.push(format!(
                    "{place}: expected a language behind the fence: sh or console to run it, text or another not to"
                )),
                "console" | "sh" => match block.cannot_run(&self.path) {
                    Some(why) => eprintln!("{place}: skipped: {why}"),
                    None => match self.run(&block) {
                        Ok(said) => {
                            ran += 1;
                            eprintln!("{place}: ran{said}");
                        }
                        Err(why) => failures.push(format!("{place}: {why}")),
                    },
                },
                _ => {}
            }
        }
        assert!(failures.is_empty(), "\n{}", failures.join("\n"));
        ran
    }

    /// Runs a block; tells what was left out, or what went wrong.
    fn run(&mut self, block: &Block) -> Result<String, String> {
        let mut script = format!("set -uo pipefail\nbound={BOUND}\n{PRELUDE}");
        let mut left_out = String::new();
        let commands = block.commands();
        for (index, command) in commands.iter().enumerate() {
            let is_last = index + 1 == commands.len();
            let (command, ports) = self.translate(command);
            let code = command.split(" # ").next().unwrap_or_default().trim_end();
            let first = code.split_whitespace().next().unwrap_or_default();
            if first == "cargo" {
                left_out += &format!(", without `{code}`");
            } else if let Some(background) = code.strip_suffix('&').filter(|code| !code.ends_with('&')) {
                let file = background.rsplit_once("> ").map_or("/dev/null", |(_, file)| file.trim());
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                script += &format!("{background} &\nsettle {} {}\n", quoted(file), ports.join(" "));
            } else if ["cd", "export", "set", "source", "."].contains(&first)
                || (first.contains('=') && code.split_whitespace().count() == 1)
            {
                script += &format!("{code} || fail $? {}\n", quoted(code));
            } else {
                let allowed = if is_last { block.statuses() } else { vec![0] };
                let allowed: Vec<String> = allowed.iter().map(i32::to_string).collect();
                script += &format!("step {} {}\n", quoted(&command), quoted(&format!(" {} ", allowed.join(" "))));
            }
        }
        script += "finish 0\n";
        let admin = match &self.running {
            Some((engine, _)) if block.text.contains(":9464") || block.text.contains("tidegate health") => {
                engine.address.to_string()
            }
            _ => "127.0.0.1:0".to_owned(),
        };
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(&self.folder.0).stdin(Stdio::null()).env_clear();
        command.env("PATH", &self.path).env("HOME", &self.folder.0).env("INGESTION_ADMIN__LISTEN", admin);
        // Of a group of its own: what is left behind ends with it.
        let output = command.process_group(0).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(left_out);
        }
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let tail: Vec<&str> = said.lines().rev().take(20).collect();
        Err(tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
    }

    /// The command with the built program and free ports; which ports those are.
    fn translate(&mut self, command: &str) -> (String, Vec<u16>) {
        let mut command =
            command.replace("./target/release/tidegate", "tidegate").replace("target/release/tidegate", "tidegate");
        for flags in ["cargo run --release", "cargo run"] {
            command = command.replace(&format!("{flags} -- "), "tidegate ").replace(flags, "tidegate");
        }
        if command.contains(":9464") || command.contains("tidegate health") {
            let port = self.running().address.port();
            self.ports.insert(9464, port);
        }
        let (mut translated, mut ports) = (String::new(), Vec::new());
        let mut rest = command.as_str();
        while let Some(at) =
            ["localhost:", "127.0.0.1:"].iter().filter_map(|host| Some(rest.find(host)? + host.len())).min()
        {
            translated += &rest[..at];
            rest = &rest[at..];
            let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
            let Ok(port) = rest[..digits].parse::<u16>() else { continue };
            let free = if port == 0 { 0 } else { *self.ports.entry(port).or_insert_with(free_port) };
            translated += &free.to_string();
            ports.push(free);
            rest = &rest[digits..];
        }
        (translated + rest, ports)
    }

    fn running(&mut self) -> &Engine {
        let (engine, _) = self.running.get_or_insert_with(|| {
            let folder = Folder::new(&format!("readme-engine-{}", self.file.replace('/', "-")));
            (Engine::start(folder.command(&["--for", "600s"])), folder)
        });
        engine
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Seconds after which a command is interrupted.
const BOUND: u32 = 12;

/// `step` runs a command and holds it to its statuses; `settle` waits for what one in the background brings.
const PRELUDE: &str = r#"
finish() { kill $(jobs -p) 2>/dev/null; wait; exit "$1"; }
fail() { echo "ended with $1: $2" >&2; finish 1; }
step() {
  timeout --signal=INT --kill-after=20 "$bound" bash -uo pipefail -c "$1"
  local status=$?
  # 124: interrupted; 141: whoever read it had enough.
  [ $status = 124 ] || [ $status = 141 ] || case "$2" in *" $status "*) ;; *) fail $status "$1" ;; esac
}
settle() {
  local file=$1 port i
  shift
  for port in "$@"; do
    for i in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.1; done
  done
  if [ "$file" != /dev/null ]; then
    for i in $(seq 100); do [ -s "$file" ] && break; sleep 0.1; done
  fi
}
"#;
