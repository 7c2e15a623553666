#!/bin/bash
# Compares one tidegate shard core with wrk and h2load on the same core against the same nginx, which has the other.
#
# tidegate does its whole job for each request: admission, exchange, decoding, publishing, and the sink core beside the
# server takes the records. wrk and h2load decode nothing. Runs are interleaved, so that what disturbs the machine
# disturbs all; the medians of the rounds are printed with their least and greatest. The memory is what tidegate has
# resident after the load, with all its connections open and idle.
#
#   ROUNDS=5     rounds of everything
#   SECONDS_EACH=3   seconds of each run
#   CASES="plain64 plain1000 plain4000 delay2500 tls64 tls_h2 aiohttp ccxt"   which cases
#                plain<N> and tls<N> take any number of connections
#   TIDEGATE=target/release/tidegate   the program; built when it is not there
#
# The cases aiohttp and ccxt run what a fetcher in Python is made of, with 64 connections over plain HTTP (peers/).
#
# Needs nginx, wrk and h2load (Debian: nginx, wrk, nghttp2-client), libnginx-mod-http-echo for the delayed case, and for
# the peers in Python a package index to fill a throw-away `python3 -m venv` from; a case whose tools are not there is said
# to be skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
length=${SECONDS_EACH:-3}
cases=${CASES:-plain64 plain1000 plain4000 delay2500 tls64 tls_h2 aiohttp ccxt}
program=${TIDEGATE:-target/release/tidegate}
client_cpu=0
server_cpu=1
plain_port=${PLAIN_PORT:-18080}
tls_port=${TLS_PORT:-18443}
delay_port=${DELAY_PORT:-18081}
target='/api/v3/ticker/24hr?symbol=BTCUSDT'

has() { command -v "$1" > /dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
for tool in nginx openssl; do
    has "$tool" || { echo "skipped: expected $tool, found none"; exit 0; }
done
[ -x "$program" ] || cargo build --release
ulimit -n "$(ulimit -Hn)"

folder=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || { kill "$server" 2> /dev/null && wait "$server" 2> /dev/null; } || true
    rm -rf "$folder"
}
trap finish EXIT

# The served file is the source's own sample of a ticker.
mkdir -p "$folder/root/api/v3/ticker" "$folder/temp"
cp src/source/samples/binance/ticker_24hr.json "$folder/root/api/v3/ticker/24hr"
# nginx's worker has another user than its master.
chmod a+x "$folder"
chmod -R a+rX "$folder/root"

# A throw-away authority and a certificate for the loopback.
(
    cd "$folder"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=compare \
        -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.pem
) > "$folder/openssl.log" 2>&1

# nginx 1.25.1 moved HTTP/2 from a word of `listen` to a directive.
version=$(nginx -v 2>&1 | sed 's/.*nginx\/\([0-9.]*\).*/\1/')
if [ "$(printf '%s\n' 1.25.1 "$version" | sort -V | head -1)" = 1.25.1 ]; then
    http2_word='' http2_directive='http2 on;'
else
    http2_word=' http2' http2_directive=
fi

echo_module=
for module in /usr/lib/nginx/modules/ngx_http_echo_module.so /usr/share/nginx/modules/ngx_http_echo_module.so; do
    [ -z "$echo_module" ] && [ -e "$module" ] && echo_module=$module
done
{
    [ -z "$echo_module" ] || echo "load_module $echo_module;"
    cat << CONF
daemon off;
worker_processes 1;
worker_cpu_affinity $(printf '%s' "$((10 ** server_cpu))");
worker_rlimit_nofile 65536;
pid $folder/nginx.pid;
error_log $folder/error.log warn;
events { worker_connections 20000; multi_accept on; }
http {
    access_log off;
    default_type application/json;
    sendfile on;
    tcp_nopush off;
    open_file_cache max=10 inactive=600s;
    open_file_cache_valid 600s;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_body_temp_path $folder/temp/body;
    proxy_temp_path $folder/temp/proxy;
    fastcgi_temp_path $folder/temp/fastcgi;
    uwsgi_temp_path $folder/temp/uwsgi;
    scgi_temp_path $folder/temp/scgi;
    root $folder/root;
    server { listen 127.0.0.1:$plain_port backlog=8192; }
    server {
        listen 127.0.0.1:$tls_port ssl$http2_word backlog=8192;
        $http2_directive
        http2_max_concurrent_streams 256;
        ssl_certificate $folder/server.pem;
        ssl_certificate_key $folder/server.key;
        ssl_protocols TLSv1.3;
    }
CONF
    if [ -n "$echo_module" ]; then
        body=$(tr -d '\n' < "$folder/root/api/v3/ticker/24hr")
        printf "    server { listen 127.0.0.1:%s backlog=8192; location / { echo_sleep 0.05; echo '%s'; } }\n" \
            "$delay_port" "$body"
    fi
    echo '}'
} > "$folder/nginx.conf"
nginx -e "$folder/error.log" -p "$folder" -c "$folder/nginx.conf" &
server=$!
for _ in $(seq 100); do
    (: < "/dev/tcp/127.0.0.1/$plain_port") 2> /dev/null && break
    kill -0 "$server" 2> /dev/null || { cat "$folder/error.log" >&2; exit 1; }
    sleep 0.05
done

# Each of these appends "requests/s CPU-us-per-request" to a file: <case>.<who>.
timed() { # command...
    taskset -c "$client_cpu" bash -c 'TIMEFORMAT="%U %S"; time "$@" > "'"$folder"'/out" 2> "'"$folder"'/err"' - "$@" \
        2> "$folder/time" || { cat "$folder/err" >&2; return 1; }
    tail -1 "$folder/time" > "$folder/used"
}
note() { # file, requests, requests/s
    awk -v n="$2" -v rate="$3" '{ printf "%s %.3f\n", rate, ($1 + $2) * 1e6 / n }' "$folder/used" >> "$folder/$1"
}
run_wrk() { # case, url, connections
    timed wrk -t1 -c"$3" -d"${length}s" "$2$target"
    ! grep -E 'Non-2xx|Socket errors' "$folder/out" >&2 || echo "$1: wrk met errors" >&2
    note "$1.peer" "$(awk '/requests in/ { print $1 }' "$folder/out")" "$(awk '/Requests\/sec/ { print $2 }' "$folder/out")"
}
run_h2load() { # case, url, clients, streams
    timed h2load -t1 -c"$3" -m"$4" -D"$length" "$2$target"
    local count rate
    grep -qE '^status codes: .* 0 3xx, 0 4xx, 0 5xx' "$folder/out" || grep '^status' "$folder/out" >&2
    count=$(awk '/^requests:/ { print $8 }' "$folder/out")
    rate=$(awk '/^finished in/ { print $4 }' "$folder/out")
    note "$1.peer" "$count" "$rate"
}
run_python() { # case, url
    taskset -c "$client_cpu" "$folder/venv/bin/python3" "benches/peers/$1_peer.py" "$2" 64 "$length" \
        > "$folder/out" 2> "$folder/err" || { cat "$folder/err" >&2; return 1; }
    awk '{ print $2, $3 }' "$folder/out" >> "$folder/$1.peer"
}
run_tidegate() { # case, url, flags...
    local name=$1 url=$2
    shift 2
    "$program" load --source binance --kind ticker --symbol BTC-USDT --base-url "$url" --for "${length}s" \
        --shards "$client_cpu" --sink "$server_cpu" --json "$folder/report.json" "$@" > "$folder/out" 2> "$folder/err" ||
        { cat "$folder/err" "$folder/out" >&2; return 1; }
    awk '
        /"failed":/ { gsub(/[^0-9]/, ""); failed = $0 }
        /"requests_per_second":/ { gsub(/[^0-9.]/, ""); rate = $0 }
        /"shard_cpu_us_per_request":/ { getline; gsub(/[^0-9.]/, ""); cpu = $0 }
        /"resident_bytes":/ { gsub(/[^0-9]/, ""); resident = $0 / 1048576 }
        END { print rate, cpu, resident; if (failed > 0) print failed " requests failed" > "/dev/stderr" }
    ' "$folder/report.json" >> "$folder/$name.tidegate"
}

one() { # case
    local plain="http://127.0.0.1:$plain_port" tls="https://127.0.0.1:$tls_port" delayed="http://127.0.0.1:$delay_port"
    case $1 in
    plain*)
        run_wrk "$1" "$plain" "${1#plain}"
        run_tidegate "$1" "$plain" --connections "${1#plain}" --http 1
        ;;
    delay2500)
        run_wrk "$1" "$delayed" 2500
        run_tidegate "$1" "$delayed" --connections 2500 --http 1
        ;;
    tls_h2)
        run_h2load "$1" "$tls" 4 64
        run_tidegate "$1" "$tls" --connections 256 --h2-connections 4 --http 2 --ca-file "$folder/ca.pem"
        ;;
    tls*)
        run_wrk "$1" "$tls" "${1#tls}"
        run_tidegate "$1" "$tls" --connections "${1#tls}" --http 1 --ca-file "$folder/ca.pem"
        ;;
    aiohttp)
        run_python "$1" "$plain$target"
        run_tidegate "$1" "$plain" --connections 64 --http 1
        ;;
    ccxt)
        run_python "$1" "$plain"
        run_tidegate "$1" "$plain" --connections 64 --http 1
        ;;
    *)
        echo "expected a case of plain<N> delay2500 tls<N> tls_h2 aiohttp ccxt, found $1" >&2
        exit 2
        ;;
    esac
}

# The packages of a peer in Python, if they can be had.
has_python() { # package...
    [ -d "$folder/venv" ] || python3 -m venv "$folder/venv" > "$folder/pip.log" 2>&1 || return 1
    "$folder/venv/bin/python3" -m pip install --quiet "$@" >> "$folder/pip.log" 2>&1
}

chosen=
for name in $cases; do
    case $name in
    tls_h2) has h2load || { echo "skipped $name: expected h2load, found none"; continue; } ;;
    delay2500)
        [ -n "$echo_module" ] || { echo "skipped $name: expected nginx's echo module, found none"; continue; }
        ;;&
    aiohttp) has_python aiohttp uvloop orjson || { echo "skipped $name: expected its packages, found none"; continue; } ;;
    ccxt) has_python ccxt || { echo "skipped $name: expected its package, found none"; continue; } ;;
    *) has wrk || { echo "skipped $name: expected wrk, found none"; continue; } ;;
    esac
    chosen="$chosen $name"
done

echo "kernel $(uname -r), $(nproc) CPUs, $rounds rounds of ${length} s, client on CPU $client_cpu, server on CPU $server_cpu"
for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    for name in $chosen; do one "$name"; done
done

spread() { sort -n | awk -v form="$1" '
    { value[NR] = $1 }
    END {
        median = NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2
        printf form " (" form "-" form ")", median, value[1], value[NR]
    }'; }
printf '%-10s | %-24s | %-24s | %-18s | %-22s | %-22s | %-18s | %s\n' \
    case 'peer requests/s' 'tidegate requests/s' 'ratio' 'peer CPU us' 'tidegate CPU us' 'CPU ratio' 'tidegate MiB'
for name in $chosen; do
    paste -d' ' "$folder/$name.peer" "$folder/$name.tidegate" > "$folder/pairs"
    printf '%-10s | %-24s | %-24s | %-18s | %-22s | %-22s | %-18s | %s\n' "$name" \
        "$(awk '{ print $1 }' "$folder/pairs" | spread %.0f)" \
        "$(awk '{ print $3 }' "$folder/pairs" | spread %.0f)" \
        "$(awk '{ print $3 / $1 }' "$folder/pairs" | spread %.2f)" \
        "$(awk '{ print $2 }' "$folder/pairs" | spread %.2f)" \
        "$(awk '{ print $4 }' "$folder/pairs" | spread %.2f)" \
        "$(awk '{ print $4 / $2 }' "$folder/pairs" | spread %.2f)" \
        "$(awk '{ print $5 }' "$folder/pairs" | spread %.0f)"
done
