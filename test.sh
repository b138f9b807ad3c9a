#!/bin/bash
# SPDX-License-Identifier: ISC
# Sets up and runs the tests: all layers side by side, or those named.
#
#   ./test.sh [NAME...]
#   ./test.sh nightly
#   ./test.sh all
#
# NAME is a layer (lint, unit, asan, fuzz, sim, system, faults, negative, matrix) or a test: test_units, test_order.py, ...
# nightly: every layer, with more seeds, half an hour of faults, and all system tests on every platform of the matrix.
# all: that, and then hours of what finds the more the longer it runs.
# POSTGRES_VERSION=17 ./test.sh system runs on that major version instead of Debian's: 14, 16, 17 or 18.
# LIBRDKAFKA=current ./test.sh system runs on that librdkafka instead of Debian's.
# The last line is "N passed, N failed"; the status is 1 if any failed or none ran.
set -uo pipefail
cd "$(dirname "$0")"

# In the order in which they begin, each once its builds are there. What takes longest goes first, and one of those that
# need all of a core goes beside two that mostly wait.
LAYERS=(system sim faults lint unit asan fuzz negative matrix)
declare -A BUILDS=([system]=normal [faults]=normal [unit]=normal [sim]=normal [asan]=sanitized [negative]=plants
    [matrix]="normal clang" [lint]="normal clang" [fuzz]=clang)
# They need all of a core, the others mostly wait: at a lower priority they disturb nobody's timing, nor do builds.
BUSY=(sim lint fuzz)
# What also runs on the build with sanitizers: every part of the relay once, what handles input, and the ways out of a
# fault, where memory is given back out of turn.
ASAN_SYSTEM=(first_event payloads claims settle reject commands shards partitions missing_topic signals http embedded
    database_faults kafka_faults)
# Memory is not what it is without the sanitizer, and what takes a long load takes longer. librdkafka 2.16 reads a
# byte too many of a token's payload (rd_kafka_oidc_token_try_validate takes it for a string).
WITH_SANITIZERS='not hundred_megabytes and not restarts_under_load and not test_memory and not OIDC'
FUZZ_SECONDS=10
LONG_FUZZ_SECONDS=600
NIGHTLY_FUZZ_SECONDS=60
# PostgreSQL, compiler and librdkafka, beside Debian's PostgreSQL and librdkafka with gcc, which all layers have: each
# version of PostgreSQL, and each compiler with each librdkafka. clang's build is the one with sanitizers.
MATRIX=("14 clang current" "16 gcc debian" "17 clang debian" "18 gcc current")
MATRIX_SYSTEM=(first_event settle)
jobs=$(nproc)
workers=$((jobs + 1)) # of pytest, each with a Postgres and a Kafka of its own: more only take caches from each other
AT_A_TIME=2           # layers side by side: with more the tests of the system wait for a processor, not for events
MEMORY_MB=6000        # that layers side by side may need
DATA_MB=8000          # that all their servers may write
export PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
export LSAN_OPTIONS=suppressions=$PWD/tests/leaks.supp:print_suppressions=0

passed=0
failed=0
failures=()

say() {
    printf '\n=== %s\n' "$*"
}

count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

fail() {
    count 0 1
    failures+=("$1")
}

# check NAME COMMAND...: one test, silent unless it fails.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1 </dev/null); then
        echo "ok      $name"
        count 1 0
    else
        printf 'FAILED  %s\n%s\n' "$name" "$(tail -n 40 <<<"$output")"
        fail "$name"
    fi
}

# A build as a test. Not by check, whose subshell would forget that it is done.
check_build() {
    if "$2"; then
        echo "ok      $1"
        count 1 0
    else
        fail "$1"
    fi
}

# build DIRECTORY TARGETS [CMAKE OPTION...]: once per run.
declare -A built
build() {
    local directory=$1 targets=$2
    shift 2
    [ -z "${built[$directory]-}" ] || return "${built[$directory]}"
    cmake -S . -B "$directory" -DWERROR=ON "$@" >"$directory.log" 2>&1 &&
        nice -n 10 cmake --build "$directory" -j "$jobs" --target $targets >>"$directory.log" 2>&1
    built[$directory]=$?
    [ "${built[$directory]}" = 0 ] || tail -n 60 "$directory.log"
    rm -f "$directory.log"
    return "${built[$directory]}"
}

build_normal() { build build "all unit_tests"; }
# Without -Werror: with sanitizers gcc warns of what cannot be.
build_sanitized() { build build-sanitize "all unit_tests" -DSANITIZE=ON -DWERROR=OFF; }
build_plants() { build build-plants outbox-relay -DPLANTS=ON; }
build_clang() {
    build build-clang "all unit_tests" -DCMAKE_C_COMPILER=clang -DSANITIZE=ON -DFUZZ=ON \
        -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link
}

# run_ctest DIRECTORY ARGUMENTS...: counts what ctest says of its tests.
run_ctest() {
    local directory=$1 report bad all name
    shift
    report=$(mktemp)
    ctest --test-dir "$directory" --output-on-failure -j "$jobs" "$@" 2>&1 | tee "$report"
    read -r bad all < <(sed -n 's/.*tests passed, \([0-9]*\) tests failed out of \([0-9]*\)/\1 \2/p' "$report")
    count $((${all:-0} - ${bad:-0})) "${bad:-0}"
    while read -r name; do
        failures+=("$directory: $name")
    done < <(sed -n 's/^\t *[0-9]* - \([^ ]*\) (.*/\1/p' "$report")
    rm -f "$report"
}

# run_pytest BINARY WORKERS FILE...: the system tests in these files on this build of the relay. Every worker has
# servers of its own; 0: no worker.
run_pytest() {
    local binary=$1 processes=$2 report all bad
    shift 2
    report=$(mktemp)
    OUTBOX_RELAY=$PWD/$binary /usr/bin/python3 -m pytest -p no:cacheprovider -q -n "$processes" --dist loadgroup \
        --durations=5 --junitxml="$report" "$@"
    read -r bad all < <(sed -n 's/.*<testsuite [^>]*errors="\([0-9]*\)" failures="\([0-9]*\)" skipped="\([0-9]*\)" tests="\([0-9]*\)".*/\1 \2 \4/p' \
        "$report" | awk '{print $1 + $2, $3}')
    rm -f "$report"
    if [ -z "${all-}" ]; then
        fail "$binary: pytest itself"
        return
    fi
    count $((all - bad)) "$bad"
    [ "$bad" = 0 ] || failures+=("$binary: $bad tests of pytest")
}

python_files() { printf 'tests/system/test_%s.py\n' "$@"; }

# What is not as clang-format makes it.
check_format() {
    find include relay tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run -Werror
}

check_tidy() {
    printf '%s\n' relay/*/*.c | xargs -P "$jobs" -n 4 clang-tidy --quiet -p build-clang 2>/dev/null
}

# bash -n takes one script; what follows are that script's arguments.
check_scripts() {
    local script bad=0
    for script in *.sh tests/*.sh tests/*/*.sh .ci/run; do
        bash -n "$script" || bad=1
    done
    return $bad
}

layer_lint() {
    say "lint"
    local lint
    for lint in tests/lint/*.py; do
        check "$lint" "$lint"
    done
    check "clang-format" check_format
    check_build "gcc -Werror" build_normal
    check_build "clang -Werror" build_clang
    check "cppcheck" cppcheck --quiet --std=c11 --enable=warning,performance,portability \
        --inline-suppr --suppress=ctuuninitvar --suppress=normalCheckLevelMaxBranches --error-exitcode=1 \
        -D_GNU_SOURCE '-DOUTBOX_RELAY_VERSION=""' '-DJSON_INTEGER_FORMAT="lld"' -I include relay
    check "clang-tidy" check_tidy
    check "musl has all that is used of the C library" tests/musl.sh
    check "shell scripts parse" check_scripts
}

layer_unit() {
    say "unit tests"
    build_normal || { fail "build"; return; }
    run_ctest build -E '^simulate$'
    run_pytest build/outbox-relay 0 tests/faults tests/endurance
}

layer_asan() {
    say "unit and system tests with AddressSanitizer and UndefinedBehaviorSanitizer"
    build_sanitized || { fail "build with sanitizers"; return; }
    run_ctest build-sanitize -E '^simulate$'
    # All of it takes minutes here, and the layer sim does it.
    [ ! -x build-sanitize/tests/simulate ] ||
        check "simulate, with sanitizers" build-sanitize/tests/simulate --seeds 20000
    local files=tests/system
    [ -n "$all" ] || files=$(python_files "${ASAN_SYSTEM[@]}")
    run_pytest build-sanitize/outbox-relay "$jobs" -k "$WITH_SANITIZERS" $files
}

layer_fuzz() {
    local seconds=$FUZZ_SECONDS
    [ -z "$nightly" ] || seconds=$NIGHTLY_FUZZ_SECONDS
    [ -z "$all" ] || seconds=$LONG_FUZZ_SECONDS
    say "fuzzers, $seconds s each"
    build_clang || { fail "build of the fuzzers"; return; }
    local source name corpus found
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        corpus=tests/fuzz/corpus/${name#fuzz_}
        found=$(mktemp -d)
        mkdir "$found/new"
        check "$name" "build-clang/tests/$name" -max_total_time="$seconds" -timeout=10 \
            -artifact_prefix="$found/" "$found/new" $([ ! -d "$corpus" ] || echo "$corpus")
        rm -rf "$found"
    done
}

layer_sim() {
    say "simulator"
    build_normal || { fail "build"; return; }
    run_ctest build -R '^simulate$'
    [ -n "$nightly" ] || return 0
    check "30,000 seeds more" build/tests/simulate --seed 10001 --seeds 30000
    check "any two faults at any steps" build/tests/simulate --exhaustive 1
}

layer_system() {
    say "system tests on a real Postgres and a real Kafka"
    build_normal || { fail "build"; return; }
    run_pytest build/outbox-relay "$workers" tests/system
}

# A few system tests on each platform that is supported; in the night all of them.
layer_matrix() {
    say "other versions of PostgreSQL and librdkafka, and clang"
    build_normal && build_clang || { fail "builds"; return; }
    local platform
    for platform in "${MATRIX[@]}"; do
        say "PostgreSQL, compiler, librdkafka: $platform"
        on_platform $platform
    done
}

# on_platform POSTGRES COMPILER LIBRDKAFKA
on_platform() {
    local binary=build/outbox-relay processes=0 files=tests/system without=
    local -x LIBRDKAFKA=$3 POSTGRES_BINDIR
    if ! POSTGRES_BINDIR=$(tests/setup.sh postgres "$1"); then
        fail "PostgreSQL $1"
        return
    fi
    [ "$2" = gcc ] || { binary=build-clang/outbox-relay without=$WITH_SANITIZERS; }
    if [ -n "$nightly" ]; then processes=$jobs; else files=$(python_files "${MATRIX_SYSTEM[@]}"); fi
    run_pytest "$binary" "$processes" ${without:+-k "$without"} $files
}

# soak ARGUMENTS...: rounds of faults with relays in the middle; each is a test.
soak() {
    local report good bad
    report=$(mktemp)
    (cd tests && exec ./apart.sh /usr/bin/python3 -m faults.soak --binary ../build/outbox-relay "$@") | tee "$report"
    read -r good bad < <(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$report")
    rm -f "$report"
    if [ -z "${bad-}" ]; then
        fail "faults: the program itself"
        return
    fi
    count "$good" "$bad"
    [ "$bad" = 0 ] || failures+=("faults: $bad rounds")
}

layer_faults() {
    say "faults, against a pair of Postgres servers and three brokers"
    build_normal || { fail "build"; return; }
    if [ -n "$all" ]; then soak; else soak --select ci; fi
    [ -z "$nightly" ] || soak --pairs --minutes 30
}

# Whether such a round finds an error.
layer_negative() {
    say "negative controls"
    build_plants || { fail "build"; return; }
    check "negative controls" tests/apart.sh env -C tests OUTBOX_RELAY=../build-plants/outbox-relay \
        /usr/bin/python3 -m faults.negative $([ -n "$all" ] || echo --required)
}

# is_in WORD WORD...: whether the first is one of the others.
is_in() { [[ " ${*:2} " == *" $1 "* ]]; }

# The name of a test without its directory and its suffix.
test_name() {
    local name
    name=$(basename "$1" .py)
    echo "${name%.c}"
}

is_test() { [ -f "tests/unit/$1.c" ] || [ -f "tests/system/$1.py" ]; }

# Tests by their names.
run_named() {
    say "$*"
    build_normal || { fail "build"; return; }
    local name units=() files=()
    for name in "$@"; do
        [ ! -f "tests/unit/$name.c" ] || units+=("$name")
        [ ! -f "tests/system/$name.py" ] || files+=("tests/system/$name.py")
    done
    [ ${#units[@]} = 0 ] || run_ctest build -R "^($(IFS='|' && echo "${units[*]}"))\$"
    [ ${#files[@]} = 0 ] || run_pytest build/outbox-relay $((${#files[@]} > 1 ? workers : 0)) "${files[@]}"
}

# children_cpu TIMES: of what `times` has written there, the seconds of a processor that all have taken that this process
# has started and waited for.
children_cpu() {
    awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, part, /[ms]/); sum += 60 * part[1] + part[2] } }
        END { printf "%d", sum }' "$1"
}

# run_layer LAYER: in a process of its own, and leaves behind what came of it.
run_layer() {
    local began=$SECONDS
    passed=0 failed=0 failures=()
    ! is_in "$1" "${BUSY[@]}" || renice -n 10 -p "$BASHPID" >/dev/null
    "layer_$1"
    times >"$scratch/$1.times" # in this shell: a pipeline would have one of its own
    {
        echo "$passed $failed $((SECONDS - began)) $(children_cpu "$scratch/$1.times")"
        [ ${#failures[@]} = 0 ] || printf '%s\n' "${failures[@]}"
    } >"$scratch/$1.result"
}

# collect LAYER: counts what it left.
collect() {
    local good bad seconds cpu rest
    if [ ! -s "$scratch/$1.result" ]; then
        fail "$1: ended early"
        return
    fi
    { read -r good bad seconds cpu && mapfile -t rest; } <"$scratch/$1.result"
    count "$good" "$bad"
    failures+=("${rest[@]}")
    took+=("$(printf '%-8s %5d s, %5d s of CPU   %d passed, %d failed' "$1" "$seconds" "$cpu" "$good" "$bad")")
}

# A layer begins as soon as what it needs is built, and its output is shown when it has ended.
wait_for_one() {
    local ended layer
    wait -n -p ended "${!running[@]}"
    layer=${running[$ended]}
    unset "running[$ended]"
    cat "$scratch/$layer.log"
    collect "$layer"
}

run_side_by_side() {
    local layer name
    for layer in "${LAYERS[@]}"; do
        is_in "$layer" "$@" || continue
        while [ ${#running[@]} -ge "$AT_A_TIME" ]; do
            wait_for_one
        done
        for name in ${BUILDS[$layer]}; do
            "build_$name"
        done
        # Each a process group of its own, to be ended with all it started.
        set -m
        run_layer "$layer" >"$scratch/$layer.log" 2>&1 </dev/null &
        set +m
        running[$!]=$layer
        echo "begun after $SECONDS s: $layer"
    done
    while [ ${#running[@]} -gt 0 ]; do
        wait_for_one
    done
}

# One after the other, their output at once: for one, or where memory is short.
run_in_turn() {
    local layer name
    for layer in "${LAYERS[@]}"; do
        is_in "$layer" "$@" || continue
        for name in ${BUILDS[$layer]}; do
            "build_$name"
        done
        (run_layer "$layer")
        collect "$layer"
    done
}

# memory_suffices MEGABYTES
memory_suffices() {
    [ "$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)" -ge "$1" ]
}

# Hundreds of databases are made and dropped, of 300 files each: in memory, if there is plenty, that is no work for a
# file system.
choose_scratch() {
    local memory=/dev/shm room
    room=$(df -m --output=avail "$memory" 2>/dev/null | tail -n 1)
    if [ "${room:-0}" -ge "$DATA_MB" ] && memory_suffices $((MEMORY_MB + DATA_MB)); then
        mktemp -d -p "$memory"
    else
        mktemp -d
    fi
}

# Also when it is told to stop: nothing that was begun goes on.
end_all() {
    local group
    for group in "${!running[@]}"; do
        kill -TERM -- "-$group"
    done 2>/dev/null
    wait
    rm -rf "$scratch"
}

layers=()
tests=()
nightly=
all=
case "$*" in
nightly) nightly=1 && set -- ;;
all) nightly=1 all=1 && set -- ;;
esac
[ $# -gt 0 ] || set -- "${LAYERS[@]}"
for argument in "$@"; do
    if is_in "$argument" "${LAYERS[@]}"; then
        layers+=("$argument")
    elif name=$(test_name "$argument") && is_test "$name"; then
        tests+=("$name")
    else
        sed -n '3,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
        echo "there is no layer and no test \"$argument\"" >&2
        exit 2
    fi
done

tests/setup.sh packages build test kafka && tests/setup.sh runtimes || exit 1
if [ -n "${POSTGRES_VERSION-}" ]; then
    POSTGRES_BINDIR=$(tests/setup.sh postgres "$POSTGRES_VERSION") || exit 1
    export POSTGRES_BINDIR
fi
scratch=$(choose_scratch)
export TMPDIR=$scratch/tmp
mkdir -m 1777 "$TMPDIR" && chmod 755 "$scratch" # PostgreSQL runs as a user of its own
declare -A running=()
took=()
trap end_all EXIT
trap 'exit 1' INT TERM
if [ ${#layers[@]} -gt 1 ] && memory_suffices "$MEMORY_MB"; then
    run_side_by_side "${layers[@]}"
elif [ ${#layers[@]} -gt 0 ]; then
    run_in_turn "${layers[@]}"
fi
[ ${#tests[@]} = 0 ] || run_named "${tests[@]}"

say "result, after $SECONDS s"
[ ${#took[@]} -eq 0 ] || printf '%s\n' "${took[@]}"
[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
