#!/bin/bash
# Sets up and runs the tests: all layers in order, or those named.
#
#   ./test.sh [NAME...]
#
# NAME is a layer (lint, unit, asan, fuzz, sim, system, faults) or a test: test_units, test_order.py, ...
# POSTGRES_VERSION=17 ./test.sh system runs on that major version instead of Debian's: 14, 16, 17 or 18.
# The last line is "N passed, N failed"; the status is 1 if any failed or none ran.
set -uo pipefail
cd "$(dirname "$0")"

LAYERS=(lint unit asan fuzz sim system faults)
# What also runs on the build with sanitizers: every part of the relay once, what handles input, and the ways out of a
# fault, where memory is given back out of turn.
ASAN_SYSTEM=(first_event payloads claims settle reject commands shards partitions missing_topic signals http embedded
    database_faults kafka_faults)
FUZZ_SECONDS=10
jobs=$(nproc)
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

# build DIRECTORY [CMAKE OPTION...]: once per run.
declare -A built
build() {
    local directory=$1
    shift
    [ -z "${built[$directory]-}" ] || return "${built[$directory]}"
    cmake -S . -B "$directory" -DWERROR=ON "$@" >"$directory.log" 2>&1 &&
        cmake --build "$directory" -j "$jobs" --target all unit_tests >>"$directory.log" 2>&1
    built[$directory]=$?
    [ "${built[$directory]}" = 0 ] || tail -n 60 "$directory.log"
    rm -f "$directory.log"
    return "${built[$directory]}"
}

build_normal() { build build; }
# Without -Werror: with sanitizers gcc warns of what cannot be.
build_sanitized() { build build-sanitize -DSANITIZE=ON -DWERROR=OFF; }
build_plants() { build build-plants -DPLANTS=ON; }
build_clang() {
    build build-clang -DCMAKE_C_COMPILER=clang -DSANITIZE=ON -DFUZZ=ON \
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

# run_pytest BINARY FILE...: the system tests in these files on this build of the relay.
run_pytest() {
    local binary=$1 report all bad
    shift
    report=$(mktemp)
    OUTBOX_RELAY=$PWD/$binary /usr/bin/python3 -m pytest -p no:cacheprovider -q \
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

# The files whose format is not what clang-format makes it.
check_format() {
    local file bad=0
    for file in $(find include relay tests -name '*.[ch]'); do
        clang-format --dry-run -Werror "$file" 2>/dev/null || { echo "clang-format -i $file"; bad=1; }
    done
    return $bad
}

check_tidy() {
    printf '%s\n' relay/*/*.c | xargs -P "$jobs" -n 4 clang-tidy --quiet -p build-clang 2>/dev/null
}

# bash -n takes one script; what follows are that script's arguments.
check_scripts() {
    local script bad=0
    for script in *.sh tests/*.sh .ci/run; do
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
    check "shell scripts parse" check_scripts
}

layer_unit() {
    say "unit tests"
    build_normal || { fail "build"; return; }
    run_ctest build -E '^simulate$'
    run_pytest build/outbox-relay tests/faults
}

layer_asan() {
    say "unit and system tests with AddressSanitizer and UndefinedBehaviorSanitizer"
    build_sanitized || { fail "build with sanitizers"; return; }
    run_ctest build-sanitize -E '^simulate$'
    # All of it takes minutes here, and the layer sim does it.
    [ ! -x build-sanitize/tests/simulate ] ||
        check "simulate, with sanitizers" build-sanitize/tests/simulate --seeds 20000
    # Memory is not what it is without the sanitizer, and what takes a long load takes longer.
    run_pytest build-sanitize/outbox-relay -k 'not hundred_megabytes and not restarts_under_load' $(python_files "${ASAN_SYSTEM[@]}")
}

layer_fuzz() {
    say "fuzzers, $FUZZ_SECONDS s each"
    build_clang || { fail "build of the fuzzers"; return; }
    local source name corpus scratch
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        corpus=tests/fuzz/corpus/${name#fuzz_}
        scratch=$(mktemp -d)
        mkdir "$scratch/found"
        check "$name" "build-clang/tests/$name" -max_total_time="$FUZZ_SECONDS" -timeout=10 \
            -artifact_prefix="$scratch/" "$scratch/found" $([ ! -d "$corpus" ] || echo "$corpus")
        rm -rf "$scratch"
    done
}

layer_sim() {
    say "simulator"
    build_normal || { fail "build"; return; }
    run_ctest build -R '^simulate$'
}

layer_system() {
    say "system tests on a real Postgres and a real Kafka"
    build_normal || { fail "build"; return; }
    run_pytest build/outbox-relay tests/system
}

# Rounds of faults with relays in the middle; each is a test. And whether such a round finds an error.
layer_faults() {
    say "faults, against a pair of Postgres servers and three brokers"
    build_normal && build_plants || { fail "build"; return; }
    local report good bad
    check "negative controls" env -C tests OUTBOX_RELAY=../build-plants/outbox-relay /usr/bin/python3 -m faults.negative --required
    report=$(mktemp)
    (cd tests && /usr/bin/python3 -m faults.soak --select ci --binary ../build/outbox-relay) | tee "$report"
    read -r good bad < <(sed -n '$s/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$report")
    rm -f "$report"
    if [ -z "${bad-}" ]; then
        fail "faults: the program itself"
        return
    fi
    count "$good" "$bad"
    [ "$bad" = 0 ] || failures+=("faults: $bad rounds")
}

# One test by its name.
run_one() {
    local name
    name=$(basename "$1" .py)
    name=${name%.c}
    say "$name"
    build_normal || { fail "build"; return; }
    if [ -f "tests/unit/$name.c" ]; then
        run_ctest build -R "^$name\$"
    fi
    if [ -f "tests/system/$name.py" ]; then
        run_pytest build/outbox-relay "tests/system/$name.py"
    fi
}

is_layer() { [[ " ${LAYERS[*]} " == *" $1 "* ]]; }

is_test() {
    local name
    name=$(basename "$1" .py)
    name=${name%.c}
    [ -f "tests/unit/$name.c" ] || [ -f "tests/system/$name.py" ]
}

[ $# -gt 0 ] || set -- "${LAYERS[@]}"
for name in "$@"; do
    if ! is_layer "$name" && ! is_test "$name"; then
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
        echo "there is no layer and no test \"$name\"" >&2
        exit 2
    fi
done

tests/setup.sh packages build test kafka || exit 1
if [ -n "${POSTGRES_VERSION-}" ]; then
    POSTGRES_BINDIR=$(tests/setup.sh postgres "$POSTGRES_VERSION") || exit 1
    export POSTGRES_BINDIR
fi
for name in "$@"; do
    if is_layer "$name"; then
        "layer_$name"
    else
        run_one "$name"
    fi
done

say "result, after $SECONDS s"
[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
