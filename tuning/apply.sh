#!/usr/bin/env bash
# Prepares a host for tidegate: kernel settings, limits of logins, huge pages, CPU frequency, interrupts of the network
# card. Shows what it would do, and does it with --yes. What it changes is recorded before, and revert.sh puts it back.
# What is right already stays as it is, so that it can be run again. `tidegate doctor` says what the host needs of this.
set -euo pipefail

usage() {
  cat <<'END'
usage: apply.sh [--yes] [--shards CPUS] [--sink CPU] [--user NAME] [--state DIR] [--root DIR]
  --yes          does it; without, it shows what it would do
  --shards CPUS  CPUs of the shards (cores.shards), such as 1-6: they get the performance governor, and the interrupts
                 of the network card go elsewhere; without, both are left alone
  --sink CPU     CPU of the sink core (cores.sink), which gets the governor
  --user NAME    user whose limits are raised at login; services and containers have limits of their own
  --state DIR    where the values before are recorded; /var/lib/tidegate-tuning when not given
  --root DIR     tree with its own proc, sys and etc; / when not given
END
}

yes=no shards='' sink='' user='' root='' state=''
while [ $# -gt 0 ]; do
  case $1 in
    --yes) yes=yes ;;
    --shards | --sink | --user | --state | --root)
      [ $# -ge 2 ] || { usage >&2; exit 2; }
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
root=${root%/}
state=${state:-$root/var/lib/tidegate-tuning}
record=$state/record
changes=0 refused=0 lines=()

# One CPU a line of a list such as 0-3,8.
cpus_of() {
  local part
  for part in ${1//,/ }; do
    [[ $part =~ ^([0-9]+)(-([0-9]+))?$ ]] || { echo "expected CPUs such as 1-6 or 0,2, found $1" >&2; return 2; }
    seq "${BASH_REMATCH[1]}" "${BASH_REMATCH[3]:-${BASH_REMATCH[1]}}"
  done
}

# Numbers, one a line, as the kernel writes a list: 0-3,8.
list_of() {
  sort -nu | awk '
    function flush() { if (n++) printf ","; printf "%s", first; if (last != first) printf "-%s", last }
    NR == 1 { first = last = $1; next }
    $1 == last + 1 { last = $1; next }
    { flush(); first = last = $1 }
    END { if (NR) flush() }'
}

# Those of the first list that are (-12) or are not (-23) in the second.
compare() {
  comm "$1" <(cpus_of "$2" | sort) <(cpus_of "$3" | sort)
}

# What a file of the kernel holds. Of choices in brackets, the chosen one.
value_of() {
  local text
  text=$(tr '\t' ' ' < "$1")
  if [[ $text =~ \[([^]]+)\] ]]; then text=${BASH_REMATCH[1]}; fi
  echo "$text"
}

# Whether the value before is recorded.
recorded() {
  [ -e "$record" ] && cut -f 2 "$record" | grep -qxF -- "$1"
}

# remember KIND PATH VALUE: unless an earlier run has recorded it.
remember() {
  mkdir -p "$state"
  recorded "$2" || printf '%s\t%s\t%s\n' "$1" "$2" "$3" >> "$record"
}

# knob PATH VALUE WHY: a value in a file of the kernel.
knob() {
  local path=$1 want=$2 why=$3 now known=no
  [ -e "$root$path" ] || return 0
  now=$(value_of "$root$path")
  if [ "$now" = "$want" ]; then
    echo "ok       $path = $now"
    return 0
  fi
  changes=$((changes + 1))
  echo "change   $path: $now -> $want"
  echo "         why   $why"
  echo "         undo  echo '$now' > $path"
  [ $yes = yes ] || return 0
  if recorded "$path"; then known=yes; fi
  remember value "$path" "$now"
  { echo "$want" > "$root$path"; } 2> /dev/null || true
  [ "$(value_of "$root$path")" != "$want" ] || return 0
  refused=$((refused + 1))
  echo "         the kernel refuses it"
  # What was never changed is not put back either.
  if [ $known = no ]; then
    awk -F '\t' -v path="$path" '$2 != path' "$record" > "$record.new"
    mv "$record.new" "$record"
  fi
}

# setting KEY VALUE WHY: a kernel setting, which is to hold after a restart, too.
setting() {
  [ -e "$root/proc/sys/${1//.//}" ] || return 0
  knob "/proc/sys/${1//.//}" "$2" "$3"
  lines+=("$1 = $2")
}

# at_least KEY NUMBER WHY: the last number of a kernel setting.
at_least() {
  local numbers last
  [ -e "$root/proc/sys/${1//.//}" ] || return 0
  read -r -a numbers < "$root/proc/sys/${1//.//}"
  last=$((${#numbers[@]} - 1))
  [ "${numbers[last]}" -ge "$2" ] || numbers[last]=$2
  setting "$1" "${numbers[*]}" "$3"
}

# file PATH TEXT WHY: a file of the system's configuration.
file() {
  local path=$1 text=$2 why=$3 name=${1##*/}
  if [ -e "$root$path" ] && [ "$(cat "$root$path")" = "$text" ]; then
    echo "ok       $path"
    return 0
  fi
  changes=$((changes + 1))
  echo "change   $path"
  echo "         | ${text//$'\n'/$'\n         | '}"
  echo "         why   $why"
  if [ -e "$root$path" ]; then
    echo "         undo  the file that is there is kept in $state"
  else
    echo "         undo  rm $path"
  fi
  [ $yes = yes ] || return 0
  mkdir -p "$state" "$(dirname "$root$path")"
  if ! recorded "$path" && [ -e "$root$path" ]; then
    cp -p "$root$path" "$state/${path//\//_}"
    remember kept "$path" "${path//\//_}"
  else
    remember created "$path" "$name"
  fi
  printf '%s\n' "$text" > "$root$path"
}

# Interrupts of network cards: those of the device, or of the one it sits on, and those named after it.
network_irqs() {
  local card folder
  for card in "$root"/sys/class/net/*; do
    [ -e "$card/device" ] || continue
    for folder in "$card/device/msi_irqs" "$card/device/../msi_irqs"; do
      [ -d "$folder" ] || continue
      ls "$folder"
      break
    done
    [ ! -e "$root/proc/interrupts" ] ||
      awk -v card="${card##*/}" 'index($NF, card) == 1 { sub(":", "", $1); print $1 }' "$root/proc/interrupts"
  done | sort -nu
}

if [ $yes = yes ] && [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
  echo "expected root for --yes, found user $(id -un)" >&2
  exit 1
fi
# Fails here on what is no list.
shard_cpus=$(cpus_of "$shards")
sink_cpus=$(cpus_of "$sink")

# --- kernel settings ---------------------------------------------------------------------------------------------------
range=$root/proc/sys/net/ipv4/ip_local_port_range
if [ -e "$range" ]; then
  read -r first last < "$range"
  # A range that is as wide stays as it is.
  if [ $((last - first)) -lt 50000 ]; then first=10240 last=65535; fi
  setting net.ipv4.ip_local_port_range "$first $last" \
    "each connection to one address takes a port, and keeps it 60 s after its end"
fi
at_least net.core.somaxconn 4096 "the queue of no listener is longer than this"
at_least net.ipv4.tcp_rmem 6291456 "a body cannot come faster than one receive buffer a round trip"
at_least net.ipv4.tcp_wmem 4194304 "the same for what the simulator sends"
setting kernel.io_uring_disabled 0 "every core runs on io_uring"
if [ -e "$root/sys/devices/system/node/node1" ]; then
  setting kernel.numa_balancing 0 "threads are pinned: moving their memory after them stops them for nothing"
fi
if [ ${#lines[@]} -gt 0 ]; then
  file /etc/sysctl.d/60-tidegate.conf "$(printf '%s\n' '# Written by tuning/apply.sh of tidegate.' "${lines[@]}")" \
    "the settings above hold after a restart, too"
fi

# --- limits of logins --------------------------------------------------------------------------------------------------
if [ -n "$user" ]; then
  file /etc/security/limits.d/60-tidegate.conf "# Written by tuning/apply.sh of tidegate; memlock is in KiB.
$user soft memlock 65536
$user hard memlock 65536
$user soft nofile 65536
$user hard nofile 65536" "io_uring locks the memory of its rings, and each connection is an open file"
fi

# --- huge pages --------------------------------------------------------------------------------------------------------
pages=/sys/kernel/mm/transparent_hugepage/enabled
if [ -e "$root$pages" ]; then
  now=$(value_of "$root$pages")
  if [ "$now" = always ]; then now=madvise; fi
  knob $pages "$now" "with always, memory that few bytes are used of grows to pages of 2 MiB"
fi

# --- CPU frequency -----------------------------------------------------------------------------------------------------
for cpu in $shard_cpus $sink_cpus; do
  knob "/sys/devices/system/cpu/cpu$cpu/cpufreq/scaling_governor" performance \
    "a CPU that has clocked down while it waited answers late"
done

# --- interrupts of the network card away from the shards ---------------------------------------------------------------
if [ -n "$shards" ] && [ -e "$root/sys/devices/system/cpu/online" ]; then
  others=$(compare -23 "$(cat "$root/sys/devices/system/cpu/online")" "$shards" | list_of)
  for irq in $(network_irqs); do
    path=/proc/irq/$irq/smp_affinity_list
    [ -e "$root$path" ] || continue
    now=$(value_of "$root$path")
    if [ -z "$(compare -12 "$now" "$shards")" ]; then
      echo "ok       $path = $now"
    elif [ -z "$others" ]; then
      echo "skipped  $path: the shards have every CPU"
    else
      knob "$path" "$others" "an interrupt stops the shard on whose CPU it comes"
    fi
  done
  if grep -qsx irqbalance "$root"/proc/[0-9]*/comm; then
    echo "note     irqbalance runs and moves interrupts back: stop it, or ban the shards' CPUs in its configuration"
  fi
fi

if [ $yes = yes ]; then
  echo "$changes changed, of which the kernel refused $refused; revert.sh --yes puts back what was"
else
  echo "$changes to change, and nothing was done: --yes does it"
fi
[ $refused = 0 ]
