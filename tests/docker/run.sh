#!/usr/bin/env bash
# Builds the container image, starts it as docker-compose.yml says, and checks
# that it serves, that its limits really apply, and that it stops in time.
# Safe to run again and again; what it started it takes down.
#
#   tests/docker/run.sh
#
# Without a Docker engine, and as root on Debian, it installs and starts one
# from Debian's packages. Where the base image can be neither found nor pulled,
# it makes a stand-in of the same name with debootstrap.
#
# Options, all environment variables:
#   CXR_IMAGE          name of the image to build     (cxr-covid:latest)
#   CXR_PUBLISH        port to publish on             (8000)
#   CXR_TEST_IMAGE     image to post to /predict      (a synthetic PNG, over 1 MiB)
#   CXR_TEST_FIELD     name of its form field         (file)
#   CXR_WAIT           seconds to wait for healthy    (120)
#   CXR_BUILD_NETWORK  network of the build           (host)
#   CXR_REBUILD_BASE   1: make the stand-in base anew (0)
#   CXR_BASE_PACKAGES  packages put into the stand-in (python3,python3-venv,ca-certificates)
#   CXR_SKIP_BUILD     1: test the image as it is     (0)
#   CXR_KEEP           1: leave the service running   (0)
#   PIP_INDEX_URL, PIP_TRUSTED_HOST, HTTP_PROXY, HTTPS_PROXY, NO_PROXY:
#                      passed on to the build when set
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BASE=debian:bookworm-slim
SUITE=bookworm

export CXR_IMAGE="${CXR_IMAGE:-cxr-covid:latest}"
export CXR_PUBLISH="${CXR_PUBLISH:-8000}"
export CXR_INPUT_GATE="${CXR_INPUT_GATE:-off}" # the picture is synthetic, which the gate may tell
ADDRESS=127.0.0.1:$CXR_PUBLISH
WAIT=${CXR_WAIT:-120}
FIELD=${CXR_TEST_FIELD:-file}
BASE_PACKAGES=${CXR_BASE_PACKAGES-python3,python3-venv,ca-certificates}
DAEMON_LOG=/var/log/dockerd-by-hand.log

# A project name of its own: a service already running from the same
# docker-compose.yml, and its cache volume, stay as they are.
export COMPOSE_PROJECT_NAME=cxr-docker-test
BARE=cxr-docker-test-bare

WORK=$(mktemp -d)
PASSED=0
FAILED=0

say() { printf '\n== %s\n' "$*"; }
die() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# check WHAT GOT WANTED: WANTED is a shell pattern.
check() {
    # shellcheck disable=SC2053  # a pattern on purpose
    if [[ $2 == $3 ]]; then
        PASSED=$((PASSED + 1))
        printf 'ok    %-34s %s\n' "$1" "$2"
    else
        FAILED=$((FAILED + 1))
        printf 'FAIL  %-34s %s (wanted %s)\n' "$1" "$2" "$3"
    fi
}

# ------------------------------------------------------------- the engine ---
apt_install() {
    [[ $EUID -eq 0 ]] || die "not root, so cannot install: $*"
    have apt-get || die "no apt-get here; install by hand: $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null
}

ensure_engine() {
    if ! { have docker && docker info >/dev/null 2>&1; }; then
        [[ -z ${DOCKER_HOST-} ]] || die "no answer from the Docker engine at DOCKER_HOST"
        [[ $EUID -eq 0 && -f /etc/debian_version ]] ||
            die "no answer from a Docker engine. Install or start one, and let this user" \
                "talk to it (group docker); or run this script as root on Debian, and it" \
                "does both."
        if ! have docker || ! have dockerd; then
            say "Installing a Docker engine from Debian's packages"
            apt_install docker.io
        fi
        say "Starting the Docker engine"
        if [[ -d /run/systemd/system ]]; then
            systemctl start docker
        else
            setsid nohup dockerd >"$DAEMON_LOG" 2>&1 </dev/null &
            disown
        fi
        for _ in $(seq 60); do
            docker info >/dev/null 2>&1 && break
            sleep 1
        done
        docker info >/dev/null 2>&1 || die "the engine did not start; see $DAEMON_LOG"
    fi
    docker version --format 'engine {{.Server.Version}}, client {{.Client.Version}}'

    if docker compose version >/dev/null 2>&1; then
        COMPOSE=(docker compose)
    else
        have docker-compose || apt_install docker-compose
        COMPOSE=(docker-compose)
    fi
    "${COMPOSE[@]}" version | sed -n 1p
    have curl || apt_install curl
}

# ---------------------------------------------------------- the base image ---
# The stand-in: a minimal Debian, with the package managers set up as they are
# on this machine (sources, proxies, certificates), since it is used where
# nothing is reached but through that.
make_base() {
    local root=$WORK/base mirror='' sources='' file
    have debootstrap || apt_install debootstrap
    [[ $EUID -eq 0 ]] || die "$BASE cannot be pulled, and making a stand-in needs root"
    say "Making a stand-in for $BASE with debootstrap"

    # On the same release of Debian: this machine's own mirror and sources, and
    # not those of third parties, whose keys are not in there. Else debootstrap's.
    # shellcheck disable=SC1091
    if [[ $(. /etc/os-release && echo "$ID ${VERSION_CODENAME-}") == "debian $SUITE" ]]; then
        for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
            [[ -s $file ]] && sources=$file && break
        done
        mirror=$(awk '/^(URIs:|deb )/ {for (i = 2; i <= NF; i++) if ($i ~ /^https?:/) {print $i; exit}}' \
            "${sources:-/dev/null}")
    fi
    debootstrap --variant=minbase ${BASE_PACKAGES:+--include="$BASE_PACKAGES"} \
        "$SUITE" "$root" ${mirror:+"$mirror"} >"$WORK/debootstrap.log" 2>&1 ||
        { tail -n 20 "$WORK/debootstrap.log" >&2; die "debootstrap failed"; }

    # The settings of apt that decide whether its sources are reached.
    if [[ -n $sources ]]; then
        rm -f "$root/etc/apt/sources.list"
        cp -L "$sources" "$root$sources"
    fi
    if have apt-config; then
        apt-config dump |
            grep -E '^Acquire::(Check-|Retries|ForceIPv|https?::(Proxy|CaInfo|Verify))' \
                >"$root/etc/apt/apt.conf.d/90host" || true
    fi
    # pip's settings and the certificates they may name; the single ones too,
    # since installing ca-certificates in there makes the bundle anew from them.
    for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt \
        /usr/local/share/ca-certificates/*.crt; do
        [[ -e $file ]] || continue
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done

    # As in the real slim image: no documentation, manuals or translations,
    # and none from packages installed later.
    cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<-'EOF'
		path-exclude /usr/share/doc/*
		path-include /usr/share/doc/*/copyright
		path-exclude /usr/share/man/*
		path-exclude /usr/share/info/*
		path-exclude /usr/share/locale/*
		path-exclude /usr/share/lintian/*
	EOF
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root"/usr/share/{man,info,locale,lintian}/*
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb \
        "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt

    tar -C "$root" --numeric-owner --one-file-system -c . |
        docker import -c 'CMD ["bash"]' -c 'LABEL stand-in=debootstrap' - "$BASE" >/dev/null
    rm -rf "$root"
}

ensure_base() {
    if [[ ${CXR_REBUILD_BASE:-0} == 1 ]]; then
        make_base
    elif docker image inspect "$BASE" >/dev/null 2>&1; then
        echo "$BASE is here"
    elif timeout 300 docker pull -q "$BASE" 2>"$WORK/pull.log"; then
        echo "$BASE pulled"
    else
        echo "cannot pull $BASE: $(tail -n 1 "$WORK/pull.log")"
        make_base
    fi
    docker image inspect -f 'base: {{.Size}} bytes, labels {{.Config.Labels}}' "$BASE"
}

# -------------------------------------------------------------- the checks ---
# The image's own interpreter does what the host may lack one for.
python_in() { docker exec -i "$1" /usr/bin/python3 -IS -; }

wait_healthy() { # CONTAINER
    local state='' begin=$SECONDS
    while ((SECONDS - begin < WAIT)); do
        state=$(docker inspect -f '{{.State.Status}} {{.State.Health.Status}}' "$1")
        case $state in
        'running healthy') break ;;
        exited* | dead* | restarting* | *unhealthy) break ;;
        esac
        sleep 1
    done
    if [[ $state != 'running healthy' ]]; then
        docker logs "$1" 2>&1 | tail -n 40 >&2
        docker inspect -f '{{json .State.Health}}' "$1" >&2
        die "$1 is '$state' after $((SECONDS - begin)) s"
    fi
    check "healthy, s" "$((SECONDS - begin))" '*'
}

make_png() { # a grey chest-like picture with noise, over 1 MiB
    docker run --rm -i --network none --entrypoint /usr/bin/python3 "$CXR_IMAGE" -IS - <<'EOF'
import random, struct, sys, zlib
n = 1500
noise = random.Random(1).getrandbits
rows = []
for y in range(n):
    v = (y / n - 0.5) / 0.36
    row = bytearray(1)
    for x in range(n):
        u = (abs(x / n - 0.5) - 0.2) / 0.14
        row.append((50 if u * u + v * v < 1 else 170) + noise(6))
    rows.append(bytes(row))
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
sys.stdout.buffer.write(
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", n, n, 8, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"".join(rows), 6)) + chunk(b"IEND", b""))
EOF
}

# request URL [CURL OPTIONS]: prints the answer, keeps the status in STATUS.
request() {
    local url=$1
    shift
    STATUS=$(curl -sS --noproxy '*' -m 60 -o "$WORK/answer" -w '%{http_code}' "$@" "$url" || true)
    printf -- '---   %s\n' "$(head -c 1500 "$WORK/answer" 2>/dev/null || true)"
}

try_service() { # BASE-URL
    request "$1/readyz"
    check "GET /readyz" "$STATUS" 200
    request "$1/"
    check "GET /" "$STATUS" 200
    request "$1/predict" -F "$FIELD=@$PICTURE"
    check "POST /predict" "$STATUS" 200
}

check_confined() { # CONTAINER: as the engine has it, and as seen from inside
    local seen
    get() { docker inspect -f "$1" "$container"; }
    local container=$1
    check "read-only root" "$(get '{{.HostConfig.ReadonlyRootfs}}')" true
    check "capabilities dropped" "$(get '{{.HostConfig.CapDrop}}')" '\[ALL\]'
    check "capabilities added" "$(get '{{len .HostConfig.CapAdd}}')" 0
    check "privileged" "$(get '{{.HostConfig.Privileged}}')" false
    check "security options" "$(get '{{.HostConfig.SecurityOpt}}')" '*no-new-privileges*'
    check "user" "$(get '{{.Config.User}}')" '10001:10001'
    seen=$(python_in "$container" <<'EOF'
import os, re
status = open("/proc/1/status").read()
def field(name):
    return re.search(rf"^{name}:\s*(\S+)", status, re.M)[1]
def writable(path):
    try:
        with open(os.path.join(path, ".probe"), "w"):
            pass
        os.remove(os.path.join(path, ".probe"))
        return "yes"
    except OSError:
        return "no"
print("uid", field("Uid"), "capeff", field("CapEff"), "capbnd", field("CapBnd"),
      "nnp", field("NoNewPrivs"))
print("writable", *(f"{p}={writable(p)}" for p in ("/tmp", "/srv/cxr", "/var/tmp", os.environ["CXR_CACHE_DIR"])))
def first(*paths):
    for path in paths:
        try:
            return open(path).read().strip()
        except OSError:
            pass
print("cgroup memory", first("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
      "cpu", first("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
      "pids", first("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"))
EOF
    )
    check "process 1, from inside" "$(sed -n 1p <<<"$seen")" \
        'uid 10001 capeff 0000000000000000 capbnd 0000000000000000 nnp 1'
    check "writable" "$(sed -n 2p <<<"$seen")" "writable /tmp=no /srv/cxr=no /var/tmp=no /var/cache/cxr=$2"
    CGROUP=$(sed -n 3p <<<"$seen")
}

stop_in_time() { # CONTAINER
    local begin end
    begin=$(date +%s%N)
    docker stop -t 30 "$1" >/dev/null
    end=$(date +%s%N)
    local ms=$(((end - begin) / 1000000))
    check "stopped on SIGTERM, ms" "$ms" '[0-9]*'
    check "in less than 10 s" "$((ms < 10000))" 1
    # 137 would be SIGKILL.
    check "exit code" "$(docker inspect -f '{{.State.ExitCode}}' "$1")" '@(0|143)'
}

tear_down() {
    [[ -n ${COMPOSE[*]-} ]] || return 0
    docker rm -f "$BARE" >/dev/null 2>&1 || true
    "${COMPOSE[@]}" -f "$ROOT/docker-compose.yml" down -v --remove-orphans >/dev/null 2>&1 || true
}

finish() {
    local code=$?
    if [[ ${CXR_KEEP:-0} == 1 ]]; then
        echo "left running; take it down with: COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME ${COMPOSE[*]-} down -v"
    else
        tear_down
    fi
    rm -rf "$WORK"
    exit "$code"
}

# ------------------------------------------------------------------- main ---
shopt -s extglob
trap finish EXIT
cd "$ROOT"
[[ -f Dockerfile && -f docker-compose.yml ]] || die "no Dockerfile in $ROOT"

ensure_engine
ensure_base

if [[ ${CXR_SKIP_BUILD:-0} != 1 ]]; then
    say "Building $CXR_IMAGE"
    args=()
    for name in PIP_INDEX_URL PIP_TRUSTED_HOST HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [[ -z ${!name-} ]] || args+=(--build-arg "$name") # the value from the environment
    done
    begin=$SECONDS
    docker build --network "${CXR_BUILD_NETWORK:-host}" "${args[@]}" -t "$CXR_IMAGE" . \
        >"$WORK/build.log" 2>&1 </dev/null || { tail -n 30 "$WORK/build.log" >&2; die "the build failed"; }
    tail -n 3 "$WORK/build.log"
    echo "built in $((SECONDS - begin)) s"
fi
image_bytes=$(docker image inspect -f '{{.Size}}' "$CXR_IMAGE")
base_bytes=$(docker image inspect -f '{{.Size}}' "$BASE")
echo "image: $((image_bytes / 1000000)) MB, of which $((base_bytes / 1000000)) MB base"
docker history --no-trunc=false --format '{{.Size}}\t{{.CreatedBy}}' "$CXR_IMAGE" | grep -v '^0B'

tear_down # of an earlier run that was killed
if [[ -n ${CXR_TEST_IMAGE-} ]]; then
    PICTURE=$CXR_TEST_IMAGE
else
    PICTURE=$WORK/synthetic.png
    make_png >"$PICTURE"
fi
echo "picture: $PICTURE, $(stat -c %s "$PICTURE") bytes"

say "As docker-compose.yml has it"
"${COMPOSE[@]}" up -d --no-build
cid=$("${COMPOSE[@]}" ps -q cxr)
wait_healthy "$cid"
check_confined "$cid" yes
check "memory limit, bytes" "$(docker inspect -f '{{.HostConfig.Memory}}' "$cid")" '[1-9]*'
# docker-compose 1.29 and v2 both turn "cpus" into NanoCpus.
check "CPU limit, 1e-9 CPUs" "$(docker inspect -f '{{.HostConfig.NanoCpus}}' "$cid")" '[1-9]*'
check "process limit" "$(docker inspect -f '{{.HostConfig.PidsLimit}}' "$cid")" '[1-9]*'
# cgroup v1 gives the CPU quota alone, in microseconds per 100 ms; v2 gives both.
read -r memory cpus pids < <(docker inspect -f \
    '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' "$cid")
check "limits, from inside" "$CGROUP" \
    "cgroup memory $memory cpu $((cpus / 10000))?( 100000) pids $pids"
check "restart policy" "$(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' "$cid")" unless-stopped
check "init" "$(docker inspect -f '{{.HostConfig.Init}}' "$cid")" true
check "log limit" "$(docker inspect -f '{{index .HostConfig.LogConfig.Config "max-size"}}' "$cid")" '[1-9]*'
check "port" "$(docker inspect -f \
    '{{range $p, $b := .HostConfig.PortBindings}}{{$p}} {{range $b}}{{.HostIp}}:{{.HostPort}}{{end}}{{end}}' "$cid")" \
    "8000/tcp $ADDRESS"
if have ss; then
    check "listening" "$(ss -Hltn "sport = :$CXR_PUBLISH" | awk '{print $4}' | tr '\n' ' ')" "$ADDRESS "
fi
try_service "http://$ADDRESS"
docker stats --no-stream --format 'stats: memory {{.MemUsage}}, {{.PIDs}} processes and threads' "$cid"
docker exec "$cid" ls -lan /var/cache/cxr
stop_in_time "$cid"

say "Once more with the warm cache"
"${COMPOSE[@]}" up -d --no-build
wait_healthy "$cid"
try_service "http://$ADDRESS"

if [[ ${CXR_KEEP:-0} == 1 ]]; then
    echo "CXR_KEEP=1: leaving it there, and leaving out the run without a volume"
else
    tear_down
    say "docker run, without the cache volume and without init"
    docker run -d --env CXR_INPUT_GATE --name "$BARE" --read-only --cap-drop ALL \
        --security-opt no-new-privileges:true -p "$ADDRESS:8000" "$CXR_IMAGE" >/dev/null
    wait_healthy "$BARE"
    check_confined "$BARE" no
    try_service "http://$ADDRESS"
    stop_in_time "$BARE"
fi

printf '\n%d passed, %d failed\n' "$PASSED" "$FAILED"
((FAILED == 0))
