#!/usr/bin/env bash
# Puts back what apply.sh has changed, the last change first. Shows what it would do, and does it with --yes.
set -euo pipefail

usage() {
  cat <<'END'
usage: revert.sh [--yes] [--state DIR] [--root DIR]
  --yes        does it; without, it shows what it would do
  --state DIR  where apply.sh has recorded the values before; /var/lib/tidegate-tuning when not given
  --root DIR   tree with its own proc, sys and etc; / when not given
END
}

yes=no root='' state=''
while [ $# -gt 0 ]; do
  case $1 in
    --yes) yes=yes ;;
    --state | --root)
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

if [ ! -e "$record" ]; then
  echo "nothing is recorded in $state: nothing to put back"
  exit 0
fi
if [ $yes = yes ] && [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
  echo "expected root for --yes, found user $(id -un)" >&2
  exit 1
fi

left=$(mktemp)
trap 'rm -f "$left"' EXIT
count=0 failed=0
# put_back KIND PATH VALUE
put_back() {
  case $1 in
    value) { echo "$3" > "$root$2"; } 2> /dev/null ;;
    kept) cp -p "$state/$3" "$root$2" && rm "$state/$3" ;;
    created) rm -f "$root$2" ;;
    *) return 1 ;;
  esac
}

while IFS=$'\t' read -r kind path value; do
  count=$((count + 1))
  case $kind in
    value) echo "put back $path = $value" ;;
    kept) echo "put back $path, as it was" ;;
    created) echo "remove   $path" ;;
  esac
  if [ $yes = yes ] && ! put_back "$kind" "$path" "$value"; then
    failed=$((failed + 1))
    echo "         refused; it stays recorded"
    printf '%s\t%s\t%s\n' "$kind" "$path" "$value" >> "$left"
  fi
done < <(tac "$record")

if [ $yes = no ]; then
  echo "$count to put back, and nothing was done: --yes does it"
elif [ $failed = 0 ]; then
  rm "$record"
  rmdir "$state" 2> /dev/null || true
  echo "$count put back"
else
  tac "$left" > "$record"
  echo "$((count - failed)) put back, $failed refused"
  exit 1
fi
