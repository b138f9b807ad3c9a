# SPDX-License-Identifier: ISC
"""docs/first-quarter-hour.md: from the Debian package to the first alert, and to its end.
python3 -m runbooks.first_quarter; needs a build in build/, of which it makes the package."""
import glob
import os
import subprocess
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def unpack(directory):
    """The package in a directory; its program is what the play runs."""
    subprocess.run(["cpack", "-G", "DEB", "-B", directory, "--config", f"{ROOT}/build/CPackConfig.cmake"], check=True,
                   stdout=subprocess.DEVNULL)
    package, = glob.glob(f"{directory}/outbox-relay_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, f"{directory}/root"], check=True)
    os.environ["OUTBOX_RELAY"] = f"{directory}/root/usr/bin/outbox-relay"
    return package


def main():
    with tempfile.TemporaryDirectory(prefix="outbox-relay-package-") as directory:
        package = unpack(directory)
        from runbooks.stage import Play  # it takes the program that OUTBOX_RELAY names
        with Play() as play:
            walk(play, package, directory)


def walk(play, package, directory):
    from harness.postgres import Database
    from harness.ports import free_port
    postgres, broker = play.postgres(), play.kafka()
    play.database = database = Database(postgres, "shop").create()
    play.settings = {}
    listen = f"127.0.0.1:{free_port()}"
    os.symlink(f"{directory}/root/etc/outbox-relay/outbox-relay.conf", play.path("sample.conf"))
    play.mark("the package")
    play.sh(f"dpkg-deb --field {package} Package Version Depends Installed-Size")
    play.note("the configuration: three settings of the sample")
    relay = play.relay(start=False)
    play.sh(f"sed -e 's|dsn = \".*\";|dsn = \"{database.dsn('outbox_relay')}\";|'"
            f" -e 's|bootstrap_servers = \".*\";|bootstrap_servers = \"{broker.bootstrap}\";|'"
            f" -e 's|listen = \".*\";|listen = \"{listen}\";|' sample.conf > relay1.conf")
    play.sh("grep -nE '^ *(dsn|bootstrap_servers|listen|database|kafka|http) ' relay1.conf")
    play.note("what is wrong before anything is done")
    play.sh("outbox-relay check -c relay1.conf")
    play.note("the schema, as the owner")
    play.sh(f"outbox-relay migrate -c relay1.conf --dsn '{database.dsn()}'")
    play.sh("outbox-relay check -c relay1.conf", lines=40)
    play.note("the service")
    relay.start()
    play.sh(f"curl -s http://{listen}/readyz")
    play.note("the first event")
    play.sql("INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload)"
             " VALUES ('order', 'o-1', 'OrderPlaced', '{\"item\": \"teapot\"}')")
    database.wait_empty()
    play.sh(f"kcat -C -b {broker.bootstrap} -t events.order -c 1 -q -f '%k %s\\n'")
    play.alerts(hurried=False)
    play.note("Prometheus scrapes the relay, with conf/alerts.yml")
    with play.load(50):
        time.sleep(60)
        play.mark("half past three: Kafka is gone")
        broker.stop()
        play.wait_alert("OutboxRelayDisconnected")
        play.note("the operator is called, and looks")
        play.sh("outbox-relay status -c relay1.conf", lines=40)
        play.sh(f"curl -s http://{listen}/runbooks/kafka-unreachable | head -n 40", lines=40)
        play.note("its first step: is it Kafka or this machine?")
        play.sh("outbox-relay check -c relay1.conf | grep -E '^(error|warn)'")
        play.note("the brokers are the cause, and come back")
        broker.start()
        play.wait_alert("", timeout=900, fires=False)
        play.note("no alert fires any more")
    database.wait_empty()
    play.sh("outbox-relay status -c relay1.conf", lines=40)
    play.sh(f"curl -s http://{listen}/readyz")


if __name__ == "__main__":
    main()
