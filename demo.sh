#!/bin/bash
# SPDX-License-Identifier: ISC
# Shows the relay at work, and leaves nothing behind: a private Postgres, the relay with its embedded
# broker, an application that writes orders with their events, and kcat as an independent consumer.
#
#   ./demo.sh            with the broker inside the relay
#   ./demo.sh --kafka    with a real Kafka
set -euo pipefail
cd "$(dirname "$0")"

case ${1-} in
"") kafka= ;;
--kafka) kafka=yes ;;
*)
    sed -n '3,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
    ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-relay-demo.XXXXXX")
chmod 755 "$work"
servers=()

clean_up() {
    local status=$? pid
    trap - EXIT
    for pid in "${servers[@]}"; do # what was started last goes first
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if [ "$status" != 0 ]; then
        echo "the demo failed; the ends of the logs:" >&2
        tail -n 20 "$work"/*.log >&2 || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

step() {
    if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n# %s\n' "$*"; fi
}

# serve LOG COMMAND...: runs it in the background until the demo ends.
serve() {
    local log=$1
    shift
    "$@" >"$work/$log.log" 2>&1 </dev/null &
    servers=("$!" "${servers[@]}")
}

# await LOG PATTERN: waits until the log says so, and prints what matched.
await() {
    local tries=0
    until grep -oE "$2" "$work/$1.log" 2>/dev/null | head -n 1 | grep .; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ] || ! kill -0 "${servers[0]}" 2>/dev/null; then
            echo "$1 did not say: $2" >&2
            return 1
        fi
        sleep 0.1
    done
}

# A port that nobody listens on, below those of outgoing connections.
free_port() {
    local port
    while :; do
        port=$((10000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# Postgres refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
    else
        "$@"
    fi
}

start_postgres() {
    local bin port
    bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    port=$(free_port)
    mkdir "$work/postgres"
    [ "$(id -u)" != 0 ] || chown postgres: "$work/postgres"
    (cd / && as_postgres "$bin/initdb" -D "$work/postgres/data" -U owner --auth=trust --no-sync \
        --encoding=UTF8 --locale=C.UTF-8) >"$work/initdb.log"
    if [ "$(id -u)" = 0 ]; then
        serve postgres setpriv --reuid=postgres --regid=postgres --clear-groups -- \
            "$bin/postgres" -D "$work/postgres/data" -p "$port" -h 127.0.0.1 -k ""
    else
        serve postgres "$bin/postgres" -D "$work/postgres/data" -p "$port" -h 127.0.0.1 -k ""
    fi
    await postgres "ready to accept connections" >"$work/ready"
    owner="host=127.0.0.1 port=$port dbname=shop user=owner"
    relay="host=127.0.0.1 port=$port dbname=shop user=outbox_relay"
    psql -Xq "host=127.0.0.1 port=$port dbname=postgres user=owner" -c "CREATE DATABASE shop"
}

start_kafka() {
    local jars port
    jars=$(tests/setup.sh kafka)
    port=$(free_port)
    mkdir "$work/kafka"
    sed -e "s/@PORT@/$port/; s/@CONTROLLER_PORT@/$(free_port)/; s,@DIRECTORY@,$work/kafka," \
        tests/system/kafka/server.properties >"$work/server.properties"
    local java=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$jars/*")
    "${java[@]}" kafka.tools.StorageTool format -t b3V0Ym94LXJlbGF5LWRlbW8 \
        -c "$work/server.properties" >"$work/format.log" 2>&1
    serve kafka "${java[@]}" kafka.Kafka "$work/server.properties"
    await kafka "Kafka Server started" >"$work/ready"
    broker="bootstrap_servers = \"127.0.0.1:$port\";"
}

step "Packages and build"
tests/setup.sh packages build demo ${kafka:+kafka}
cmake -S . -B build >"$work/cmake.log"
cmake --build build -j "$(nproc)" --target outbox-relay >"$work/build.log" 2>&1
build/outbox-relay --version

step "A private Postgres${kafka:+ and a real Kafka}"
broker='embedded = true;'
start_postgres
[ -z "$kafka" ] || start_kafka
cat >"$work/demo.conf" <<EOF
database = { dsn = "$relay"; };
kafka = { $broker };
http = { listen = "127.0.0.1:$(free_port)"; };
EOF
cat "$work/demo.conf"

step "outbox-relay migrate: the outbox table, the bell, two roles"
build/outbox-relay migrate -c "$work/demo.conf" --dsn "$owner"

step "outbox-relay run"
serve relay build/outbox-relay run -c "$work/demo.conf"
ready=$(await relay "ready: publishing .*")
echo "$ready"
brokers=${ready##* }

step "The application: orders, each with its event in the same transaction; the last one is rolled back"
psql -X -q -a "$owner" <<'EOF'
CREATE TABLE orders (id text PRIMARY KEY, item text, state text);
BEGIN;
INSERT INTO orders VALUES ('o-1', 'teapot', 'placed'), ('o-2', 'kettle', 'placed');
INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, headers) VALUES
    ('order', 'o-1', 'OrderPlaced', '{"item": "teapot"}', '{"trace": "7f3a"}'),
    ('order', 'o-2', 'OrderPlaced', '{"item": "kettle"}', '{"trace": "91bc"}');
COMMIT;
BEGIN;
UPDATE orders SET state = 'shipped' WHERE id = 'o-1';
INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)
    VALUES ('order', 'o-1', 'OrderShipped', '{"parcel": 4711}');
COMMIT;
BEGIN;
INSERT INTO orders VALUES ('o-3', 'samovar', 'placed');
INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)
    VALUES ('order', 'o-3', 'OrderPlaced', '{"item": "samovar"}');
ROLLBACK;
EOF

for _ in $(seq 300); do # published is what is gone from the outbox
    [ "$(psql -XAtq "$owner" -c 'SELECT count(*) FROM outbox_events')" != 0 ] || break
    sleep 0.1
done

step "What a consumer receives (kcat on topic events.order): three events, o-1 in order, no o-3"
timeout 30 kcat -C -q -b "$brokers" -t events.order -o beginning -c 3 \
    -f 'partition %p  key %k  %s\n    headers %h\n'

step "outbox-relay status"
build/outbox-relay status -c "$work/demo.conf"

step "Done; everything started here is stopped and removed"
