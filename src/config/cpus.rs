//! CPU lists (`0-5,8`), the CPUs of the host, and the choice of which run what. Owns no pinning: it only names CPUs.
//! Invariant: a placement names CPUs of the allowed set alone, at least one for the shards and one for the sink core.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A set of CPU numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(BTreeSet<usize>);

impl CpuList {
    /// A list of these CPUs.
    pub fn new(cpus: impl IntoIterator<Item = usize>) -> Self {
        CpuList(cpus.into_iter().collect())
    }

    /// Whether `cpu` is in the list.
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.contains(&cpu)
    }

    /// The CPUs in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the kernel's list syntax: numbers and ranges, separated by commas.
impl FromStr for CpuList {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let number = |text: &str| match text.parse::<usize>() {
                Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
                Ok(cpu) => Err(format!("CPU {cpu} is above {CPU_MAX}")),
                Err(_) => Err(format!("{text:?} is no CPU number")),
            };
            match part.split_once('-') {
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(format!("the range {part} runs backwards"));
                    }
                    cpus.extend(first..=last);
                }
                None => {
                    cpus.insert(number(part)?);
                }
            }
        }
        Ok(CpuList(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|next| *next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// Which CPUs a configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CpuChoice {
    /// What suits the host.
    #[default]
    Auto,
    /// These.
    List(CpuList),
}

impl FromStr for CpuChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" { Ok(CpuChoice::Auto) } else { text.parse().map(CpuChoice::List) }
    }
}

/// The CPUs of the host, and those of them that this process may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// CPUs that are on line.
    pub online: CpuList,
    /// CPUs that affinity and cpuset leave to this process.
    pub allowed: CpuList,
}

impl Cpus {
    /// What the kernel says of this process: `/sys/devices/system/cpu/online` and `Cpus_allowed_list`. Where it says
    /// nothing, the CPUs that the standard library counts.
    pub fn read() -> Self {
        Cpus::read_from(Path::new("/"))
    }

    /// The same from a tree with its own `proc` and `sys`.
    pub fn read_from(root: &Path) -> Self {
        let counted = std::thread::available_parallelism().map_or(1, usize::from);
        let status = std::fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed: CpuList =
            allowed.and_then(|list| list.trim().parse().ok()).unwrap_or_else(|| CpuList::new(0..counted));
        let online = std::fs::read_to_string(root.join("sys/devices/system/cpu/online"));
        let online: CpuList = online.ok().and_then(|list| list.trim().parse().ok()).unwrap_or_else(|| allowed.clone());
        // A mask may name CPUs that are off line: only those that are on line can run anything.
        let usable = CpuList::new(allowed.iter().filter(|cpu| online.contains(*cpu)));
        Cpus { online, allowed: if usable.is_empty() { allowed } else { usable } }
    }

    /// Why CPUs of `list` cannot be used; nothing when all can.
    pub fn refuse(&self, list: &CpuList) -> Vec<String> {
        let denied = CpuList::new(list.iter().filter(|cpu| self.online.contains(*cpu) && !self.allowed.contains(*cpu)));
        let absent = CpuList::new(list.iter().filter(|cpu| !self.online.contains(*cpu)));
        let mut refusals = Vec::new();
        if !denied.is_empty() {
            let allowed = &self.allowed;
            let expected = format!("expected CPUs that this process may use ({allowed})");
            refusals.push(format!("{expected}, found {denied}, which is not allowed"));
        }
        if !absent.is_empty() {
            refusals
                .push(format!("expected CPUs of this host ({}), found {absent}, which does not exist", self.online));
        }
        refusals
    }
}

/// Which CPU runs what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One shard on each.
    pub shards: Vec<usize>,
    /// The sink core; may be one of the shards' CPUs.
    pub sink: usize,
}

impl Placement {
    /// Chooses CPUs of `allowed`. `auto` puts a lone CPU to both uses; of two or three the last is the sink core's; of
    /// four and more the last stays free for control and the kernel, the one before is the sink core's, and at most 32
    /// of the others are shards.
    pub fn choose(shards: &CpuChoice, sink: &CpuChoice, allowed: &CpuList) -> Placement {
        let all: Vec<usize> = allowed.iter().collect();
        let spare = usize::from(all.len() >= 4);
        let chosen_sink = match sink {
            CpuChoice::List(list) => list.iter().next(),
            CpuChoice::Auto => {
                let taken = |cpu: &usize| matches!(shards, CpuChoice::List(list) if list.contains(*cpu));
                let used = all.len() - spare;
                all[..used].iter().rev().chain(all[used..].iter()).copied().find(|cpu| !taken(cpu))
            }
        };
        let chosen_shards: Vec<usize> = match shards {
            CpuChoice::List(list) => list.iter().collect(),
            CpuChoice::Auto => {
                let others: Vec<usize> = all.iter().copied().filter(|cpu| Some(*cpu) != chosen_sink).collect();
                let count = others.len().saturating_sub(spare).clamp(1, SHARDS_AUTO_MAX);
                others.into_iter().take(count).collect()
            }
        };
        let fallback = all.first().copied().unwrap_or(0);
        let sink = chosen_sink.or(chosen_shards.last().copied()).unwrap_or(fallback);
        Placement { shards: if chosen_shards.is_empty() { vec![sink] } else { chosen_shards }, sink }
    }
}

/// Linux builds for at most 8,192 CPUs.
const CPU_MAX: usize = 8_191;

/// More shards than providers gain nothing; a configuration may still name more.
const SHARDS_AUTO_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_and_write() {
        for (text, shown) in [("0-5", "0-5"), ("6", "6"), ("0,2,1,8-9", "0-2,8-9"), (" 3 , 1 ", "1,3"), ("0-0", "0")] {
            assert_eq!(text.parse::<CpuList>().unwrap().to_string(), shown);
        }
        for bad in ["", "a", "5-0", "1,", "-1", "1-", "0-99999999", "auto"] {
            assert!(bad.parse::<CpuList>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn auto_suits_every_host() {
        let check = |allowed: &str, shards: &str, sink: usize| {
            let placement = Placement::choose(&CpuChoice::Auto, &CpuChoice::Auto, &allowed.parse().unwrap());
            assert_eq!(
                (CpuList::new(placement.shards).to_string().as_str(), placement.sink),
                (shards, sink),
                "{allowed}"
            );
        };
        check("0", "0", 0);
        check("3", "3", 3);
        check("0-1", "0", 1);
        check("0-2", "0-1", 2);
        check("0-3", "0-1", 2);
        check("0-7", "0-5", 6);
        check("2,4,6,8", "2,4", 6);
        check("0-127", "0-31", 126);
    }

    #[test]
    fn auto_leaves_alone_what_is_named() {
        let check = |shards: &str, sink: &str, expected: (&str, usize)| {
            let placement =
                Placement::choose(&shards.parse().unwrap(), &sink.parse().unwrap(), &"0-3".parse().unwrap());
            assert_eq!((CpuList::new(placement.shards).to_string().as_str(), placement.sink), expected);
        };
        check("0-2", "auto", ("0-2", 3));
        check("0-3", "auto", ("0-3", 3));
        check("auto", "0", ("1-2", 0));
        check("1", "1", ("1", 1));
    }

    #[test]
    fn a_cpu_that_is_missing_differs_from_one_that_is_not_allowed() {
        let cpus = Cpus { online: "0-3".parse().unwrap(), allowed: "0-1".parse().unwrap() };
        let refuse = |list: &str| cpus.refuse(&list.parse().unwrap());
        assert!(refuse("1").is_empty());
        assert!(refuse("2")[0].contains("not allowed"));
        assert!(refuse("4")[0].contains("does not exist"));
        assert_eq!(refuse("0-99").len(), 2);
        assert!(!Cpus::read().allowed.is_empty());
    }
}
